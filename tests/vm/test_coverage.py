"""Every instruction has all its parts: a meaning, code, a text in the corpus, and tests of both.

An instruction counts as tested where a test's program uses it: its name opens a statement of a
program's text, or is one of the names a test is repeated for, or the function of the DSL is called.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tileloom.compiler.lowering.registry import RULES
from tileloom.vm import parse
from tileloom.vm.instruction import REGISTRY
from tileloom.vm.ir import instructions
from tileloom.vm.semantics import rules

TESTS = Path(__file__).parents[1]
CORPUS = sorted((TESTS / "vm/text/corpus").glob("*.vm"))
NAMES = sorted(REGISTRY)


def sources(*folders: str) -> str:
    """The text of the test modules in some folders."""
    files = sorted(path for folder in folders for path in (TESTS / folder).rglob("test_*.py"))
    return "\n".join(path.read_text() for path in files if path.name != Path(__file__).name)


def is_tested(name: str, text: str) -> bool:
    """Whether tests use an instruction; see the head of the file."""
    word = re.escape(name)
    statement = rf"(?:^|=|\n|\}}|[\"'])[ \t]*{word}(?:[ \t]+[%\[{{]|[ \t]*$|[ \t]*[\n\"'])"
    called = rf"\bvm\.{word}_?\("
    return re.search(statement, text) is not None or re.search(called, text) is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_meaning(name: str) -> None:
    assert REGISTRY[name] in rules(), f"write `@semantics({REGISTRY[name].__name__})`"


@pytest.mark.parametrize("name", NAMES)
def test_code(name: str) -> None:
    assert REGISTRY[name] in RULES, f"write `@lowering({REGISTRY[name].__name__})`"


def test_a_place_in_the_corpus() -> None:
    bodies = [parse(path.read_text(), path.name).body for path in CORPUS]
    used = {instruction.name for body in bodies for instruction in instructions(body)}
    assert set(NAMES) - used == set(), "add them to a file of tests/vm/text/corpus"


@pytest.mark.parametrize("name", NAMES)
def test_tests_of_its_code(name: str) -> None:
    assert is_tested(name, sources("compiler")), "use it in a test of tests/compiler"


@pytest.mark.parametrize("name", NAMES)
def test_tests_of_its_meaning(name: str) -> None:
    """The tests of the compiler compare with the interpreter, and with numpy."""
    found = is_tested(name, sources("vm/interpreter", "vm/semantics", "compiler"))
    assert found, "use it in a test that runs on the interpreter"


def test_what_counts_as_a_test() -> None:
    for text in ("  %r = load %g[0]", "\n  barrier\n", '["exp2", "log"]', "vm.assert_(n)"):
        names = re.findall(r"load|barrier|exp2|assert", text)
        assert is_tested(names[0], text)
    for text in ("# load", "reload %g", "loader", "the barrier of"):
        assert not is_tested("load", text) and not is_tested("barrier", text)
