"""f16, bf16 and their packed pairs: computed in f32 or f64, rounded once.

f16: sums and products of halves round correctly through f32 (24 >= 2 * 11 + 2 bits), and a fused
multiply-add through f64: whenever the sum comes near a midpoint of f16, its bits span less than 53.
bf16: f32 serves for sums only; products may be subnormal and fused sums span the whole exponent
range, so they take the round-to-odd path of `rounding`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .opcode import Form, Mods, OpcodeError, Pure
from .rounding import BF16, decode, fused_multiply_add, pick_by_value, to_bf16, to_f16
from .types import TYPES, Array, Type

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
}


def element(type_: Type) -> Type:
    """The scalar type of a packed pair."""
    return TYPES[type_.name.removesuffix("x2")]


def _finish(type_: Type, ftz: bool, sat: bool, relu: bool) -> Callable[[Array], Array]:
    """f32 or f64 values -> raw of `type_`."""
    raw = type_.raw
    is_half, infinity = type_.kind == "f", _infinity(type_)

    def run(values: Array) -> Array:
        if sat:
            values = np.where(np.isnan(values), 0, np.clip(values, 0, 1)) + 0.0
        if relu:
            values = np.where(values < 0, 0, values) + 0.0
        codes = to_f16(values) if is_half else to_bf16(values.astype(np.float64))
        if ftz:
            codes = flush_codes(codes, infinity)
        return codes.view(raw)

    return run


def flush_codes(codes: Array, exponent: int) -> Array:
    """Raw subnormals -> zero of the same sign; `exponent` masks the exponent's bits."""
    return np.where(codes & np.uint16(exponent) == 0, codes & np.uint16(0x8000), codes)


def _infinity(type_: Type) -> int:
    """The code of infinity, which is also the mask of the exponent."""
    return 0x7C00 if type_.kind == "f" else 0x7F80


def _reader(type_: Type, ftz: bool) -> Callable[[Array], Array]:
    read = decode(type_)
    if not ftz:
        return read
    infinity = _infinity(type_)
    return lambda raw: read(flush_codes(np.ascontiguousarray(raw).view(np.uint16), infinity))


def binary(mods: Mods, type_: Type) -> Form:
    """add sub mul min max."""
    if mods.base in ("min", "max"):
        return _minimum_maximum(mods, type_)
    mods.flag("rn")
    ftz, sat = mods.flag("ftz"), mods.flag("sat")
    fn = _ARITHMETIC[mods.base]
    read, finish = _reader(type_, ftz), _finish(type_, ftz, sat, False)
    if type_.kind == "x" and mods.base == "mul":
        # An f32 product of two bf16 is exact unless it is subnormal; f64 has the range.
        return Pure(
            (type_,),
            (type_, type_),
            lambda a, b: finish(fn(read(a).astype(np.float64), read(b).astype(np.float64))),
        )
    return Pure((type_,), (type_, type_), lambda a, b: finish(fn(read(a), read(b))))


def fused(mods: Mods, type_: Type) -> Form:
    mods.choice("rn")
    ftz, sat, relu = mods.flag("ftz"), mods.flag("sat"), mods.flag("relu")
    read, finish = _reader(type_, ftz), _finish(type_, ftz, sat, relu)
    is_half = type_.kind == "f"

    def run(a: Array, b: Array, c: Array) -> Array:
        x, y, z = (read(raw).astype(np.float64) for raw in (a, b, c))
        if is_half:
            return finish(x * y + z)
        return finish(fused_multiply_add(x, y, z, BF16))

    return Pure((type_,), (type_,) * 3, run)


def function(type_: Type, fn: Callable[..., Any], ftz: bool) -> Form:
    read, finish = _reader(type_, ftz), _finish(type_, ftz, False, False)
    return Pure((type_,), (type_,), lambda a: finish(fn(read(a).astype(np.float64))))


def _minimum_maximum(mods: Mods, type_: Type) -> Form:
    """Of values, or (.xorsign.abs) of magnitudes, with the product's sign."""
    ftz, propagate = mods.flag("ftz"), mods.flag("NaN")
    magnitudes = mods.flag("xorsign") and mods.flag("abs")
    largest = mods.base == "max"
    infinity = _infinity(type_)
    if ftz and type_.kind != "f":
        raise OpcodeError(f"unknown modifier `.ftz` of `{mods.text}`")
    sign = np.uint16(0x8000)

    def pick(x: Array, y: Array) -> Array:
        return pick_by_value(x, y, 16, infinity, largest, propagate)

    def run(a: Array, b: Array) -> Array:
        x, y = (np.ascontiguousarray(raw).view(np.uint16) for raw in (a, b))
        if ftz:
            x, y = flush_codes(x, infinity), flush_codes(y, infinity)
        if not magnitudes:
            return pick(x, y).view(type_.raw)
        found = pick(x & ~sign, y & ~sign)
        is_nan = found & ~sign > np.uint16(infinity)
        return np.where(is_nan, found, found & ~sign | (x ^ y) & sign).view(type_.raw)

    return Pure((type_,), (type_, type_), run)
