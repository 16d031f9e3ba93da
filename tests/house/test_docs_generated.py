"""Pages written from the code are what the code says now, and the catalogues are complete."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tileloom.compiler.emit.context import LoweringError
from tileloom.runtime import errors as runtime_errors
from tileloom.vm import diagnostics
from tileloom.vm.diagnostics import VMError
from tileloom.vm.instruction import REGISTRY

DOCS = Path(__file__).parents[2] / "docs"
COMMAND = "python docs/generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


def test_generated_pages_are_fresh(generate: ModuleType) -> None:
    for name, text in generate.pages().items():
        assert (DOCS / name).read_text() == text, f"{name} is stale: run `{COMMAND}`"


def test_a_part_of_a_page_is_replaced(generate: ModuleType) -> None:
    page = "a\n<!-- x: start -->\nold\n<!-- x: end -->\nb\n"
    changed = generate.with_part(page, "x", "new\n")
    assert changed == page.replace("old", "new")
    with pytest.raises(AssertionError):
        generate.with_part("a\n", "x", "new\n")


def test_every_instruction_is_on_its_page() -> None:
    text = (DOCS / "instructions.md").read_text()
    sections = set(re.findall(r"^### `(\w+)`$", text, re.M))
    rows = set(re.findall(r"^\| `%result = (\w+) ", text, re.M))
    assert sections | rows == set(REGISTRY)


def test_every_class_of_error_is_in_the_table() -> None:
    text = (DOCS / "errors.md").read_text()
    listed = set()
    for kinds, names in re.findall(r"^\| \[(.*)\]\(#.*\) \| (.*) \|.*\|$", text, re.M):
        found = re.findall(r"`(\w+)`", names)
        each = kinds.split(", ") if ", " in kinds else [kinds] * len(found)
        listed |= set(zip(found, each, strict=True))
    homes = (diagnostics, runtime_errors)
    classes = {LoweringError, *(v for home in homes for v in vars(home).values() if is_error(v))}
    assert listed == {(cls.__name__, cls.kind) for cls in classes - {VMError}}


def is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, VMError)


def test_every_kind_of_error_has_a_section() -> None:
    text = (DOCS / "errors.md").read_text()
    sections = {
        part for title in re.findall(r"^## (.*)$", text, re.M) for part in title.split(", ")
    }
    assert {cls.kind for cls in VMError.__subclasses__()} <= sections
