"""What the DSL reaches for: compiling, and launching a traced kernel on any device.

`vm` knows these functions by name only, through its registry (`tileloom.vm.executors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

from tileloom.vm import Kernel
from tileloom.vm.diagnostics import user_errors
from tileloom.vm.ir import Function

from . import devices, jit
from .compiled import CompiledKernel, compile_kernel
from .signature import Signature


@dataclass
class _Program:
    """One kernel with its constants given, and what it was compiled to."""

    function: Function
    signature: Signature
    compiled: dict[str, CompiledKernel] = field(default_factory=dict)

    def for_target(self, target: str) -> CompiledKernel:
        kernel = self.compiled.get(target)
        if kernel is None:
            with jit.launching():
                kernel = self.compiled[target] = compile_kernel(self.function, target)
        return kernel


_programs: WeakKeyDictionary[Kernel, dict[Any, _Program]] = WeakKeyDictionary()
_targets: dict[str, str] = {}


def launch(
    kernel: Kernel, arguments: Sequence[Any], device: str | None, constants: Mapping[str, Any]
) -> None:
    """Runs a kernel of the DSL. It is traced once for each set of constants, and compiled once for
    each target. `stream` and `programmatic` among the constants are the launch's, unless the kernel
    has such a constant.
    """
    stream, programmatic = None, False
    if "stream" in constants and "stream" not in kernel.constants:
        constants = dict(constants)
        stream = constants.pop("stream")
    if "programmatic" in constants and "programmatic" not in kernel.constants:
        constants = dict(constants)
        programmatic = constants.pop("programmatic")
    program = _program(kernel, constants)
    name = devices.choose(device)
    if devices.needs_code(name):
        target = _targets.get(name)
        if target is None:
            target = _targets[name] = devices.target_of(name)
        devices.run(program.for_target(target), arguments, name, stream, programmatic)
    else:
        devices.interpret(program.signature, arguments, name)


def _program(kernel: Kernel, constants: Mapping[str, Any]) -> _Program:
    programs = _programs.get(kernel)
    if programs is None:
        programs = _programs.setdefault(kernel, {})
    key = tuple(sorted(constants.items(), key=itemgetter(0))) if constants else ()
    try:
        program = programs.get(key)
    except TypeError:  # a constant that has no hash: traced anew each time
        return _traced(kernel, constants)
    if program is None:
        program = programs[key] = _traced(kernel, constants)
    return program


def _traced(kernel: Kernel, constants: Mapping[str, Any]) -> _Program:
    function = kernel.trace(**constants)
    return _Program(function, Signature(function))


# Functions are compared by identity: the same one, run again, is neither read nor compiled anew.
_signature = lru_cache(maxsize=256)(Signature)


@lru_cache(maxsize=256)
def _compiled(function: Function, target: str) -> CompiledKernel:
    with jit.launching():
        return compile_kernel(function, target)


@user_errors()
def run_function(
    function: Function,
    arguments: Sequence[Any],
    *,
    device: str | None = None,
    target: str | None = None,
    stream: object = None,
) -> None:
    """Runs a function: on the interpreter as it is, elsewhere compiled (for `target`, by
    default the GPU's own, or sm_90a for the emulator)."""
    name = devices.choose(device)
    if not devices.needs_code(name):
        devices.interpret(_signature(function), arguments, name)
        return
    kernel = _compiled(function, target or devices.target_of(name))
    devices.run(kernel, arguments, name, stream)


def run_on_cuda(function: Function, arguments: Sequence[Any], **options: Any) -> None:
    """The executor `cuda` of the registry."""
    run_function(function, arguments, device="cuda", **options)


def run_on_emulator(function: Function, arguments: Sequence[Any], **options: Any) -> None:
    """The executor `emulator` of the registry."""
    run_function(function, arguments, device="emulator", **options)
