"""Running programs: devices, assembling, the disk cache, launches, the command line.

Importing this registers the executors with `vm` (an installed distribution does it through entry
points); what they need is imported when the first program runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tileloom.vm import executors as _registry

if TYPE_CHECKING:
    from .compiled import CompiledKernel, compile_kernel
    from .executors import run_function
    from .jit import CompilationCounts, compilation_counts, no_jit
    from .signature import Strided

__all__ = [
    "CompilationCounts",
    "CompiledKernel",
    "Strided",
    "compilation_counts",
    "compile_kernel",
    "no_jit",
    "run_function",
]

_HOMES = {
    "CompilationCounts": "jit",
    "CompiledKernel": "compiled",
    "Strided": "signature",
    "compilation_counts": "jit",
    "compile_kernel": "compiled",
    "no_jit": "jit",
    "run_function": "executors",
}
# Names in the registry, and the functions behind them: the same as in `pyproject.toml`.
_EXECUTORS = {
    "compile": ("compiled", "compile_kernel"),
    "launch": ("executors", "launch"),
    "cuda": ("executors", "run_on_cuda"),
    "emulator": ("executors", "run_on_emulator"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")


def _register(name: str, module: str, function: str) -> None:
    def execute(*arguments: Any, **options: Any) -> Any:
        found = getattr(import_module(f".{module}", __name__), function)
        _registry.register(name, found)  # the next call goes straight there
        return found(*arguments, **options)

    _registry.register(name, execute)


for _name, _place in _EXECUTORS.items():
    _register(_name, *_place)
