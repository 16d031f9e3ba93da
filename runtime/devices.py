"""The three executors, behind one call.

| device | runs | arrays |
|---|---|---|
| `interpreter` | the VM program | the host's memory |
| `emulator` | the PTX the compiler made | the host's memory |
| `cuda` | the machine code | any; those in the host's memory are copied there and back |

Where no device is named, TILELOOM_DEVICE decides, else `cuda` if there is a GPU, else the
interpreter, which is said once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tileloom.vm import executors, interpreter
from tileloom.vm.diagnostics import (
    DeviceError,
    ExecutionError,
    LaunchError,
    call_location,
    did_you_mean,
)
from tileloom.vm.types import PointerType

from . import options, profile
from .arrays import Array, storage
from .cuda import context, launcher
from .cuda.launch import PLAIN, PROGRAMMATIC
from .signature import Bound, Signature
from .tensor_maps import resolve

if TYPE_CHECKING:
    from .compiled import CompiledKernel
    from .emulator import LaunchStatistics

OUR_DEVICES = ("cuda", "emulator", "interpreter")

_logger = logging.getLogger("tileloom")


def choose(device: str | None) -> str:
    """The name of the executor to use.

    Raises:
        DeviceError: there is none of that name.
    """
    if device is not None and device in OUR_DEVICES:
        return device
    name = device or options.named_device() or _default()
    if name not in OUR_DEVICES and name not in executors.names():
        known = sorted({*OUR_DEVICES, *executors.names()})
        listed = ", ".join(f"`{d}`" for d in known)
        raise DeviceError(
            f"unknown device `{name}`",
            call_location(),
            hint=did_you_mean(name, known) or f"the devices: {listed}",
        )
    return name


@cache
def _default() -> str:
    name = "cuda" if context.available() else "interpreter"
    if name == "interpreter":
        _logger.warning("tileloom: no GPU was found: programs run on the interpreter")
    return name


def run(
    kernel: CompiledKernel,
    arguments: Sequence[Any],
    device: str | None,
    stream: object = None,
    programmatic: bool = False,
) -> None:
    """Runs a compiled kernel; see its `__call__`."""
    name = choose(device)
    if programmatic:
        kernel.signature.check_programmatic()
    if name == "cuda":
        attributes = PROGRAMMATIC if programmatic else PLAIN
        launcher.launch(kernel, arguments, stream, attributes)
        return
    if stream is not None:
        raise LaunchError(f"the `{name}` has no streams", call_location())
    if name == "emulator":
        emulate(kernel, arguments)
    else:
        interpret(kernel.signature, arguments, name)


def interpret(signature: Signature, arguments: Sequence[Any], device: str = "interpreter") -> None:
    """Runs a function on the interpreter (or another executor that was registered with `vm`), on
    arrays in the host's memory."""
    bound = signature.bind(arguments)
    if bound.is_empty:
        return
    run = interpreter.run if device == "interpreter" else executors.executor(device)
    run(signature.function, _host_arguments(signature, bound, device))


def emulate(
    kernel: CompiledKernel,
    arguments: Sequence[Any],
    seed: int = 0,
    asynchronous: str | None = None,
) -> None:
    """Runs a kernel's PTX on the emulator, on arrays in the host's memory.

    Asynchronous copies land "early" or "late" as `asynchronous` says; where it says nothing, a
    kernel that has any runs both ways, the first time on copies of the arrays.

    Raises:
        ExecutionError: the PTX does what it must not, at the place in the program it came from.
    """
    bound = kernel.signature.bind(arguments)
    if bound.is_empty:
        return
    kernel = kernel.variant(bound.is_far)
    values = _host_arguments(kernel.signature, bound, "emulator")
    values = [
        v.view(np.uint8) if isinstance(v, np.ndarray) else 0 if v is None else v for v in values
    ]
    by_param = dict(zip(kernel.signature.params, bound.arguments, strict=True))
    maps = resolve(kernel.function, kernel.tensor_maps, by_param)
    values += [each.emulated() for each in maps]
    if asynchronous is None and ".async" in kernel.ptx:
        _emulate(kernel, bound, deepcopy(values), seed, "early")
    statistics = _emulate(kernel, bound, values, seed, asynchronous or "late")
    profile.note(kernel.name, kernel.ptx, statistics)


def _emulate(
    kernel: CompiledKernel, bound: Bound, values: list[Any], seed: int, asynchronous: str
) -> LaunchStatistics:
    from . import emulator

    try:
        return kernel.emulated.launch(
            grid=bound.grid,
            block=(kernel.num_threads, 1, 1),
            args=values,
            shared_bytes=kernel.dynamic_shared,
            seed=seed,
            asynchronous=asynchronous,
            count_traffic=profile.is_on(),
        )
    except emulator.EmulatorError as error:
        place = kernel.place_of(error.line) if error.line else None
        raised = ExecutionError(f"the emulator: {error.message}", place).note(
            f"line {error.line} of the PTX: `{(error.text or '').strip()}`"
        )
        if error.comment:
            raised = raised.note(f"the instruction of the program: `{error.comment}`")
        if asynchronous == "early":
            raised = raised.note("asynchronous copies landed as early as they may")
        raise raised from None


def _host_arguments(signature: Signature, bound: Bound, device: str) -> list[Any]:
    """The arguments as numpy arrays without a copy (except of read-only ones), and numbers."""
    values: list[Any] = []
    for param, argument in zip(signature.params, bound.arguments, strict=True):
        if not isinstance(argument, Array):
            values.append(argument)
            continue
        if argument.device is not None:
            raise LaunchError(
                f"`{param.name}` is in {argument.place}, where the {device} can't reach it",
                call_location(),
                hint='copy it to the host, or run with `device="cuda"`',
            )
        assert isinstance(param.type, PointerType)
        view = argument.host_view(storage(param.type.element))
        # The executors want writable memory even where they only read.
        values.append(view if argument.writable else view.copy())
    return values


def needs_code(device: str) -> bool:
    """True for the executors that run what the compiler makes, not the program itself."""
    return device in ("cuda", "emulator")


def target_of(device: str) -> str:
    """The target to compile for where none is named."""
    return context.current_device().target if device == "cuda" else "sm_90a"
