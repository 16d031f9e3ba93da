"""What an import costs and brings: heavy modules come only when they are needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("cuda", "torch", "lark", "tokenizers")


def run_python(code: str, *flags: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".src")}
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    "module",
    ["layouts", "vm", "vm.dtypes", "compiler", "runtime", "runtime.cli", "programs"],
)
def test_no_heavy_module_comes_with(module: str) -> None:
    code = f"import sys, tileloom.{module}; print([m for m in {HEAVY} if m in sys.modules])"
    assert run_python(code) == "[]\n"


def test_emulator_needs_numpy_alone() -> None:
    """Its folder works on its own, without anything else of Tileloom beside it."""
    code = (
        "import importlib, importlib.util as u, sys, types, pathlib\n"
        f"folder = pathlib.Path({str(ROOT / 'runtime' / 'emulator')!r})\n"
        "spec = u.spec_from_file_location('alone', folder / '__init__.py',"
        " submodule_search_locations=[str(folder)])\n"
        "package = u.module_from_spec(spec); sys.modules['alone'] = package\n"
        "spec.loader.exec_module(package)\n"
        "[importlib.import_module('alone.' + f.stem) for f in folder.glob('*.py')"
        " if f.stem != '__init__']\n"
        "print([m for m in sys.modules if m.split('.')[0] == 'tileloom'])"
    )
    assert run_python(code) == "[]\n"
