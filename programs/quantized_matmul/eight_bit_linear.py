"""`linear` of 8-bit activations: y = x @ dequantized weights (+ bias), on any device."""

from __future__ import annotations

from math import prod
from typing import Any

from tileloom.programs.activations.activations import (
    Activations,
    quantize_activations,
    stride_of,
)
from tileloom.runtime.arrays import Array, describe
from tileloom.runtime.cuda.stream import current_stream
from tileloom.vm.diagnostics import ShapeError, VMTypeError, VMValueError
from tileloom.vm.dtypes import dtype

from .eight_bit_packing import BytePacked
from .eight_bit_plan import plan_bytes
from .eight_bit_schedule import ByteSchedule
from .fast import key_of
from .operands import Operands, activation_of, bias_array, check_out, empty_output, output_name
from .running import check_workspace, machine_for, place_of, run_plan


def linear_bytes(
    x: Any,
    p: BytePacked,
    bias: Any,
    out: Any,
    out_dtype: Any,
    workspace: Any,
    device: str | None,
    schedule: Any,
    plain: bool = False,
) -> Any:
    """`linear` for weights packed for 8-bit activations; x is `Activations`, or floats that are
    quantized first, with a scale for each token. A `plain` call is remembered (fast.py).

    Raises:
        VMError: arguments that don't fit.
    """
    if schedule is not None and not isinstance(schedule, ByteSchedule):
        raise VMTypeError(
            f"`{schedule}` is no schedule of {p.activation} activations",
            hint="a `ByteSchedule`, such as `b64h2a4`",
        )
    check_workspace(workspace)
    source = _source(x)
    place = place_of(device, source)
    given = None if out is None else describe(out)
    is_quantized = isinstance(x, Activations)
    default = "f16" if is_quantized or activation_of(source) == "f32" else activation_of(source)
    user = x
    if not is_quantized:
        x = _quantized(x, source, p, place)
        if plain and p.calls:
            call = p.calls.get(key_of(x, out))
            if call is not None and call.run(x, out):
                return out
    wanted = output_name(out_dtype, given, default)
    operands = _operands(x, p, wanted, user)
    if given is not None:
        check_out(given, (*operands.leading, p.n), wanted, source)
    target = empty_output(operands, p.n) if out is None else out
    if operands.m == 0 or p.n == 0:
        return target
    bias, bias_kind = bias_array(bias, p.n, out)
    vector = _store_vector(describe(target), wanted)
    machine = machine_for(place, source)
    chosen = plan_bytes(p, operands.m, wanted, bias_kind, vector, schedule, machine)
    run_plan(chosen, p, x, bias, target, place, workspace, repeatable=plain)
    return target


def _source(x: Any) -> Array:
    """The array that x is, or has its codes in."""
    source = describe(x.codes if isinstance(x, Activations) else x)
    if source is None:
        raise VMTypeError(
            f"`x` is a {type(x).__name__}, not an array",
            hint="pass what `quantize_activations` gives, or an array [m, k] of floats",
        )
    return source


def _quantized(x: Any, source: Array, p: BytePacked, place: str) -> Activations:
    """Floats with a scale for each token; in a GPU's memory in what is there for that."""
    room = None
    if place == "cuda" and source.device is not None and source.shape:
        from .device import gpu_weights

        *leading, k = source.shape
        state = gpu_weights(p, source.device)
        sizes = (prod(leading) * stride_of(k), prod(leading))
        rows = state.rows.of(sizes, current_stream((x,), source.device))
        room = rows.activations(tuple(leading), k, p.activation)
    return quantize_activations(x, p.activation, out=room, device=place)


def _operands(x: Activations, p: BytePacked, wanted: str, user: Any) -> Operands:
    """The quantized operand, checked against the weight."""
    if x.dtype != p.activation:
        raise VMTypeError(
            f"`x` is quantized to {x.dtype}, the weight is packed for {p.activation}",
            hint=f'quantize_activations(x, "{p.activation}") or pack(q, "{x.dtype}")',
        )
    if x.k != p.k:
        raise ShapeError(f"`x` has rows of {x.k} but the weight takes {p.k} inputs")
    if x.group:
        raise VMValueError(
            f"`x` has a scale for each {x.group} elements",
            hint="products take one scale a token: quantize_activations(x, ...) without `group`",
        )
    codes = describe(x.codes)
    assert codes is not None
    return Operands(codes, x.m, x.leading, wanted, x.codes if user is x else user)


def _store_vector(target: Array | None, out: str) -> int:
    """Elements of y that its start is a multiple of."""
    assert target is not None
    size = dtype(out).bits // 8
    return next(v for v in (4, 2, 1) if target.address % (v * size) == 0)
