"""What an installed Tileloom holds: every package, its data, and what its entry points name."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = ("layouts", "vm", "compiler", "runtime", "programs")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]


def test_every_folder_with_python_files_is_a_listed_package() -> None:
    folders = {
        ".".join(("tileloom", *file.parent.relative_to(ROOT).parts))
        for top in TOP
        for file in (ROOT / top).rglob("*.py")
    }
    assert sorted(PACKAGES) == sorted(folders)
    assert all((ROOT / top / "py.typed").exists() for top in TOP)


def test_every_listed_package_has_an_init() -> None:
    inits = [ROOT.joinpath(*name.split(".")[1:], "__init__.py") for name in PACKAGES]
    assert [str(init) for init in inits if not init.exists()] == []


def test_the_namespace_is_nobodys_folder() -> None:
    for top in TOP:
        link = ROOT / ".src" / "tileloom" / top
        assert link.is_symlink() and link.readlink() == Path("..", "..", top)
    assert not list((ROOT / ".src").rglob("tileloom/__init__.py"))
    assert not (ROOT / "__init__.py").exists()


def test_package_data_matches_every_file_that_is_not_python() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    for top in TOP:
        for file in (ROOT / top).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".py":
                assert any(file.match(pattern) for pattern in patterns), file


def entry_points() -> list[tuple[str, str]]:
    groups = PROJECT["project"].get("entry-points", {})
    scripts = PROJECT["project"]["scripts"]
    return [*scripts.items(), *(pair for group in groups.values() for pair in group.items())]


@pytest.mark.parametrize(("name", "target"), entry_points())
def test_entry_points_name_something(name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    found = importlib.import_module(module)
    if attribute:
        assert callable(getattr(found, attribute))
    else:  # a program: a module with these three
        assert all(callable(getattr(found, each)) for each in ("add_arguments", "run", "compile"))


def test_dependencies_are_the_three_we_allow() -> None:
    names = [re.split(r"[<>=\[]", each)[0] for each in PROJECT["project"]["dependencies"]]
    assert sorted(names) == ["cuda-python", "lark", "numpy"]
