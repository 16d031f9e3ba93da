"""Arithmetic on words of two f16 or two bf16, as plan operations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from tileloom.vm.dtypes import Dtype, bf16, f16

from .plan import PlanBuilder, Word


@cache
def exact_code(dtype: Dtype, value: float) -> int:
    """The code of a value that the dtype has."""
    code = int(dtype.encode(value))
    assert float(dtype.decode(code)) == value, f"{value} is inexact in {dtype}"
    return code


@dataclass(frozen=True, slots=True)
class HalfType:
    """What a plan knows of a 16-bit float.

    `window` is the number of low bits that count linearly under the exponent of `magic`, the float
    2**window whose pattern is `magic_bits`.
    """

    dtype: Dtype
    window: int
    magic_bits: int

    @property
    def magic(self) -> float:
        return 2.0**self.window

    @property
    def mantissa_bits(self) -> int:
        return self.window

    @property
    def bias(self) -> int:
        return 15 if self.window == 10 else 127

    def both(self, bits: int) -> int:
        """A word with the pattern in both halves."""
        return bits << 16 | bits

    def constant(self, plan: PlanBuilder, value: float) -> Word:
        """A word with the value, which must be exact, in both halves."""
        return self._constants(plan, (value, value))

    def scaled(self, plan: PlanBuilder, word: Word, factor: float, offset: float = 0.0) -> Word:
        """word * factor + offset, rounded once."""
        return self.scaled_pair(plan, word, (factor, factor), (offset, offset))

    def scaled_pair(
        self,
        plan: PlanBuilder,
        word: Word,
        factors: tuple[float, float],
        offsets: tuple[float, float],
    ) -> Word:
        """word * factor + offset, with factors and offsets for the low and the high half."""
        if offsets == (0.0, 0.0) and factors[0] == factors[1]:
            return self.multiplied(plan, word, factors[0])
        if factors == (1.0, 1.0) and self.window == 10:
            # There is no bf16x2 addition before sm_90; multiplying by one costs as much.
            assert max(offsets) <= 0.0
            return plan.op("sub.f16x2", word, self._constants(plan, (-offsets[0], -offsets[1])))
        opcode = f"fma.rn.{self.dtype.name}x2"
        return plan.op(opcode, word, self._constants(plan, factors), self._constants(plan, offsets))

    def _constants(self, plan: PlanBuilder, values: tuple[float, float]) -> Word:
        low, high = (exact_code(self.dtype, value) for value in values)
        return plan.constant(high << 16 | low)

    def multiplied(self, plan: PlanBuilder, word: Word, factor: float) -> Word:
        """word * factor, in as many steps as the range of the factor takes."""
        while factor != 1.0:
            step = min(factor, 2.0 ** (15 if self.window == 10 else 127))
            word = self._product(plan, word, step)
            factor /= step
        return word

    def _product(self, plan: PlanBuilder, word: Word, factor: float) -> Word:
        if self.window == 10:
            return plan.op("mul.f16x2", word, self.constant(plan, factor))
        # Adding minus zero keeps the sign of every product.
        zero = plan.constant(0x80008000)
        return plan.op("fma.rn.bf16x2", word, self.constant(plan, factor), zero)

    def sum(self, plan: PlanBuilder, lhs: Word, rhs: Word) -> Word:
        if self.window == 10:
            return plan.op("add.f16x2", lhs, rhs)
        return plan.op("fma.rn.bf16x2", lhs, self.constant(plan, 1.0), rhs)


F16: Final = HalfType(f16, 10, 0x6400)
BF16: Final = HalfType(bf16, 7, 0x4300)


def half_type(dtype: Dtype) -> HalfType:
    assert dtype in (f16, bf16), f"{dtype} is no half"
    return F16 if dtype == f16 else BF16
