"""`linear` of 8-bit activations: y = x @ dequantized weights (+ bias), on any device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tileloom.programs.activations.activations import Activations, quantize_activations
from tileloom.runtime.arrays import Array, describe, storage
from tileloom.runtime.cuda.stream import current_stream
from tileloom.runtime.devices import choose as choose_device
from tileloom.runtime.executors import run_function
from tileloom.vm import Function
from tileloom.vm.diagnostics import DeviceError, ShapeError, VMTypeError, VMValueError
from tileloom.vm.dtypes import dtype

from .eight_bit import matmul_eight_bit
from .eight_bit_config import GROUPS, ByteConfig
from .eight_bit_packing import BytePacked
from .eight_bit_schedule import ByteSchedule, choose_bytes, configure, tiles_of
from .operands import Operands, activation_of, bias_array, check_out, empty_output, output_name
from .plan import Weights
from .schedule import H100, Machine

if TYPE_CHECKING:
    from .device import GpuWeights


@dataclass(frozen=True)
class BytePlan:
    """A kernel's configuration for one m, and how many blocks or clusters run it."""

    config: ByteConfig
    schedule: ByteSchedule
    parts: int

    @property
    def workspace(self) -> tuple[int, int]:
        """f32 elements of partial sums, and flags; none where no tile is cut between blocks."""
        if not self.config.split:
            return 0, 0
        return self.parts * self.config.features * self.config.tokens, self.parts * GROUPS


def plan_bytes(
    packed: BytePacked,
    m: int,
    out: str,
    bias: str = "",
    vector: int = 4,
    schedule: ByteSchedule | None = None,
    machine: Machine = H100,
) -> BytePlan:
    """The kernel for m tokens; `schedule` overrides the choice for the machine."""
    geometry = packed.geometry
    vector = next(v for v in (4, 2, 1) if v <= vector and packed.n % v == 0)
    config = ByteConfig(geometry.cut, packed.form, packed.activation, out, bias, vector=vector)
    chosen = schedule or choose_bytes(geometry, m, machine, config)
    config = configure(chosen, config)
    return BytePlan(config, chosen, chosen.parts or tiles_of(geometry, m, config))


@lru_cache(maxsize=512)
def traced_bytes(config: ByteConfig) -> Function:
    """The VM program of a configuration."""
    return matmul_eight_bit.trace(
        config=config,
        activation=config.activation,
        bias_dtype=config.bias or "f32",
        out=config.out,
    )


def linear_bytes(
    x: Any,
    p: BytePacked,
    bias: Any,
    out: Any,
    out_dtype: Any,
    device: str | None,
    schedule: Any,
) -> Any:
    """`linear` for weights packed for 8-bit activations; x is `Activations`, or floats that are
    quantized first, with a scale for each token.

    Raises:
        VMError: arguments that don't fit.
    """
    if schedule is not None and not isinstance(schedule, ByteSchedule):
        raise VMTypeError(
            f"`{schedule}` is no schedule of {p.activation} activations",
            hint="a `ByteSchedule`, such as `b64h2a4`",
        )
    is_quantized = isinstance(x, Activations)
    source = describe(x.codes if is_quantized else x)
    if source is None:
        raise VMTypeError(
            f"`x` is a {type(x).__name__}, not an array",
            hint="pass what `quantize_activations` gives, or an array [m, k] of floats",
        )
    place = choose_device("cuda" if device is None and source.device is not None else device)
    if place != "cuda" and source.device is not None:
        raise DeviceError(f"`x` is in {source.place}, which the {place} can't read")
    given = None if out is None else describe(out)
    default = "f16" if is_quantized or activation_of(source) == "f32" else activation_of(source)
    if not is_quantized:
        x = quantize_activations(x, p.activation, device=place)
    wanted = output_name(out_dtype, given, default)
    operands = _operands(x, p, wanted)
    if given is not None:
        check_out(given, (*operands.leading, p.n), wanted, source)
    target = empty_output(operands, p.n) if out is None else out
    if operands.m == 0 or p.n == 0:
        return target
    bias, bias_kind = bias_array(bias, p.n, out)
    vector = _store_vector(describe(target), wanted)
    chosen = plan_bytes(p, operands.m, wanted, bias_kind, vector, schedule, _machine(place, source))
    run_bytes(chosen, x, p, bias, target, place)
    return target


