"""The oracle for floating point: rationals, rounded by the definition."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

INF, NINF, NAN = "inf", "-inf", "nan"
Number = Fraction | str


@dataclass(frozen=True)
class Kind:
    """A format; `finite_top`: the all-ones exponent holds numbers and only the last code is NaN."""

    exponent: int
    mantissa: int
    finite_top: bool = False

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def bias(self) -> int:
        return (1 << (self.exponent - 1)) - 1

    @property
    def sign(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def infinity(self) -> int:
        return ((1 << self.exponent) - 1) << self.mantissa

    @property
    def nan(self) -> int:
        return self.sign - 1

    @property
    def largest(self) -> int:
        return self.nan - 1 if self.finite_top else self.infinity - 1

    def magnitude(self, code: int) -> Fraction:
        """The value of a code without its sign, as if every exponent held numbers."""
        field, fraction = code >> self.mantissa, code % (1 << self.mantissa)
        if field:
            fraction += 1 << self.mantissa
        return fraction * Fraction(2) ** (max(field, 1) - self.bias - self.mantissa)

    def decode(self, code: int) -> Number:
        body = code & (self.sign - 1)
        if body > self.largest:
            if body == self.infinity and not self.finite_top:
                return NINF if code & self.sign else INF
            return NAN
        value = self.magnitude(body)
        return -value if code & self.sign else value

    def encode(
        self, value: Number, mode: str = "rn", negative_zero: bool = False, saturate: bool = False
    ) -> int:
        """Rounds by bisection over the codes, which are in the order of their values."""
        if value == NAN:
            return self.nan
        if isinstance(value, str):
            body = self.largest if saturate else self.infinity
            return body | (self.sign if value == NINF else 0)
        negative = value < 0 or (value == 0 and negative_zero)
        target = abs(value)
        low, high = 0, self.infinity if not self.finite_top else self.nan
        if target >= self.magnitude(high):
            low = high
        else:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if self.magnitude(middle) <= target else (low, middle)
        body = self._choose(low, target, mode, negative)
        if body > self.largest:
            grow = {"rz": False, "rm": negative, "rp": not negative}.get(mode, True)
            body = self.infinity if grow and not saturate else self.largest
        return body | (self.sign if negative else 0)

    def _choose(self, low: int, target: Fraction, mode: str, negative: bool) -> int:
        below = self.magnitude(low)
        if target == below:
            return low
        above = self.magnitude(low + 1)
        up = {
            "rz": False,
            "rm": negative,
            "rp": not negative,
            "rna": target - below >= above - target,
            "rn": (target - below, low % 2 == 0) > (above - target, True),
        }
        if mode == "rn" and target - below == above - target:
            return low + low % 2
        return low + bool(up[mode])


F16, BF16, F32, F64 = Kind(5, 10), Kind(8, 7), Kind(8, 23), Kind(11, 52)
TF32, E4M3, E5M2 = Kind(8, 10), Kind(4, 3, finite_top=True), Kind(5, 2)


def is_negative(kind: Kind, code: int) -> bool:
    return bool(code & kind.sign)


def add(kind: Kind, a: int, b: int, mode: str = "rn") -> int:
    x, y = kind.decode(a), kind.decode(b)
    if NAN in (x, y) or {x, y} == {INF, NINF}:
        return kind.nan
    for value in (x, y):
        if isinstance(value, str):
            return kind.encode(value)
    assert isinstance(x, Fraction) and isinstance(y, Fraction)
    signs = is_negative(kind, a), is_negative(kind, b)
    zero = all(signs) if signs[0] == signs[1] else mode == "rm"
    return kind.encode(x + y, mode, zero)


def product(kind: Kind, a: int, b: int) -> tuple[Number, bool]:
    """The exact product and its sign."""
    x, y = kind.decode(a), kind.decode(b)
    negative = is_negative(kind, a) != is_negative(kind, b)
    if NAN in (x, y):
        return NAN, negative
    if isinstance(x, str) or isinstance(y, str):
        return (NAN if 0 in (x, y) else NINF if negative else INF), negative
    return x * y, negative


def multiply(kind: Kind, a: int, b: int, mode: str = "rn") -> int:
    value, negative = product(kind, a, b)
    return kind.encode(value, mode, negative)


def fma(kind: Kind, a: int, b: int, c: int, mode: str = "rn") -> int:
    value, negative = product(kind, a, b)
    z = kind.decode(c)
    if NAN in (value, z) or {value, z} == {INF, NINF}:
        return kind.nan
    for term in (value, z):
        if isinstance(term, str):
            return kind.encode(term)
    assert isinstance(value, Fraction) and isinstance(z, Fraction)
    signs = negative, is_negative(kind, c)
    zero = all(signs) if signs[0] == signs[1] else mode == "rm"
    return kind.encode(value + z, mode, zero)
