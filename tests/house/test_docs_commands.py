"""Commands in the documentation print what stands below them.

A block of `console` holds commands (`$ tileloom ...`) and their output, in which `...` stands for
anything: on a line of its own for any lines. They run in a folder with the files of docs/examples
and a cache of their own.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tileloom.runtime import cli
from tileloom.runtime.toolkit import available_assembler

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(text, id=f"{page.name}-{number}")
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.M | re.S)
    )
]
ANYTHING = "..."


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    shutil.copytree(ROOT / "docs" / "examples", folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TILELOOM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TILELOOM_DEVICE", "interpreter")


@pytest.mark.parametrize("text", BLOCKS)
def test_commands_print_what_stands_below_them(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if re.search(r"registers|\.cubin|cache export", text) and available_assembler() is None:
        pytest.skip("no assembler")
    head, *examples = re.split(r"^\$ ", text, flags=re.M)
    assert head == "" and examples
    for example in examples:
        command, _, expected = example.partition("\n")
        program, *arguments = shlex.split(command)
        assert program == "tileloom"
        cli.main(arguments)
        captured = capsys.readouterr()
        found = captured.out + captured.err
        assert matches(expected, found), f"$ {command}\n{found}"


def matches(expected: str, found: str) -> bool:
    """Whether a text is what is expected, where `...` stands for anything."""
    lines = [
        r"(.*\n)*?" if line == ANYTHING else re.escape(line).replace(r"\.\.\.", ".*") + "\n"
        for line in expected.splitlines()
    ]
    return re.fullmatch("".join(lines), found) is not None


def test_what_matches() -> None:
    assert matches("a ... c\n", "a b c\n") and not matches("a ... c\n", "a b\nc\n")
    assert matches("a\n...\nc\n", "a\nb\nb\nc\n") and matches("a\n...\n", "a\n")
    assert not matches("a\n", "a\nb\n") and not matches("a.\n", "ab\n")


def test_there_are_commands() -> None:
    assert len(BLOCKS) > 5
