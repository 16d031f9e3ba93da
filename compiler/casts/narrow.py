"""Packed integers as the destination: saturation, rounding and packing of 32-bit elements."""

from __future__ import annotations

from collections.abc import Sequence

from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import PAIRED, Packing

from .elements import Run, element_runs, field_moves
from .gather import gather
from .plan import PlanBuilder, Word
from .planes import byte_flip, bytes_of_planes, extended


def from_f32(plan: PlanBuilder, source: Dtype, dest: Dtype, words: Sequence[Word]) -> list[Word]:
    """f32 elements with values of `source` to nearest even, saturating."""
    kind = "s32" if dest.kind == "int" else "u32"
    rounded = [plan.op(f"cvt.rni.{kind}.f32", word) for word in words]
    low, high = source.min_finite, source.max_finite
    if source.specials == "ieee":  # infinities arrive as the largest integers
        low, high = -(2**31), 2**32 - 1
    low = max(0, low) if kind == "u32" else low
    return joined(plan, dest, saturated(plan, dest, rounded, low, high))


def packed(plan: PlanBuilder, source: Dtype, dest: Dtype, words: Sequence[Word]) -> list[Word]:
    """32-bit integers of values of `source`, saturating."""
    limited = saturated(plan, dest, words, source.min_finite, source.max_finite)
    return joined(plan, dest, limited)


def saturated(
    plan: PlanBuilder, dest: Dtype, words: Sequence[Word], low: float, high: float
) -> list[Word]:
    """32-bit integers between `low` and `high`, unsigned ones if `low` >= 0, limited to `dest`."""
    least, most = int(dest.min_finite), int(dest.max_finite)
    limited = list(words)
    if low < least:
        limited = [plan.op("max.s32", word, least & 0xFFFFFFFF) for word in limited]
    if high > most:
        opcode = "min.u32" if low >= 0 else "min.s32"
        limited = [plan.op(opcode, word, most) for word in limited]
    return limited


def joined(plan: PlanBuilder, dest: Dtype, words: Sequence[Word]) -> list[Word]:
    """Elements in the low bits of words, packed contiguously."""
    if dest.bits == 32:
        return list(words)
    if dest.bits == 16:
        padded = [*words, words[-1]]
        return [
            plan.op("prmt.b32", padded[i], padded[i + 1], 0x5410) for i in range(0, len(words), 2)
        ]
    if dest.bits == 8:
        padded = [*words, *[words[-1]] * 3]
        return [_four(plan, padded[i : i + 4]) for i in range(0, len(words), 4)]
    return _fields(plan, dest, words)


def _fields(plan: PlanBuilder, dest: Dtype, words: Sequence[Word]) -> list[Word]:
    result: list[Word | None] = [None] * -(-len(words) * dest.bits // 32)
    for number, word in enumerate(words):
        masked = plan.masked(word, (1 << dest.bits) - 1)
        first, bit = divmod(number * dest.bits, 32)
        _insert(plan, result, first, plan.shifted(masked, bit))
        if bit + dest.bits > 32:
            _insert(plan, result, first + 1, plan.shifted(masked, bit - 32))
    return [word for word in result if word is not None]


def _insert(plan: PlanBuilder, result: list[Word | None], number: int, word: Word) -> None:
    old = result[number]
    result[number] = word if old is None else plan.op("or.b32", old, word)


def _four(plan: PlanBuilder, words: Sequence[Word]) -> Word:
    low = plan.op("prmt.b32", words[0], words[1], 0x0040)
    high = plan.op("prmt.b32", words[2], words[3], 0x0040)
    return plan.op("prmt.b32", low, high, 0x5410)


def fits_bytes(source: Dtype, dest: Dtype) -> bool:
    """Whether `dest` has 8 bits and all values of an integer `source`."""
    fits = dest.min_finite <= source.min_finite and source.max_finite <= dest.max_finite
    return dest.bits == 8 and source.kind in ("uint", "int") and fits


def to_bytes(plan: PlanBuilder, source: Dtype, packing: Packing, count: int) -> list[Word]:
    """Codes that fit bytes, four to a word, without taking them apart."""
    if source.bits in (1, 2, 4) and count * source.bits % 32 == 0:
        return bytes_of_planes(plan, source, packing)
    runs = element_runs(packing, source.bits, count)
    # Pairs lie 16 bits apart: collect them so, and put the bytes in order afterwards.
    apart = packing == PAIRED
    order = (0, 2, 1, 3) if apart else (0, 1, 2, 3)
    words = []
    for first in range(0, count, 4):
        group = [runs[first + number] for number in order if first + number < count]
        word = _bytes(plan, source, group)
        words.append(plan.op("prmt.b32", word, 0, 0x3120) if apart else word)
    return words


def _bytes(plan: PlanBuilder, source: Dtype, group: Sequence[tuple[Run, ...]]) -> Word:
    moves = [
        move
        for number, runs in enumerate(group)
        for move in field_moves(plan, runs, 0, source.bits, 8 * number)
    ]
    return extended(plan, source, gather(plan, moves, byte_flip(source)))
