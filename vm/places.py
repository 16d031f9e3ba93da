"""Where the codes of paired units end up in halves: what decodes and casts of integers agree on.

A word is shifted as a whole, once for all the fields that then lie in the window of low bits that
count. The tables are the cheapest sequences of an exhaustive search (docs/casts.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from .packing import pieces

# For every word of a unit: from which bit on the word is shifted right by how much to read its
# whole fields.
Shifts = tuple[tuple[int, int], ...]

# By window (7, 8, 10 or 11 bits) and width.
_SHIFTS: dict[tuple[int, int], tuple[Shifts, ...]] = {
    (11, 1): (((0, 0), (11, 11)),),
    (10, 1): (((0, 0), (10, 10)),),
    (10, 2): (((0, 0), (10, 10)),),
    (10, 3): tuple(((0, 0), (9, 9 - word)) for word in range(3)),
    (10, 4): (((0, 0), (8, 8)),),
    (10, 5): tuple(((0, 0), (10, 10 - word)) for word in range(5)),
    (10, 6): tuple(((0, 0), (6, shift)) for shift in (6, 4, 4)),
    (10, 7): tuple(((0, 0), (7, shift)) for shift in (7, 5, 6, 8, 7, 5, 6)),
    (10, 8): (((0, 0), (8, 8)),),
    (8, 1): (((0, 0), (8, 8)),),
    (8, 2): (((0, 0), (8, 8)),),
    (8, 3): tuple(((0, 0), (6, 4), (12, 12 - word)) for word in range(3)),
    (8, 4): (((0, 0), (8, 8)),),
    (8, 5): tuple(((0, 0), (5, 2), (10, shift)) for shift in (10, 9, 8, 7, 10)),
    (8, 6): tuple(((0, 0), (6, shift)) for shift in (6, 4, 4)),
    (8, 7): tuple(((0, 0), (7, 8 if word == 3 else 6)) for word in range(7)),
    # Where there is a choice the field goes as high as it can: the constant weighs less.
    (7, 1): (((0, 0), (7, 7), (14, 9)),),
    (7, 2): (((0, 0), (6, 5), (12, 9)),),
    (7, 3): tuple(((0, 0), (6, 5), (12, 11 - word)) for word in range(3)),
    (7, 4): (((0, 0), (4, 1), (8, 5), (12, 9)),),
    (7, 5): tuple(
        ((0, 0), (5, low), (10, high)) for low, high in ((5, 8), (4, 8), (3, 8), (3, 10), (3, 9))
    ),
    (7, 6): (((0, 0), (6, 5)),) * 3,
    (7, 7): tuple(((0, 0), (7, 8 if word == 3 else 7)) for word in range(7)),
    (7, 8): (((0, 0), (8, 8)),),
}

# For values that need the bit below the code, as few fields as possible at place 0.
_RAISED: dict[tuple[int, int], tuple[Shifts, ...]] = {
    (10, 1): (((0, 0), (10, 6)),),
    (10, 2): (((0, 0), (10, 6)),),
    (10, 3): tuple(((0, 0), (9, 8 - word)) for word in range(3)),
    (10, 4): (((0, 0), (8, 6)),),
    (10, 6): tuple(((0, 0), (6, shift)) for shift in (5, 3, 4)),
    (10, 7): tuple(((0, 0), (7, shift)) for shift in (6, 4, 6, 8, 6, 4, 6)),
    (7, 1): (((0, 0), (7, 3), (10, 9)),),
    (7, 5): tuple(
        ((0, 0), (5, low), (10, high)) for low, high in ((4, 8), (3, 8), (3, 9), (3, 8), (3, 8))
    ),
}

# Where the pairs that are split over several words end up.
_SPLIT_PLACES: dict[tuple[int, int], int] = {
    (10, 3): 6, (10, 5): 5, (10, 6): 0, (10, 7): 3,
    (8, 3): 3, (8, 5): 1, (8, 6): 2, (8, 7): 1,
    (7, 3): 4, (7, 5): 2, (7, 6): 1, (7, 7): 0,
}  # fmt: skip
_RAISED_SPLIT_PLACES: dict[tuple[int, int], int] = {(10, 3): 7, (10, 6): 4, (10, 7): 3, (7, 5): 2}

# Where the pieces can be had for nothing only at other bits, they are merged there, and what is
# merged is rotated: for each piece the bit at which the code would begin then.
_BASES: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = {
    (10, 6): ((6, 6), (8, 8)),
    (10, 7): ((7, 7, 3, 3), (7, 7, 3, 3)),
    (8, 5): ((5, 5, 5, 5, 1),),
    (8, 6): ((6, 6), (8, 8)),
    (8, 7): ((3, 3, 3, 3), (3, 3, 3, 3)),
    (7, 5): ((10, 10, 10, 2, 2),),
    (7, 6): ((7, 7), (7, 7)),
}
_RAISED_BASES: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = {
    (10, 6): ((7, 7), (8, 8)),
    (10, 7): ((8, 8, 3, 3), (8, 8, 3, 3)),
    (7, 5): ((11, 11, 4, 4, 11),),
}


@cache
def field_places(bits: int, window: int, raised: bool = False) -> tuple[int, ...]:
    """The bit of a half at which each pair of a paired unit has its code once it is decoded.

    `window` is the number of low bits that count: 7 or 8 (bf16 with a constant or without), 10 or
    11 (f16). All places + bits are within it, but for bytes. `raised` prefers places above 0.
    """
    key = (window if (window, bits) in _SHIFTS else 10, bits)
    raised = raised and key in _RAISED
    shifts = (_RAISED if raised else _SHIFTS)[key]
    return tuple(
        (_RAISED_SPLIT_PLACES if raised else _SPLIT_PLACES)[key]
        if len(parts) > 1
        else parts[0].bit - _shift(shifts[parts[0].word], parts[0].bit)
        for parts in pieces(bits)
    )


@cache
def split_bases(bits: int, window: int, raised: bool = False) -> tuple[tuple[int, ...], ...]:
    """For each pair that is split over words, the bit where its code begins as pieces are merged.

    One for each piece; the pieces with the highest are merged first.
    """
    key = (window if (window, bits) in _SHIFTS else 10, bits)
    raised = raised and key in _RAISED
    table = _RAISED_BASES if raised else _BASES
    places = field_places(bits, window, raised)
    split = [number for number, parts in enumerate(pieces(bits)) if len(parts) > 1]
    direct = tuple((places[number],) * len(pieces(bits)[number]) for number in split)
    return table.get(key, direct)


def _shift(shifts: Iterable[tuple[int, int]], bit: int) -> int:
    return max(pair for pair in shifts if pair[0] <= bit)[1]
