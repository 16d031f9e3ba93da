"""`linear`: y = x @ dequantized weights (+ bias), on any device."""

from __future__ import annotations

from typing import Any

from tileloom.runtime.arrays import describe
from tileloom.vm.diagnostics import UsageError, VMTypeError, user_errors

from .eight_bit_linear import linear_bytes
from .eight_bit_packing import BytePacked
from .eight_bit_schedule import ByteSchedule
from .fast import key_of
from .operands import activation_of, bias_array, check, empty_output
from .packing import Packed
from .plan import plan, x_vector
from .running import check_workspace, machine_for, place_of, run_plan
from .schedule import Schedule
from .wide_schedule import WideSchedule


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
    gives (y is f16 then), or by floats that are quantized so first.

    Raises:
        VMError: arguments that don't fit, or a device that isn't there.
    """
    plain = bias is None and workspace is None and device is None and schedule is None
    plain = plain and out is not None and out_dtype is None
    if plain and isinstance(p, Packed | BytePacked) and p.calls:
        call = p.calls.get(key_of(x, out))
        if call is not None and call.run(x, out):
            return out
    if isinstance(p, BytePacked):
        return linear_bytes(x, p, bias, out, out_dtype, workspace, device, schedule, plain)
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
    check_workspace(workspace)
    operands = check(x, p, out_dtype, out)
    place = place_of(device, operands.x)
    target = empty_output(operands, p.n) if out is None else out
    if operands.m == 0 or p.n == 0:
        return target
    bias, bias_kind = bias_array(bias, p.n, out)
    written = describe(target)
    assert written is not None
    # The result of host arrays comes by way of memory of ours on a GPU, which is aligned.
    aligned = written.address % 16 == 0 or (place == "cuda" and not operands.on_device)
    chosen = plan(
        p,
        operands.m,
        activation_of(operands.x),
        operands.out,
        bias_kind,
        x_vector(p.k, operands.x.address),
        schedule,
        machine_for(place, operands.x),
        aligned,
    )
    run_plan(chosen, p, operands.source, bias, target, place, workspace, repeatable=plain)
    return target
