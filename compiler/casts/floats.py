"""Floats of at most 8 bits to f16, bf16 and f32.

A float's sign goes to the sign bit and its exponent and mantissa to the bottom of the exponent and
the top of the mantissa; what is wrong then is the exponent's bias, which a product with a power of
two corrects, subnormals included. Exponents too wide for f16 go through bf16 and f32.
"""

from __future__ import annotations

from tileloom.vm.decode import decode_form, needs_halving
from tileloom.vm.dtypes import Dtype, f16
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing

from ..targets import Target
from .elements import element_runs, field_moves
from .gather import gather
from .halves import BF16, F16, HalfType
from .plan import Half, PlanBuilder, Word


def cast_halves(
    plan: PlanBuilder, source: Dtype, half: HalfType, packing: Packing, count: int, target: Target
) -> list[Word]:
    """The true values, rounded where f16 has no room for them."""
    if half is BF16:
        return _placed(plan, source, BF16, packing, count, 1.0)
    if source.exponent_bits > 5 or needs_halving(source):
        return _through_f32(plan, _placed(plan, source, BF16, packing, count, 1.0))
    if source.name == "e4m3" and target.has("cvt.fp8"):
        return _converted(plan, packing, count)
    if source.name == "e5m2":
        return _upper_bytes(plan, packing, count)
    return _placed(plan, source, F16, packing, count, 1.0)


def decode_halves(
    plan: PlanBuilder, source: Dtype, half: HalfType, packing: Packing, count: int, target: Target
) -> list[Word]:
    """The values times the factor that `decode_form` states, the same for every place."""
    exponent = decode_form(source, half.dtype, packing).exponents[0]
    if exponent == 0:
        return cast_halves(plan, source, half, packing, count, target)
    if needs_halving(source):
        return _through_f32(plan, _placed(plan, source, BF16, packing, count, 2.0**exponent))
    return _placed(plan, source, half, packing, count, 2.0**exponent)


def widened(plan: PlanBuilder, words: list[Word]) -> list[Word]:
    """bf16 pairs as f32: bf16 is the upper half of f32."""
    return [
        wide
        for word in words
        for wide in (plan.op("shl.b32", word, 16), plan.op("and.b32", word, 0xFFFF0000))
    ]


def _through_f32(plan: PlanBuilder, words: list[Word]) -> list[Word]:
    wide = widened(plan, words)
    return [
        plan.op("cvt.rn.f16x2.f32", high, low)
        for low, high in zip(wide[::2], wide[1::2], strict=True)
    ]


def _placed(
    plan: PlanBuilder, source: Dtype, half: HalfType, packing: Packing, count: int, factor: float
) -> list[Word]:
    """Sign and magnitude in their fields, times what makes the values right up to `factor`."""
    if packing == CONTIGUOUS and source.bits == 8 and count % 4 == 0:
        plan.replace_inputs(plan.op("prmt.b32", word, 0, 0x3120) for word in plan.inputs())
        packing = PAIRED
    runs = element_runs(packing, source.bits, count + count % 2)
    magnitude = source.bits - 1
    bottom = half.mantissa_bits - source.mantissa_bits
    scale = factor * 2.0 ** (half.bias - source.bias)
    words = []
    for low in range(0, count, 2):
        moves = [
            move
            for h in (0, 1)
            if low + h < count
            for move in (
                *field_moves(plan, runs[low + h], 0, magnitude, bottom + 16 * h),
                *field_moves(plan, runs[low + h], magnitude, source.bits, 15 + 16 * h),
            )
        ]
        words.append(half.multiplied(plan, gather(plan, moves), scale))
    return words


def _converted(plan: PlanBuilder, packing: Packing, count: int) -> list[Word]:
    """e4m3 by the hardware's conversion, which takes neighbouring bytes."""
    words = []
    for word in plan.inputs():
        ordered = plan.op("prmt.b32", word, 0, 0x3120) if packing == PAIRED else word
        words += [
            plan.op("cvt.rn.f16x2.e4m3x2", Half(ordered.number, high)) for high in (False, True)
        ]
    return words[: -(-count // 2)]


def _upper_bytes(plan: PlanBuilder, packing: Packing, count: int) -> list[Word]:
    """e5m2 is the upper byte of f16."""
    words = []
    for word in plan.inputs():
        if packing == PAIRED:
            words.append(plan.op("prmt.b32", word, 0, 0x2404))
            words.append(plan.masked(word, 0xFF00FF00))
        else:
            words.append(plan.op("prmt.b32", word, 0, 0x1404))
            words.append(plan.op("prmt.b32", word, 0, 0x3424))
    return words[: -(-count // 2)]


def is_exact(source: Dtype, dest: Dtype) -> bool:
    """Whether f16 holds all finite values of a float (bf16 and f32 do of every one)."""
    return dest != f16 or source.exponent_bits < 5 or source.name == "e5m2"
