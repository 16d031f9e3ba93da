"""Exact rounding: the one place that turns a wide value into a narrow floating-point code.

Everything narrower than f64 is computed in f64 and rounded once. Where the f64 operation itself is
inexact, rounding twice could be wrong: f64 lands exactly between two narrow values though the true
result does not. The cure is *round to odd*: if the f64 result is inexact and its last bit is even,
take the neighbour on the side of the true result. An odd last bit is never a midpoint of a format
with at least two bits less, so the second rounding sees on which side the truth lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .types import Array, Type

_U = np.uint64


@dataclass(frozen=True, slots=True)
class Format:
    """Sign, exponent and mantissa bits; an all-ones exponent is inf or NaN if `has_infinity`."""

    exponent_bits: int
    mantissa_bits: int
    has_infinity: bool = True

    @property
    def bias(self) -> int:
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def infinity(self) -> int:
        return ((1 << self.exponent_bits) - 1) << self.mantissa_bits

    @property
    def largest(self) -> int:
        """The largest finite code; e4m3 has only its last code as NaN."""
        return self.infinity - 1 if self.has_infinity else self.nan - 1

    @property
    def nan(self) -> int:
        """The canonical NaN of the hardware: all ones but the sign."""
        return (1 << (self.bits - 1)) - 1


F16, BF16, TF32, F32 = Format(5, 10), Format(8, 7), Format(8, 10), Format(8, 23)
E4M3, E5M2 = Format(4, 3, has_infinity=False), Format(5, 2)
FORMATS = {"f16": F16, "f16x2": F16, "bf16": BF16, "bf16x2": BF16, "tf32": TF32, "f32": F32}
FORMATS |= {"e4m3x2": E4M3, "e5m2x2": E5M2}


def format_of(type_: Type) -> Format:
    return FORMATS[type_.name]


def narrow(values: Array, target: Format, mode: str = "rn", saturate: bool = False) -> Array:
    """f64 -> codes (uint64) of `target`, rounded once in `mode` (rn rz rm rp rna).

    With `saturate`, infinities and what is too large become the largest finite number.
    """
    bits = np.ascontiguousarray(values, np.float64).view(np.uint64)
    negative = bits >> _U(63) != 0
    field = (bits >> _U(52)) & _U(0x7FF)
    significand = bits & _U((1 << 52) - 1)
    significand = np.where(field != 0, significand | _U(1 << 52), significand)
    exponent = np.maximum(field, _U(1)).astype(np.int64) - 1075
    lowest = 1 - target.bias - target.mantissa_bits
    quantum = np.maximum(exponent + 52 - target.mantissa_bits, lowest)
    # A significand of 53 bits shifted by 54 is below one half: more would change nothing.
    shift = np.minimum(quantum - exponent, 54).astype(np.uint64)
    kept = significand >> shift
    kept += _round_up(significand, kept, shift, negative, mode)
    codes = kept + (
        (quantum + target.mantissa_bits + target.bias - 1).astype(np.uint64)
        << _U(target.mantissa_bits)
    )
    largest = _U(target.largest)
    if saturate:
        codes = np.where((codes > largest) | (field == 0x7FF), largest, codes)
    else:
        infinity = _U(target.infinity)
        limit = np.where(_overflow_to_infinity(negative, mode), infinity, largest)
        codes = np.where(codes > largest, limit, codes)
        codes = np.where(np.isinf(values), infinity, codes)
    codes |= negative.astype(np.uint64) << _U(target.bits - 1)
    return np.where(np.isnan(values), _U(target.nan), codes)


def _overflow_to_infinity(negative: Array, mode: str) -> Array:
    match mode:
        case "rz":
            return np.zeros_like(negative)
        case "rm":
            return negative
        case "rp":
            return ~negative
    return np.ones_like(negative)


def _round_up(significand: Array, kept: Array, shift: Array, negative: Array, mode: str) -> Array:
    rest = significand & ((_U(1) << shift) - _U(1))
    half = _U(1) << (shift - _U(1))
    match mode:
        case "rn":
            up = (rest > half) | ((rest == half) & (kept & _U(1) != 0))
        case "rna":
            up = rest >= half
        case "rz":
            up = np.zeros_like(negative)
        case "rm":
            up = negative & (rest != 0)
        case "rp":
            up = ~negative & (rest != 0)
        case _:
            raise AssertionError(mode)
    increment: Array = up.astype(np.uint64)
    return increment


# ---- sums and products in f64, rounded to odd


def _sum(x: Array, y: Array) -> tuple[Array, Array]:
    """x + y in f64, and what the sum lacks (exactly, by Knuth's two-sum)."""
    total = np.asarray(x + y)
    part = total - x
    return total, (x - (total - part)) + (y - part)


def directed_sum(x: Array, y: Array, mode: str) -> Array:
    """x + y in f64, rounded in `mode`; finite terms only."""
    total, error = _sum(x, y)
    if mode == "rn":
        return total
    towards = {"rm": -np.inf, "rp": np.inf}.get(mode, 0.0)
    beyond = error < 0 if mode == "rm" else error > 0
    if mode == "rz":
        beyond = (error != 0) & ((error < 0) == (total > 0))
    return np.where(beyond, np.nextafter(total, towards), total)


def odd_sum(x: Array, y: Array) -> Array:
    """x + y in f64, rounded to odd."""
    total, error = _sum(x, y)
    bits = np.ascontiguousarray(total).view(np.int64)
    inexact = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
    step = np.where((error > 0) == (total > 0), np.int64(1), np.int64(-1))
    return np.where(inexact, bits + step, bits).view(np.float64)


def directed_zero(total: Array, x: Array, y: Array) -> Array:
    """x + y rounded down: an exact zero from terms of opposite signs is negative."""
    cancelled = (total == 0) & (np.signbit(x) != np.signbit(y))
    return np.where(cancelled, -0.0, total)


def odd_fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c rounded to odd; factors have at most 26 significant bits: exact products."""
    return odd_sum(a * b, c)


def fused_multiply_add(a: Array, b: Array, c: Array, target: Format) -> Array:
    """a * b + c in f64 such that one more rounding to nearest in `target` is correct.

    The plain sum is kept unless one of its elements is a midpoint of `target` or lies where
    `target` is subnormal: only there can the first rounding mislead the second.
    """
    total = np.asarray(a * b + c)
    bits = np.ascontiguousarray(total).view(np.uint64)
    below = 52 - target.mantissa_bits
    risky = (bits & _U((1 << below) - 1)) == _U(1 << (below - 1))
    least_normal = 1023 + 1 - target.bias
    risky |= (bits << _U(1)) - _U(1) < _U((least_normal << 53) - 1)
    return odd_fma(a, b, c) if risky.any() else total


# ---- raw codes <-> values


def bf16_values(raw: Array) -> Array:
    """Raw uint16 -> float32."""
    return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_f16(values: Array) -> Array:
    """f32 or f64 -> raw f16, nearest even; numpy's conversion rounds once from either."""
    result = values.astype(np.float16)
    return canonical(result, np.uint16, 0x7FFF)


def to_bf16(values: Array) -> Array:
    """f64 -> raw bf16, nearest even."""
    bits = values.view(np.uint64)
    magnitude = bits << _U(1)
    if ((magnitude - _U(1)) < _U(((1023 - 126) << 53) - 1)).any():
        return narrow(values, BF16).astype(np.uint16)
    rounded = bits + ((bits >> _U(45)) & _U(1)) + _U((1 << 44) - 1)
    result = (rounded & _U(0xFFFFE00000000000)).view(np.float64).astype(np.float32)
    codes: Array = (result.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    nans = np.isnan(values)
    if nans.any():
        codes[nans] = 0x7FFF
    return codes


def canonical(values: Array, raw: type, nan: int) -> Array:
    """Float results as raw bits, every NaN replaced by the hardware's. `values` must be fresh."""
    bits: Array = values.view(raw)
    nans = np.isnan(values)
    if nans.any():
        bits[nans] = nan
    return bits


def decode(type_: Type) -> Callable[[Array], Array]:
    """Raw array of a 16-bit type (or a packed pair) -> float32, pairs widening the last axis."""
    if type_.kind == "f":
        return lambda raw: _narrow_view(raw, np.float16).astype(np.float32)
    return lambda raw: bf16_values(_narrow_view(raw, np.uint16))


def _narrow_view(raw: Array, view: type) -> Array:
    if raw.strides[-1] != raw.itemsize:
        raw = np.ascontiguousarray(raw)
    return raw.view(view)


# ---- order


def _sortable(raw: Array, bits: int) -> Array:
    """Codes as signed integers in the order of their values, -0 below +0."""
    signed = raw.view(f"i{bits // 8}")
    magnitude = signed.dtype.type((1 << (bits - 1)) - 1)
    key: Array = signed ^ ((signed >> (bits - 1)) & magnitude)
    return key


def pick_by_value(
    a: Array, b: Array, bits: int, infinity: int, largest: bool, propagate: bool
) -> Array:
    """min or max on raw codes. A NaN loses unless `propagate`; two NaN give the canonical one."""
    a, b = np.broadcast_arrays(a, b)
    magnitude = a.dtype.type((1 << (bits - 1)) - 1)
    a_first = (_sortable(a, bits) > _sortable(b, bits)) == largest
    result = np.where(a_first, a, b)
    nan_a, nan_b = (a & magnitude) > infinity, (b & magnitude) > infinity
    if nan_a.any() or nan_b.any():
        result = np.where(nan_a, b, np.where(nan_b, a, result))
        lost = nan_a | nan_b if propagate else nan_a & nan_b
        result = np.where(lost, magnitude, result)
    return result
