"""Wide elements to dtypes of at most 8 bits: rounding to nearest even, saturating.

Small floats are encoded by the way back of decoding: a product with a power of two moves the
exponents to where f32 has its subnormals just where the small float has its own, so that one
rounding of the bit pattern serves all of them. That product must be exact: f32 values are first cut
to 16 bits, rounded to odd, which the later rounding can't tell from the value itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from tileloom.vm.dtypes import Dtype, bf16, f16, f32
from tileloom.vm.packing import CONTIGUOUS

from ..targets import Target
from .halves import exact_code
from .narrow import joined, saturated
from .plan import Half, PlanBuilder, Word
from .singles import integers

_INFINITY = 0x7F800000


def is_wide(source: Dtype) -> bool:
    """Whether elements can be narrowed: f16, bf16, f32, integers of 9 to 32 bits."""
    is_integer = source.kind in ("uint", "int") and 8 < source.bits <= 32
    return source in (f16, bf16, f32) or is_integer


def can_narrow(source: Dtype, dest: Dtype) -> bool:
    """Whether `cast` gives `dest`, of at most 8 bits, from a wide `source`."""
    if dest.bits > 8 or not is_wide(source):
        return False
    if dest.kind in ("uint", "int"):
        return True
    # Integers of more than 16 bits would have to be cut to odd on the way.
    narrow_float = dest.kind == "float" and dest.specials != "scale"
    return narrow_float and (source.is_float or source.bits <= 16)


def narrowed(
    plan: PlanBuilder, source: Dtype, dest: Dtype, count: int, target: Target
) -> list[Word]:
    """Contiguous elements of `source` as contiguous elements of `dest`."""
    if dest.kind in ("uint", "int") and not source.is_float:
        words = integers(plan, source, CONTIGUOUS, count)
        limited = saturated(plan, dest, words, source.min_finite, source.max_finite)
        return joined(plan, dest, limited)
    words = _as_f32(plan, source, count)
    if dest.kind == "float":
        few_bits = source.bits == 16 or not source.is_float
        return packed_floats(plan, dest, words, target, few_bits, nans=source.is_float)
    kind = "s32" if dest.kind == "int" else "u32"
    rounded = [plan.op(f"cvt.rni.{kind}.f32", word) for word in words]
    low = 0 if kind == "u32" else -(2**31)
    return joined(plan, dest, saturated(plan, dest, rounded, low, 2**31))


def packed_floats(
    plan: PlanBuilder,
    dest: Dtype,
    words: Sequence[Word],
    target: Target,
    few_bits: bool,
    nans: bool,
) -> list[Word]:
    """f32 elements as floats of at most 8 bits.

    `few_bits` promises at most 16 significant ones; without `nans` there are none.
    """
    if dest.name == "e4m3" and target.has("cvt.fp8"):
        return _converted(plan, words)
    return joined(plan, dest, [_encoded(plan, dest, word, few_bits, nans) for word in words])


def _converted(plan: PlanBuilder, words: Sequence[Word]) -> list[Word]:
    """By the hardware's conversion of pairs, which has infinities saturate as e4m3 does. (That to
    e5m2 does so too, where our infinities stay.)"""
    padded = [*words, *[words[-1]] * (-len(words) % 4)]
    pairs = [
        plan.op("cvt.rn.satfinite.e4m3x2.f32", padded[i + 1], padded[i])
        for i in range(0, len(padded), 2)
    ]
    return [plan.op("prmt.b32", pairs[i], pairs[i + 1], 0x5410) for i in range(0, len(pairs), 2)]


def _as_f32(plan: PlanBuilder, source: Dtype, count: int) -> list[Word]:
    if source == f32:
        return plan.inputs()
    if not source.is_float:
        kind = "s32" if source.kind == "int" else "u32"
        elements = integers(plan, source, CONTIGUOUS, count)
        return [plan.op(f"cvt.rn.f32.{kind}", word) for word in elements]
    return [_half_as_f32(plan, source, number) for number in range(count)]


def _half_as_f32(plan: PlanBuilder, source: Dtype, number: int) -> Word:
    word, high = plan.input(number // 2), number % 2 == 1
    if source == f16:
        return plan.op("cvt.f32.f16", Half(word.number, high))
    return plan.op("and.b32", word, 0xFFFF0000) if high else plan.op("shl.b32", word, 16)


def _encoded(plan: PlanBuilder, dest: Dtype, word: Word, few_bits: bool, nans: bool) -> Word:
    """The code of an f32, in the low bits of a word."""
    magnitude = plan.op("and.b32", word, 0x7FFFFFFF)
    limited = plan.op("min.u32", magnitude, exact_code(f32, float(dest.max_finite)))
    code = _rounded(plan, dest, limited if few_bits else _to_odd(plan, limited))
    special = _specials(plan, dest, magnitude)
    if special is not None:
        code = plan.op("add.s32", code, special)
    if nans:  # which are positive, whatever their sign: the difference is negative for them alone
        negative = plan.op("sub.s32", _INFINITY, magnitude)
        word = plan.op("lop3.b32", word, negative, 1 << 31, 0x20)  # a & ~b & c
    return plan.masked(plan.shifted(word, dest.bits - 32), 1 << dest.bits - 1, code)


def _to_odd(plan: PlanBuilder, word: Word) -> Word:
    """Cuts eight bits off; if one of them was set, the last bit that stays is set."""
    lost = plan.op("and.b32", word, 0xFF)
    carried = plan.op("add.s32", lost, 0xFF)
    return plan.op("lop3.b32", word, carried, 0xFFFFFF00, 0xA8)  # (a | b) & c


def _rounded(plan: PlanBuilder, dest: Dtype, word: Word) -> Word:
    """A magnitude rounded to nearest even: its code without a sign."""
    factor = plan.constant(exact_code(f32, 2.0 ** (dest.bias - 127)))
    pattern = plan.op("mul.f32", word, factor)
    dropped = 23 - dest.mantissa_bits
    odd = plan.masked(plan.shifted(pattern, -dropped), 1)
    raised = plan.op("add.s32", pattern, odd)
    raised = plan.op("add.s32", raised, (1 << dropped - 1) - 1)
    return plan.shifted(raised, -dropped)


def _specials(plan: PlanBuilder, dest: Dtype, magnitude: Word) -> Word | None:
    """What to add to the largest finite code for infinities and NaNs, where a type has them."""
    if dest.specials == "none":
        return None
    # e4m3 has one more code, a NaN; e5m2 the infinity and three NaNs.
    last, most = (_INFINITY, 1) if dest.specials == "fn" else (_INFINITY - 1, 4)
    beyond = plan.op("max.u32", magnitude, last)
    beyond = plan.op("sub.s32", beyond, last)
    return plan.op("min.u32", beyond, most)
