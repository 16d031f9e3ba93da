"""Sizes and words: short files, short functions, and nothing that belongs elsewhere."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
FOLDERS = ("layouts", "vm", "compiler", "runtime", "programs", "tests", "benchmarks", ".ci")
SOURCES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
FORBIDDEN_NAMES = {"utils.py", "base.py", "common.py", "helpers.py", "misc.py"}


def test_files_are_short() -> None:
    long = {str(file.relative_to(ROOT)): lines(file) for file in SOURCES}
    assert {name: count for name, count in long.items() if count > LONGEST_FILE} == {}


def lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def test_functions_are_short() -> None:
    long = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long.append((str(file.relative_to(ROOT)), node.name, length))
    assert long == []


def test_no_drawer_for_everything() -> None:
    assert [str(file) for file in SOURCES if file.name in FORBIDDEN_NAMES] == []


def test_compiler_and_vm_name_no_array_library() -> None:
    """torch and cupy arrays are served without depending on either."""
    for file in SOURCES:
        if file.relative_to(ROOT).parts[0] in ("tests", "benchmarks", ".ci"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            assert not {name.split(".")[0] for name in names} & {"torch", "cupy"}, file


def test_nothing_generated_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-ci", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    assert listed.stdout == ""
