"""Options and fixtures of the whole suite."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

# Drawn examples are the same in every run, however busy the machine is: a failure is the change's.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what is found into the golden files instead of comparing with them",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compares a text with a golden file, or writes it there with --update-golden."""
    update = request.config.getoption("--update-golden")

    def check(path: Path, found: str) -> None:
        if update:
            path.write_text(found)
        expected = path.read_text() if path.exists() else ""
        assert found == expected, f"{path.name} differs; if it should, run with --update-golden"

    return check


@pytest.fixture
def script() -> Callable[[str], ModuleType]:
    """Gives a module of `benchmarks` by its name."""

    def module_of(name: str) -> ModuleType:
        file = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return module_of
