"""Division by a number that is known when a kernel is launched."""

from __future__ import annotations

from ..diagnostics import VMValueError
from ..dtypes import dtype
from .ops import larger, smaller, var
from .values import Scalar

_BITS = 32
_MOST = (1 << 31) - 1


class Divisor:
    """A divisor from 1 to 2^31 - 1 and its inverse, which the launch works out: `inverse_of`.

    The hardware has no division of integers: what stands for one is some 20 instructions that wait
    for each other. This takes 6.
    """

    def __init__(self, value: Scalar, inverse: Scalar) -> None:
        self.value, self.inverse = value, inverse

    @staticmethod
    def inverse_of(value: int) -> int:
        """What a kernel takes as the inverse (i64) of a divisor.

        Raises:
            VMValueError: no divisor from 1 to 2^31 - 1.
        """
        if not 1 <= value <= _MOST:
            raise VMValueError(f"division by {value}", hint=f"1 to {_MOST}")
        return ((1 << _BITS) - 1) // value

    def divide(self, number: Scalar) -> tuple[Scalar, Scalar]:
        """Quotient and remainder of a number from 0 to 2^31 - 1."""
        # Too small by less than number / 2^32 + 1: by one, or exact.
        estimate = var((var(number, dtype("i64")) * self.inverse) >> _BITS, dtype("i32"))
        rest = number - estimate * self.value
        more = var(smaller(larger(rest - self.value + 1, 0), 1), dtype("i32"))
        return var(estimate + more, dtype("i32")), var(rest - more * self.value, dtype("i32"))