def _operands(x: Activations, p: BytePacked, wanted: str) -> Operands:
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
    return Operands(codes, x.m, x.leading, wanted, x.codes)


def _store_vector(target: Array | None, out: str) -> int:
    """Elements of y that its start is a multiple of."""
    assert target is not None
    size = dtype(out).bits // 8
    return next(v for v in (4, 2, 1) if target.address % (v * size) == 0)


def _machine(place: str, source: Array) -> Machine:
    if place != "cuda":
        return H100
    from tileloom.runtime.cuda.context import current_device

    from .device import machine_of

    return machine_of(current_device().ordinal if source.device is None else source.device)


def run_bytes(
    plan: BytePlan,
    x: Activations,
    p: BytePacked,
    bias: Any,
    y: Any,
    place: str,
    stream: int | None = None,
) -> None:
    """Runs a plan's program; the arguments fit it."""
    sizes = plan.workspace
    if place == "cuda":
        described = describe(x.codes)
        assert described is not None
        state = bytes_on_gpu(p, described.device)
        on_gpu = state.weights
        words, scales, none = on_gpu.words, on_gpu.scales, on_gpu.no_floats
        room: tuple[Any, Any] = (on_gpu.no_floats, on_gpu.no_counters)
        if plan.config.split:
            handle = current_stream((x.codes,), state.gpu.ordinal) if stream is None else stream
            found = state.workspace(sizes, handle)
            room = (found.partials, found.counters)
    else:
        words, scales, none = p.words, p.scales, np.zeros(4, np.float32)
        # Poisoned: what a kernel doesn't write must not look like a result.
        room = (
            np.full(max(sizes[0], 4), np.nan, np.float32),
            np.zeros(max(sizes[1], 4), np.uint32),
        )
    values = [x.codes, x.scales, words, scales, none if bias is None else bias, y, *room]
    if place != "cuda":
        float_or_bias = plan.config.bias or "f32"
        kinds = (p.activation, "f32", "u32", "f16", float_or_bias, plan.config.out, "f32", "u32")
        values = [_on_host(value, kind) for value, kind in zip(values, kinds, strict=True)]
    numbers = [x.m, x.stride, p.n, p.geometry.num_chunks, plan.parts]
    unit = p.scale_unit * 2.0**-p.form.exponent
    function = traced_bytes(plan.config)
    run_function(function, [*values, *numbers, unit], device=place, stream=stream)


def _on_host(value: Any, kind: str) -> Any:
    described = describe(value)
    assert described is not None
    return described.host_view(storage(dtype(kind)))


def bytes_on_gpu(p: BytePacked, ordinal: int | None) -> GpuWeights:
    """A packed tensor on a device (None: the current one), uploaded when first asked for."""
    from tileloom.runtime.cuda.context import current_device, device
    from tileloom.runtime.cuda.memory import DeviceArray

    from .device import GpuWeights

    number = current_device().ordinal if ordinal is None else ordinal
    found: GpuWeights | None = p.state.get(f"cuda:{number}")
    if found is None:
        gpu = device(number)
        hosts = (p.words, p.scales, np.zeros(4, np.float32), np.zeros(4, np.uint32))
        words, scales, floats, counters = (DeviceArray.of(array, gpu) for array in hosts)
        weights = Weights(words, scales, scales, floats, counters)
        found = p.state.setdefault(f"cuda:{number}", GpuWeights(weights, gpu))
    return found
