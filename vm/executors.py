"""Who can run a program: a registry that `vm` keeps and the packages above it fill.

An executor is a callable `run(function, args, **options)`. Two more names are services of the
runtime that the DSL reaches for: `compile` (`compile(function, target=...)`) and `launch`
(`launch(kernel, arguments, device, constants)`: any arrays, any device). Entries come from
`register`, from the entry point group `tileloom.executors` of installed distributions, and, where
tileloom runs from its source tree, from importing `tileloom.runtime`, which registers its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeAlias

from .diagnostics import DeviceError, did_you_mean
from .ir import Function

Executor: TypeAlias = Callable[..., Any]

GROUP: Final = "tileloom.executors"
SERVICES: Final = ("compile", "launch")

_EXECUTORS: Final[dict[str, Executor]] = {}


def register(name: str, executor: Executor) -> None:
    """Make an executor known; a later one of the same name replaces it."""
    _EXECUTORS[name] = executor


def executor(name: str) -> Executor:
    """The executor of that name.

    Raises:
        DeviceError: there is none.
    """
    found = _EXECUTORS.get(name) or _find(name)
    if found is None:
        raise DeviceError(
            f"unknown device `{name}`",
            hint=did_you_mean(name, names()) or f"devices: {', '.join(names())}",
        )
    _EXECUTORS[name] = found
    return found


def names() -> list[str]:
    """The names of all executors, sorted."""
    return sorted({*_EXECUTORS, *_installed()} - set(SERVICES))


def compiler() -> Executor:
    """The runtime's `compile(function, target=...)`."""
    return executor("compile")


def launch(kernel: Any, arguments: tuple[Any, ...], device: str | None, constants: Any) -> Any:
    """Run a kernel on any device, as the runtime does."""
    return executor("launch")(kernel, arguments, device, constants)


@cache
def _installed() -> dict[str, Any]:
    from importlib.metadata import entry_points  # slow to import, and rarely needed

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _find(name: str) -> Executor | None:
    entry = _installed().get(name)
    if entry is not None:
        loaded: Executor = entry.load()
        return loaded
    _import_runtime()
    return _EXECUTORS.get(name)


@cache
def _import_runtime() -> None:
    import_module("tileloom.runtime")


def _interpret(function: Function, args: Any, **options: Any) -> None:
    from .interpreter import run

    run(function, args, **options)


register("interpreter", _interpret)
