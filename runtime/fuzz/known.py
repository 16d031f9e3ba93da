"""What a generator knows of the values of a tile, and what operations make of it.

Two executors compute floating sums in different orders. Their results are the same bit for bit
where every partial sum is exact: where all values are multiples of 2**grain and so small that each
sum has no more digits than its type. Elsewhere they differ by no more than an error bound, which is
carried through the operations that follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tileloom.vm.dtypes import Dtype

INFINITY = math.inf


class Refusal(Exception):  # noqa: N818 - no error: the generator tries something else
    """A production can't do what it meant to do with what it drew."""


@dataclass(frozen=True)
class Known:
    """Holds of every element: low <= x <= high and 2**grain divides x (None: nothing is known).

    `error` bounds how far executors may be apart. `special`: infinities and NaNs may occur (then
    the bounds say nothing). `signed`: the sign of a zero is certain.
    """

    low: float
    high: float
    grain: int | None = None
    error: float = 0.0
    special: bool = False
    signed: bool = True

    @property
    def top(self) -> float:
        """The largest magnitude."""
        return INFINITY if self.special else max(abs(self.low), abs(self.high))

    @property
    def exact(self) -> bool:
        """Whether executors must agree bit for bit (but for signs of zeros)."""
        return self.error == 0

    @property
    def has_zero(self) -> bool:
        return self.special or self.low <= 0 <= self.high

    def contains(self, other: Known) -> bool:
        """Whether all that is known here holds of the other too."""
        grains = self.grain is None or (other.grain is not None and other.grain >= self.grain)
        bounds = self.special or (
            not other.special and self.low <= other.low and other.high <= self.high
        )
        signs = other.signed or not self.signed
        return grains and bounds and signs and other.error <= self.error

    def with_zero(self) -> Known:
        """Of these elements or zeros."""
        return replace(self, low=min(self.low, 0), high=max(self.high, 0))


def join(a: Known, b: Known) -> Known:
    """What holds of elements that are known one way or the other."""
    return Known(
        min(a.low, b.low),
        max(a.high, b.high),
        common_grain(a, b),
        max(a.error, b.error),
        a.special or b.special,
        a.signed and b.signed,
    )


def common_grain(*parts: Known) -> int | None:
    """The grain of a sum."""
    grains = [part.grain for part in parts]
    return None if None in grains else min(g for g in grains if g is not None)


def digits(dtype: Dtype) -> int:
    """Binary digits of a float's significand."""
    return dtype.mantissa_bits + 1


def unit(dtype: Dtype) -> float:
    """The largest relative rounding error."""
    return 2.0 ** -digits(dtype)


def least_exponent(dtype: Dtype) -> int:
    """The exponent of a float's last subnormal bit."""
    return 1 - dtype.bias - dtype.mantissa_bits


def of_integers(dtype: Dtype) -> Known:
    """Any values of an integer type, bool or bipolar type."""
    if dtype.kind == "bool":
        return Known(0, 1, 0)
    return Known(dtype.min_finite, dtype.max_finite, 0)


def anything(dtype: Dtype) -> Known:
    """Any values of a type, infinities and NaNs included."""
    if not dtype.is_float:
        return of_integers(dtype)
    low, high = float(dtype.min_finite), float(dtype.max_finite)
    if dtype.kind == "codebook" or dtype.specials == "none":
        grain = least_exponent(dtype) if dtype.kind == "float" else None
        return Known(low, high, grain)
    return Known(-INFINITY, INFINITY, None, special=True)


def fits_exactly(dtype: Dtype, known: Known) -> bool:
    """Whether a float type holds all such values without rounding."""
    if known.special or known.grain is None or known.grain < least_exponent(dtype):
        return False
    return known.top <= min(2.0 ** (known.grain + digits(dtype)), float(dtype.max_finite))


def rounded(dtype: Dtype, exact: Known) -> Known:
    """Exact results as values of a type: integers wrap, floats round once.

    Raises:
        Refusal: uncertain values that may overflow.
    """
    if not dtype.is_float:
        inside = dtype.min_finite <= exact.low and exact.high <= dtype.max_finite
        return exact if inside else of_integers(dtype)
    if fits_exactly(dtype, exact) and exact.exact:
        return exact
    most = float(dtype.max_finite) * (1 - 2 * unit(dtype))
    if exact.special or not exact.top + exact.error <= most:
        if exact.error:
            raise Refusal("uncertain values that may overflow")
        return Known(-INFINITY, INFINITY, None, special=True, signed=exact.signed)
    slack = exact.top * unit(dtype) + 2.0 ** least_exponent(dtype)
    error = exact.error + 2 * slack if exact.error else 0.0
    grain = exact.grain if fits_exactly(dtype, exact) else None
    return Known(exact.low - slack, exact.high + slack, grain, error, signed=exact.signed)


def added(a: Known, b: Known) -> Known:
    """a + b before rounding."""
    if a.special or b.special:
        return _special(a, b)
    signed = a.signed and b.signed
    return Known(
        a.low + b.low, a.high + b.high, common_grain(a, b), a.error + b.error, signed=signed
    )


def negated(a: Known) -> Known:
    """-a"""
    return replace(a, low=-a.high, high=-a.low)


def multiplied(a: Known, b: Known) -> Known:
    """a * b before rounding."""
    if a.special or b.special:
        return _special(a, b)
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    grain = None if a.grain is None or b.grain is None else a.grain + b.grain
    error = a.error * b.top + b.error * a.top + a.error * b.error
    return Known(min(corners), max(corners), grain, error, signed=a.signed and b.signed)


def divided(a: Known, b: Known) -> Known:
    """a / b before rounding, of floats."""
    uncertain = a.error or b.error
    if a.special or b.special or b.has_zero:
        if uncertain:
            raise Refusal("uncertain values divided by what may be zero")
        return _special(a, b)
    least = min(abs(b.low), abs(b.high)) - b.error
    if uncertain and least <= 0:
        raise Refusal("uncertain values divided by what may be zero")
    corners = [x / y for x in (a.low, a.high) for y in (b.low, b.high)]
    error = (a.error + b.error * a.top / least) / least if uncertain else 0.0
    return Known(min(corners), max(corners), None, error, signed=a.signed and b.signed)


def summed(dtype: Dtype, part: Known, count: int, start: Known | None = None) -> Known:
    """The sum of `count` such values (and one of `start`) in any order, each sum rounded to a type.

    Raises:
        Refusal: partial sums may overflow.
    """
    total = Known(
        min(part.low * count, part.low, 0),
        max(part.high * count, part.high, 0),
        part.grain,
        part.error * count,
        part.special,
        signed=False,
    )
    if start is not None:
        total = replace(added(total, start), signed=False)
    if not dtype.is_float:
        return rounded(dtype, total)
    if fits_exactly(dtype, total) and total.exact:
        return total
    if total.special or not total.top < float(dtype.max_finite) / 2:
        raise Refusal("partial sums may overflow")
    steps = (count + 2) * (total.top + 2.0 ** least_exponent(dtype))
    # Tensor cores cut what they align, so a sum may lose more than half a unit.
    return replace(total, grain=None, error=total.error + 8 * unit(dtype) * steps)


def _special(a: Known, b: Known) -> Known:
    if a.error or b.error:
        raise Refusal("uncertain values beside infinities")
    return Known(-INFINITY, INFINITY, None, special=True, signed=a.signed and b.signed)
