"""The environment's variables."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tileloom.runtime import options
from tileloom.vm.diagnostics import UsageError

ROOT = Path(__file__).parents[2]


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in options.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    found = options.current()
    assert found.cache_dir == Path("/home/somebody/.cache/tileloom")
    assert (found.cache_enabled, found.cache_bytes) == (True, 1 << 30)
    assert (found.assembler, found.assembler_flags, found.keep_dir) == (None, (), None)
    assert options.named_device() is None


def test_the_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILELOOM_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert options.current().cache_dir == Path("/var/caches/tileloom")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert options.current().cache_dir.is_absolute()


@pytest.mark.parametrize("text", ["much", "-1", "0", "inf", "nan"])
def test_numbers_that_are_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TILELOOM_CACHE_BYTES", text)
    with pytest.raises(UsageError, match="`TILELOOM_CACHE_BYTES` is"):
        options.current()


def test_flags_are_split_as_a_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_ASSEMBLER_FLAGS", "-O1 --entry 'a b'")
    assert options.current().assembler_flags == ("-O1", "--entry", "a b")


def test_every_variable_is_in_the_table() -> None:
    named = set()
    for folder in ("layouts", "vm", "compiler", "runtime", "programs"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    words = node.value.replace("`", " ").replace("=", " ").split()
                    named |= {w.strip(".,;:()") for w in words if w.startswith("TILELOOM_")}
    assert named == set(options.VARIABLES)
