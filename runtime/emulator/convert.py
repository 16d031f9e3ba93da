"""cvt: integers and floats of all widths into each other, packed pairs included.

Every conversion goes through an exact wide value: int64 or uint64 for integers, f64 for floats
(rounded to odd where 64-bit integers don't fit), so that the destination rounds once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .floats import flush
from .linker import expect
from .opcode import Custom, Form, Mods, OpcodeError, Pure, opcode
from .rounding import (
    E4M3,
    E5M2,
    FORMATS,
    TF32,
    bf16_values,
    directed_sum,
    narrow,
    odd_sum,
    to_bf16,
    to_f16,
)
from .step import Flow
from .syntax import Reg
from .types import B32, RAW, TYPES, Array, Type

if TYPE_CHECKING:
    from .linker import Linker
    from .step import Step
    from .syntax import Instruction

_TO_INTEGER = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
_FP8 = {"e4m3x2": E4M3, "e5m2x2": E5M2}


@dataclass(frozen=True, slots=True)
class _Rules:
    """The modifiers of one cvt."""

    mode: str = ""
    integral: str = ""
    ftz: bool = False
    sat: bool = False
    satfinite: bool = False
    relu: bool = False


@opcode("cvt")
def cvt(mods: Mods) -> Form:
    if mods.flag("pack"):
        return _pack(mods)
    rules = _Rules(
        mods.choice("rn", "rz", "rm", "rp", "rna", default=""),
        mods.choice(*_TO_INTEGER, default=""),
        *(mods.flag(name) for name in ("ftz", "sat", "satfinite", "relu")),
    )
    out, source = mods.type(), mods.type()
    _check(mods, out, source, rules)
    if out.lanes == 2 and source.lanes == 1:
        return _pair(out, source, rules)
    fn = _conversion(out, source, rules)
    if out.lanes == 2:
        return Pure((out,), (source,), fn)
    moves = out.kind in "us" and source.kind in "us" and not rules.sat
    flow = Flow(1) if moves else None
    return Custom(lambda instruction, linker: _build(instruction, linker, out, source, fn, flow))


def _check(mods: Mods, out: Type, source: Type, rules: _Rules) -> None:
    if out.kind == "p" or source.kind == "p" or (source.lanes == 2 and out.lanes == 1):
        raise OpcodeError(f"`{mods.text}` is not supported")
    if out.kind in "us" and source.is_float and not rules.integral:
        raise OpcodeError(f"`{mods.text}` needs a rounding to integer (.rni .rzi .rmi .rpi)")
    loses = out.is_float and (not source.is_float or out.bits // out.lanes < source.bits)
    if loses and not (rules.mode or rules.integral):
        raise OpcodeError(f"`{mods.text}` needs a rounding mode")
    if out.name in _FP8 and not rules.satfinite:
        raise OpcodeError(f"`{mods.text}` needs .satfinite")


def _build(
    instruction: Instruction,
    linker: Linker,
    out: Type,
    source: Type,
    fn: Callable[[Array], Array],
    flow: Flow | None,
) -> Step:
    """Registers may be wider than the types: sources are cut, results extended."""
    expect(instruction, 2)
    dest, operand = instruction.operands
    slots = (linker.dest(dest, out, wider=True),), (linker.source(operand, source, wider=True),)
    source_bits = operand.type.bits if isinstance(operand, Reg) else source.bits
    dest_bits = dest.type.bits if isinstance(dest, Reg) else out.bits
    steps: list[Callable[[Array], Array]] = [fn]
    if source_bits > source.bits:
        steps.insert(0, lambda raw: raw.astype(source.raw))
    if dest_bits > out.bits:
        wide = RAW[dest_bits]
        view = np.dtype(f"i{out.bits // 8}") if out.signed else out.raw
        steps.append(lambda raw: raw.view(view).astype(f"{view.kind}{dest_bits // 8}").view(wide))
    if len(steps) == 1:
        return linker.pure_step(fn, *slots, flow)

    def chain(raw: Array) -> Array:
        for step in steps:
            raw = step(raw)
        return raw

    return linker.pure_step(chain, *slots, flow)


def _conversion(out: Type, source: Type, rules: _Rules) -> Callable[[Array], Array]:
    if out.kind in "us" and source.kind in "us":
        return _integer_to_integer(out, source, rules.sat)
    if out.kind in "us":
        wide_nan = out.bits == 64 or source.name == "f64"
        nan = 1 << (out.bits - 1) if wide_nan else 0
        return _float_to_integer(out, read_float(source, rules.ftz), rules.integral, nan)
    if source.kind in "us":
        return _integer_to_float(out, source, rules)
    read, write = read_float(source, rules.ftz), write_float(out, rules)
    if source.name == "bf16" and out.name == "f32" and rules == _Rules():
        return lambda raw: raw.astype(np.uint32) << np.uint32(16)
    if "f64" in (source.name, out.name) and not rules.sat:
        return lambda raw: _keep_nan(read(raw), write, out)
    if rules.mode == "rna":
        return lambda raw: _truncate_nan(raw, write(read(raw)))
    if source.name == "f32" and out.name in ("f16", "f16x2") and rules == _Rules("rn"):
        return lambda raw: to_f16(raw.view(np.float32))
    return lambda raw: write(read(raw))


def _keep_nan(values: Array, write: Callable[[Array], Array], out: Type) -> Array:
    """To or from f64 a NaN keeps its sign and the upper bits of its payload, made quiet."""
    codes = write(values)
    nans = np.isnan(values)
    if not nans.any():
        return codes
    bits = values.view(np.uint64) | np.uint64(1 << 51)
    if out.name != "f64":
        target = FORMATS[out.name]
        payload = (bits & np.uint64((1 << 52) - 1)) >> np.uint64(52 - target.mantissa_bits)
        sign = bits >> np.uint64(63) << np.uint64(target.bits - 1)
        bits = (sign | np.uint64(target.infinity) | payload).astype(out.raw)
    return np.where(nans, bits, codes)


def _truncate_nan(raw: Array, codes: Array) -> Array:
    """cvt.rna.tf32 cuts the bits of a NaN off."""
    return np.where(np.isnan(raw.view(np.float32)), raw & np.uint32(0xFFFFE000), codes)


# ---- integers


def _integer_to_integer(out: Type, source: Type, sat: bool) -> Callable[[Array], Array]:
    view, raw = source.view, out.raw
    if not sat:
        return lambda a: a.view(view).astype(out.view).view(raw)
    low, high = _range(out)

    def run(a: Array) -> Array:
        values = a.view(view)
        least, most = _range(source)
        clipped = np.clip(values, view.type(max(low, least)), view.type(min(high, most)))
        result: Array = clipped.astype(out.view).view(raw)
        return result

    return run


def _range(type_: Type) -> tuple[int, int]:
    if type_.signed:
        return -(1 << (type_.bits - 1)), (1 << (type_.bits - 1)) - 1
    return 0, (1 << type_.bits) - 1


def _float_to_integer(
    out: Type, read: Callable[[Array], Array], integral: str, nan: int
) -> Callable[[Array], Array]:
    """Saturates. NaN gives `nan`: 0, or the top bit alone where either side has 64 bits."""
    low, high = _range(out)
    round_ = _TO_INTEGER[integral]
    wide = np.int64 if out.signed else np.uint64

    def run(raw: Array) -> Array:
        values = round_(read(raw))
        inside = (values > float(low)) & (values < float(high))
        kept = np.where(inside, values, 0.0).astype(wide)
        result = np.where(values >= float(high), wide(high), np.where(inside, kept, wide(low)))
        result = result.astype(out.view).view(out.raw)
        return np.where(np.isnan(values), out.raw.type(nan), result)

    return run


def _integer_to_float(out: Type, source: Type, rules: _Rules) -> Callable[[Array], Array]:
    write = write_float(out, rules)

    def run(raw: Array) -> Array:
        values = raw.view(source.view)
        if source.bits < 64:
            return write(values.astype(np.float64))
        low = (values & source.view.type(0xFFFFFFFF)).astype(np.float64)
        high = (values >> source.view.type(32)).astype(np.float64) * 2.0**32
        if out.name == "f64":
            return write(directed_sum(high, low, rules.mode))
        return write(odd_sum(high, low))

    if rules == _Rules("rn") and out.name == "f32":
        # numpy rounds once from any integer type to f32.
        return lambda raw: raw.view(source.view).astype(np.float32).view(np.uint32)
    return run


# ---- floats


def _fp8_table(name: str) -> Array:
    """Values of all 256 codes, as f64."""
    target = _FP8[name]
    table = []
    for code in range(256):
        exponent = (code & 127) >> target.mantissa_bits
        mantissa = code & ((1 << target.mantissa_bits) - 1)
        value = float(mantissa + ((exponent != 0) << target.mantissa_bits))
        value *= 2.0 ** (max(exponent, 1) - target.bias - target.mantissa_bits)
        if code & 127 > target.largest:
            value = float("inf") if target.has_infinity and not mantissa else float("nan")
        table.append(-value if code >> 7 else value)
    return np.array(table)


_FP8_VALUES = {name: _fp8_table(name) for name in _FP8}


def fp8_values(name: str) -> Array:
    """The f64 values of all 256 codes of e4m3 or e5m2."""
    return _FP8_VALUES[f"{name}x2"]


def read_float(source: Type, ftz: bool) -> Callable[[Array], Array]:
    """Raw -> f64 values; packed pairs widen the last axis."""
    if source.name in _FP8_VALUES:
        table = _FP8_VALUES[source.name]
        return lambda raw: table[np.ascontiguousarray(raw).view(np.uint8)]
    if source.kind == "x" and source.name != "tf32":
        return lambda raw: bf16_values(np.ascontiguousarray(raw).view(np.uint16)).astype(np.float64)
    view = source.view
    if ftz and source.name == "f32":
        return lambda raw: flush(raw.view(view)).astype(np.float64)
    return lambda raw: np.ascontiguousarray(raw).view(view).astype(np.float64)


def write_float(out: Type, rules: _Rules) -> Callable[[Array], Array]:
    """f64 values (rounded to odd at worst) -> raw of `out`."""
    encode = _encoder(out, rules.mode or "rn", rules.satfinite)
    flushes = rules.ftz and out.name == "f32"

    def run(values: Array) -> Array:
        if rules.integral:
            values = _TO_INTEGER[rules.integral](values)
        if rules.sat:
            values = np.where(np.isnan(values), 0.0, np.clip(values, 0.0, 1.0)) + 0.0
        if rules.relu:
            values = np.where(values < 0, 0.0, values)
            values = np.where(values == 0, 0.0, values)
        if flushes:
            small = np.abs(values) < 2.0**-126
            values = np.where(small, np.copysign(0.0, values), values)
        return encode(values)

    return run


def _encoder(out: Type, mode: str, satfinite: bool) -> Callable[[Array], Array]:
    raw = out.raw
    if out.name == "f64":
        return lambda values: np.where(
            np.isnan(values), np.uint64(0xFFF8000000000000), values.view(np.uint64)
        )
    if mode == "rn" and not satfinite:
        if out.kind == "f" and out.bits // out.lanes == 16:
            return lambda values: to_f16(values).view(raw)
        if out.name in ("bf16", "bf16x2"):
            return lambda values: to_bf16(values).view(raw)
    target = FORMATS[out.name]
    element: np.dtype[Any] = RAW[out.bits // out.lanes]
    place = np.uint64(13 if target is TF32 else 0)

    def run(values: Array) -> Array:
        codes = narrow(values, target, mode, satfinite) << place
        return codes.astype(element).view(raw)

    return run


# ---- packing


def _pair(out: Type, source: Type, rules: _Rules) -> Form:
    """cvt.*x2.f32 d, a, b: a becomes the upper element."""
    if source.name != "f32":
        raise OpcodeError(f"`.{source.name}` can't be packed into `.{out.name}`")
    read, write = read_float(source, rules.ftz), write_float(out, rules)

    def run(a: Array, b: Array) -> Array:
        a, b = np.broadcast_arrays(a, b)
        both = np.stack((b, a), -1)
        return write(read(both))[..., 0]

    def fast(a: Array, b: Array) -> Array:
        a, b = np.broadcast_arrays(a, b)
        both = np.stack((b, a), -1).view(np.float32)
        return to_f16(both).view(np.uint32)[..., 0]

    plain_half = out.name == "f16x2" and rules == _Rules("rn")
    return Pure((out,), (source, source), fast if plain_half else run)


def _pack(mods: Mods) -> Form:
    """cvt.pack.sat.T.s32 d, a, b (16-bit T) or cvt.pack.sat.T.s32.b32 d, a, b, c (8-bit T)."""
    if not mods.flag("sat"):
        raise OpcodeError(f"`{mods.text}` needs .sat")
    out, source = mods.type("u16", "s16", "u8", "s8"), mods.type("s32")
    low, high = _range(out)
    element = RAW[out.bits]

    def both(a: Array, b: Array) -> Array:
        a, b = np.broadcast_arrays(a, b)
        pair = np.stack((b, a), -1).view(np.int32)
        return np.clip(pair, low, high).astype(np.int64).astype(element)

    if out.bits == 16:
        return Pure((B32,), (source, source), lambda a, b: both(a, b).view(np.uint32)[..., 0])
    mods.type("b32")

    def run(a: Array, b: Array, c: Array) -> Array:
        lower = both(a, b).view(np.uint16)[..., 0].astype(np.uint32)
        return (c << np.uint32(16)) | lower

    return Pure((B32,), (source, source, TYPES["b32"]), run)
