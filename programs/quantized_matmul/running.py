"""Runs a kernel that was chosen, on any device; what it works on was checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from tileloom.runtime.arrays import Array, describe, storage
from tileloom.runtime.cuda.context import current_device
from tileloom.runtime.devices import choose
from tileloom.runtime.executors import run_function
from tileloom.vm.diagnostics import DeviceError, VMTypeError
from tileloom.vm.dtypes import dtype

from .packed import PackedTensor, host_weights
from .plan import AnyPlan, arguments, traced
from .schedule import H100, Machine

HOST_DEVICES = ("interpreter", "emulator")


def place_of(device: str | None, x: Array) -> str:
    """The device that multiplies x: the one asked for, else where x is.

    Raises:
        DeviceError: there is no such device, or it can't read x.
    """
    place = choose("cuda" if device is None and x.device is not None else device)
    if place != "cuda" and x.device is not None:
        raise DeviceError(f"`x` is in {x.place}, which the {place} can't read")
    return place


def machine_for(place: str, x: Array | None = None) -> Machine:
    """What kernels are chosen for: the GPU that x is on or the current one, an H100 elsewhere."""
    if place != "cuda":
        return H100
    from .device import machine_of

    here = x is None or x.device is None
    return machine_of(current_device().ordinal if here or x is None else x.device or 0)


def check_workspace(workspace: Any) -> None:
    """Raises a `VMError` unless it is what `prepare` gives, or None."""
    if workspace is not None and not hasattr(workspace, "fits"):
        raise VMTypeError(
            f"`workspace` is a {type(workspace).__name__}, not what `prepare` gives",
            hint="leave it out, or workspace = prepare(p, max_m=256)",
        )


def run_plan(
    chosen: AnyPlan,
    packed: PackedTensor[Any],
    x: Any,
    bias: Any,
    y: Any,
    place: str,
    workspace: Any = None,
    *,
    repeatable: bool = False,
) -> None:
    """y = x times the packed weight, plus bias; x is an array or `Activations`."""
    if place not in HOST_DEVICES:
        from .device import run_on_gpu

        run_on_gpu(chosen, packed, x, bias, y, workspace, repeatable=repeatable)
        return
    sizes = chosen.workspace
    # Poisoned: what a kernel doesn't write must not look like a result.
    partials = np.full(max(sizes[0], 4), np.nan, np.float32)
    counters = np.zeros(max(sizes[1], 4), np.uint32)
    values = arguments(chosen, packed, host_weights(packed), x, bias, y, (partials, counters))
    values = [value if isinstance(value, int | float) else _on_host(value) for value in values]
    run_function(traced(chosen.config), values, device=place)


def _on_host(array: Any) -> Any:
    """An array in the host's memory as numpy sees it, without a copy."""
    described = describe(array)
    assert described is not None
    return described.host_view(storage(dtype(described.dtype)))
