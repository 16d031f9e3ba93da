"""Floats whose f16 needs its upper byte alone: four elements at a time.

Where mantissas have at most two bits, sign, exponent and mantissa of an f16 lie in its upper byte.
So two pairs of a paired unit share one word of such bytes, which the masks of both make together;
one permute then takes the first pair apart and one mask the second.

    word   |  b of h1  |  a of h1  |  b of h0  |  a of h0  |      a, b: the pairs' upper bytes
    a      |  a of h1  |     0     |  a of h0  |     0     |      by a permute
    b      |  b of h1  |     0     |  b of h0  |     0     |      by a mask
"""

from __future__ import annotations

from collections.abc import Sequence

from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import pairs

from .elements import Run, field_moves
from .gather import Move, gather, new_shifts
from .halves import F16, HalfType
from .plan import PlanBuilder, Word

_SIGN = 7
_MANTISSA_BITS = 2  # of an f16, in its upper byte

Pair = Sequence[tuple[Run, ...]]


def fits(source: Dtype, half: HalfType, count: int) -> bool:
    """Whether pairs of `count` elements can share words of upper bytes."""
    whole_units = count % (2 * pairs(source.bits)) == 0
    return half is F16 and source.mantissa_bits <= _MANTISSA_BITS and whole_units


# Two pairs of a unit of 6 bits for which it pays even where it does not for all.
_BEST_TWO = {6: (2, 6)}


def fields(plan: PlanBuilder, source: Dtype, runs: Sequence[tuple[Run, ...]]) -> list[Word]:
    """The patterns of pairs of f16."""
    all_pairs = _pairs(runs)
    size = pairs(source.bits)
    words: dict[int, Word] = {}
    for unit in range(0, len(all_pairs), size):
        left = list(range(unit, unit + size))
        while left:
            a, b = _cheapest(plan, source, all_pairs, left)
            words[a], words[b] = _two(plan, source, all_pairs[a], all_pairs[b])
            left = [number for number in left if number not in (a, b)]
    return [words[number] for number in range(len(all_pairs))]


def has_best_two(source: Dtype) -> bool:
    """Whether `best_two` has any."""
    return source.bits in _BEST_TWO


def best_two(plan: PlanBuilder, source: Dtype, runs: Sequence[tuple[Run, ...]]) -> dict[int, Word]:
    """The patterns, by the number of the pair, of two pairs of each unit."""
    all_pairs = _pairs(runs)
    words: dict[int, Word] = {}
    for unit in range(0, len(all_pairs), pairs(source.bits)):
        a, b = (unit + number for number in _BEST_TWO[source.bits])
        words[a], words[b] = _two(plan, source, all_pairs[a], all_pairs[b])
    return words


def _pairs(runs: Sequence[tuple[Run, ...]]) -> list[Pair]:
    return [runs[low : low + 2] for low in range(0, len(runs), 2)]


def _two(plan: PlanBuilder, source: Dtype, a: Pair, b: Pair) -> tuple[Word, Word]:
    word = gather(plan, _moves(plan, source, a, b))
    return plan.op("prmt.b32", word, 0, 0x2404), plan.masked(word, 0xFF00FF00)


def _cheapest(
    plan: PlanBuilder, source: Dtype, all_pairs: Sequence[Pair], left: Sequence[int]
) -> tuple[int, int]:
    """The first pair that is left with the partner, and in the order, that cost least."""
    first, *rest = left
    choices = [choice for other in rest for choice in ((first, other), (other, first))]

    def cost(choice: tuple[int, int]) -> int:
        moves = _moves(plan, source, *(all_pairs[number] for number in choice))
        return sum(new_shifts(plan, moves))

    return min(choices, key=cost)


def _moves(plan: PlanBuilder, source: Dtype, a: Pair, b: Pair) -> list[Move]:
    magnitude = source.bits - 1
    bottom = _MANTISSA_BITS - source.mantissa_bits
    return [
        move
        for place, pair in ((0, a), (8, b))
        for h, runs in enumerate(pair)
        for move in (
            *field_moves(plan, runs, 0, magnitude, bottom + place + 16 * h),
            *field_moves(plan, runs, magnitude, source.bits, _SIGN + place + 16 * h),
        )
    ]
