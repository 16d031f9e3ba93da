"""e8m0, the scales of block formats: powers of two, whose codes are the exponents of f32."""

from __future__ import annotations

from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import Packing

from .elements import element_runs, field_moves
from .gather import gather
from .halves import F16, HalfType
from .plan import PlanBuilder, Word

_MANTISSA_BITS = 23


def cast_f32(plan: PlanBuilder, source: Dtype, packing: Packing, count: int) -> list[Word]:
    """2**(code - 127), and a NaN for 255.

    The code in the exponent's place is right but for both ends: 0 stands for 2**-127, a subnormal
    of f32, and 255 gives an infinity, whose product with zero is the NaN wanted.
    """
    words = []
    for runs in element_runs(packing, source.bits, count):
        pattern = gather(plan, field_moves(plan, runs, 0, source.bits, _MANTISSA_BITS))
        pattern = plan.op("max.u32", pattern, 1 << _MANTISSA_BITS - 1)
        words.append(plan.op("fma.rn.f32", pattern, plan.constant(0), pattern))
    return words


def cast_halves(
    plan: PlanBuilder, source: Dtype, half: HalfType, packing: Packing, count: int
) -> list[Word]:
    """Pairs of f16, rounded and saturated, or of bf16."""
    wide = cast_f32(plan, source, packing, count)
    opcode = "cvt.rn.satfinite.f16x2.f32" if half is F16 else "cvt.rn.bf16x2.f32"
    padded = [*wide, wide[-1]]
    return [plan.op(opcode, padded[i + 1], padded[i]) for i in range(0, count, 2)]
