"""`linear`: y = x @ dequantized weights (+ bias), on any device."""

from __future__ import annotations

from typing import Any

import numpy as np

from tileloom.runtime.arrays import describe, storage
from tileloom.runtime.devices import choose as choose_device
from tileloom.runtime.executors import run_function
from tileloom.vm.diagnostics import DeviceError, UsageError, VMTypeError, user_errors
from tileloom.vm.dtypes import dtype

from .eight_bit_linear import linear_bytes
from .eight_bit_packing import BytePacked
from .eight_bit_schedule import ByteSchedule
from .fast import key_of
from .operands import Operands, activation_of, bias_array, check, empty_output
from .packing import Packed
from .plan import Plan, arguments, host_weights, plan, traced, x_vector
from .schedule import Schedule
from .wide_schedule import WideSchedule

HOST_DEVICES = ("interpreter", "emulator")


@user_errors()
def linear(
    x: Any,
    p: Packed | BytePacked,
    bias: Any = None,
    out: Any = None,
    out_dtype: Any = None,
    workspace: Any = None,
    device: str | None = None,
    *,
    schedule: Schedule | WideSchedule | ByteSchedule | None = None,
) -> Any:
    """x [..., k] times the packed weight [k, n], plus bias [n]: y [..., n].

    x is f16 or bf16 (numpy, torch or cupy; bf16 also as its codes in uint16), y of x's dtype unless
    `out_dtype` ("f16", "bf16", "f32") or `out` says otherwise; sums are f32 and rounded once.
    `device` None is the GPU if x is there or there is one, else the interpreter. On a GPU the work
    goes to the caller's current stream; `prepare` makes it free of allocation. `workspace` is what
    `prepare` gave; `schedule` overrides the choice of kernel.

    A weight that is packed for i8 or e4m3 activations is multiplied by what `quantize_activations`
    gives (y is f16 then), or by floats that are quantized so first; it needs no workspace.

    Raises:
        VMError: arguments that don't fit, or a device that isn't there.
    """
    if isinstance(p, BytePacked):
        return linear_bytes(x, p, bias, out, out_dtype, device, schedule)
    plain = bias is None and workspace is None and device is None and schedule is None
    plain = plain and out is not None and out_dtype is None
    if plain and isinstance(p, Packed) and p.calls:
        call = p.calls.get(key_of(x, out))
        if call is not None and call.run(x, out):
            return out
    return _linear(x, p, bias, out, out_dtype, workspace, device, schedule, plain)


def _linear(
    x: Any,
    p: Packed,
    bias: Any,
    out: Any,
    out_dtype: Any,
    workspace: Any,
    device: str | None,
    schedule: Schedule | WideSchedule | ByteSchedule | None,
    plain: bool,
) -> Any:
    if not isinstance(p, Packed):
        raise UsageError(
            f"`p` is a {type(p).__name__}, not a packed weight",
            hint='linear(x, pack(quantize(w, "u4")))',
        )
    if isinstance(schedule, ByteSchedule):
        raise VMTypeError(
            f"`{schedule}` is a schedule of 8-bit activations",
            hint=f"the weight is packed for {p.activation}",
        )
    if workspace is not None and not hasattr(workspace, "fits"):
        raise VMTypeError(
            f"`workspace` is a {type(workspace).__name__}, not what `prepare` gives",
            hint="leave it out, or workspace = prepare(p, max_m=256)",
        )
    operands = check(x, p, out_dtype, out)
    place = _device(device, operands)
    target = empty_output(operands, p.n) if out is None else out
    if operands.m == 0 or p.n == 0:
        return target
    bias, bias_kind = bias_array(bias, p.n, out)
    vector = x_vector(p.k, operands.x.address)
    problem = (p, operands.m, activation_of(operands.x), operands.out, bias_kind, vector, schedule)
    written = describe(target)
    assert written is not None
    aligned = written.address % 16 == 0
    if place in HOST_DEVICES:
        chosen = plan(*problem, y_aligned=aligned)
        _run_on_host(place, chosen, p, operands, bias, target)
    else:
        from .device import machine_of, ordinal_of, run_on_gpu

        # The result of host arrays comes by way of memory of ours, which is aligned.
        aligned = aligned or not operands.on_device
        chosen = plan(*problem, machine_of(ordinal_of(operands)), aligned)
        run_on_gpu(chosen, p, operands, bias, target, workspace, repeatable=plain)
    return target


def _device(device: str | None, operands: Operands) -> str:
    place = choose_device("cuda" if device is None and operands.on_device else device)
    if place != "cuda" and operands.on_device:
        raise DeviceError(f"`x` is in {operands.x.place}, which the {place} can't read")
    return place


def _run_on_host(
    place: str, chosen: Plan, packed: Packed, operands: Operands, bias: Any, target: Any
) -> None:
    """Runs the program on the interpreter or the emulator."""
    x = operands.x.host_view(storage(dtype(chosen.config.activation)))
    written = describe(target)
    assert written is not None
    y = written.host_view(storage(dtype(operands.out)))
    sizes = chosen.workspace
    # Poisoned: what a kernel doesn't write must not look like a result.
    partials = np.full(max(sizes[0], 4), np.nan, np.float32)
    counters = np.zeros(max(sizes[1], 4), np.uint32)
    given = bias
    if bias is not None:
        described = describe(bias)
        assert described is not None
        given = described.host_view(storage(dtype(chosen.config.bias)))
    values = arguments(chosen, packed, host_weights(packed), x, given, y, (partials, counters))
    run_function(traced(chosen.config), values, device=place)
