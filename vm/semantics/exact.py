"""Arithmetic rounded once, where numpy would round twice."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from .values import Array


def exact_fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c of one floating type, rounded once to that type.

    The product of two float32 is exact in float64. The sum is rounded to odd there (its last bit
    set where something was cut off), after which rounding to float32 or float16 is the only one.
    """
    if a.dtype == np.float64:
        return _fma64(a, b, c)
    return np.asarray(_odd_fma(a, b, c).astype(a.dtype))


def odd_fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c of float32, rounded to odd, so that rounding to bf16 is the only one."""
    total = _odd_fma(a, b, c)
    nearest = total.astype(np.float32)
    error = total - nearest
    odd = nearest.view(np.int32) & 1
    inexact = np.isfinite(nearest) & (error != 0) & (odd == 0)
    toward = np.where(error > 0, np.float32(np.inf), np.float32(-np.inf))
    return np.where(inexact, np.nextafter(nearest, toward), nearest)


def _odd_fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c in float64, rounded to odd."""
    product = a.astype(np.float64) * b.astype(np.float64)
    addend = c.astype(np.float64)
    total = product + addend
    # The exact error of the sum (two-sum), zero where an operand is infinite or NaN.
    back = total - product
    error = (product - (total - back)) + (addend - back)
    odd = np.asarray(total).view(np.int64) & 1
    inexact = np.isfinite(total) & (error != 0) & (odd == 0)
    toward = np.where(error > 0, np.inf, -np.inf)
    return np.where(inexact, np.nextafter(total, toward), total)


def _fma64(a: Array, b: Array, c: Array) -> Array:
    def one(x: float, y: float, z: float) -> float:
        plain = x * y + z
        if not np.isfinite([x, y, z]).all():
            return plain
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        if exact == 0:
            return plain
        try:
            return float(exact)
        except OverflowError:
            return float(np.inf) if exact > 0 else float(-np.inf)

    result: Any = np.vectorize(one, otypes=[np.float64])(a, b, c)
    return np.asarray(result)


def quiet(numbers: Array) -> Array:
    """The numbers with NaNs that don't signal: of a signalling one and a number numpy's `fmin` and
    `fmax` return NaN, and not the number."""
    if numbers.dtype.kind != "f":
        return numbers
    return np.where(np.isnan(numbers), numbers.dtype.type(np.nan), numbers)


def minimum(a: Array, b: Array) -> Array:
    """The smaller one (-0 before 0), or the other one where one is NaN."""
    least = np.asarray(np.fmin(quiet(a), quiet(b)))
    return _ordered_zeros(least, a, b, np.logical_or)


def maximum(a: Array, b: Array) -> Array:
    """The larger one (0 before -0), or the other one where one is NaN."""
    most = np.asarray(np.fmax(quiet(a), quiet(b)))
    return _ordered_zeros(most, a, b, np.logical_and)


def _ordered_zeros(chosen: Array, a: Array, b: Array, negative: np.ufunc) -> Array:
    """What was chosen; of two zeros, the one whose sign is `negative` of theirs."""
    if chosen.dtype.kind != "f":
        return chosen
    zero = np.where(negative(np.signbit(a), np.signbit(b)), -0.0, 0.0).astype(chosen.dtype)
    return np.where((a == 0) & (b == 0), zero, chosen)
