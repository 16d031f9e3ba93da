"""Where the codes of paired units end up in halves: what decodes and casts of integers agree on.

A word is shifted as a whole, once for all the fields that then lie in the window of low bits that
count. The tables are the cheapest sequences of an exhaustive search (docs/casts.md).

The left-over bits of 6 and 7 bits are collected into one more word, in stages, and read there as
whole fields are. A stage brings the left-over bits of several words to different places of one
word; a rotation makes room for the next stage's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from .packing import pieces


@dataclass(frozen=True, slots=True)
class Taken:
    """The left-over bits of a word: its view, shifted right by `shift`, has them at their place.

    With a `byte`, a byte permute brings the upper byte of the view's halves to the lower one (0) or
    leaves it the upper one (1); without, a mask selects them where they are.
    """

    word: int
    shift: int
    byte: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What is collected at once, and how far all that is collected turns right afterwards."""

    taken: tuple[Taken, ...]
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Collection:
    """How split pairs are collected: the bit of a half where each begins, and where it is read."""

    stages: tuple[Stage, ...]
    starts: tuple[int, ...]
    places: tuple[int, ...]


# For every word of a unit: from which bit on the word is shifted right by how much to read its
# whole fields.
Shifts = tuple[tuple[int, int], ...]

# By window (4, 7, 8, 10 or 11 bits) and width.
_SHIFTS: dict[tuple[int, int], tuple[Shifts, ...]] = {
    # Of sequences as cheap, the one after which the fewest places differ.
    (11, 1): (((0, 0), (8, 8)),),
    (11, 2): (((0, 0), (8, 8)),),
    (10, 1): (((0, 0), (10, 10)),),
    (10, 2): (((0, 0), (10, 10)),),
    (10, 3): tuple(((0, 0), (9, 9 - word)) for word in range(3)),
    (10, 4): (((0, 0), (8, 8)),),
    (10, 5): tuple(((0, 0), (10, 10 - word)) for word in range(5)),
    (10, 6): (((0, 0), (6, 4)),) * 3,
    (10, 7): tuple(((0, 0), (7, shift)) for shift in (4, 4, 6, 4, 4, 4, 4)),
    (10, 8): (((0, 0), (8, 8)),),
    (4, 1): (((0, 0), (4, 4), (8, 8), (12, 12)),),
    (8, 1): (((0, 0), (8, 8)),),
    (8, 2): (((0, 0), (8, 8)),),
    (8, 3): tuple(((0, 0), (6, 4), (12, 12 - word)) for word in range(3)),
    (8, 4): (((0, 0), (8, 8)),),
    (8, 5): tuple(((0, 0), (5, 2), (10, shift)) for shift in (10, 9, 8, 7, 10)),
    (8, 6): (((0, 0), (6, 4)),) * 3,
    (8, 7): (((0, 0), (7, 6)),) * 7,
    # Where there is a choice the field goes as high as it can: the constant weighs less.
    (7, 1): (((0, 0), (7, 7), (14, 9)),),
    (7, 2): (((0, 0), (6, 5), (12, 9)),),
    (7, 3): tuple(((0, 0), (6, 5), (12, 11 - word)) for word in range(3)),
    (7, 4): (((0, 0), (4, 1), (8, 5), (12, 9)),),
    (7, 5): tuple(
        ((0, 0), (5, low), (10, high)) for low, high in ((5, 8), (4, 8), (3, 8), (3, 10), (3, 9))
    ),
    (7, 6): (((0, 0), (6, 5)),) * 3,
    (7, 7): (((0, 0), (7, 7)),) * 7,
    (7, 8): (((0, 0), (8, 8)),),
}

# For values that need the bit below the code, as few fields as possible at place 0.
_RAISED: dict[tuple[int, int], tuple[Shifts, ...]] = {
    (10, 1): (((0, 0), (10, 6)),),
    (10, 2): (((0, 0), (10, 6)),),
    (10, 3): tuple(((0, 0), (9, 8 - word)) for word in range(3)),
    (10, 4): (((0, 0), (8, 6)),),
    (7, 1): (((0, 0), (7, 3), (10, 9)),),
    (7, 5): tuple(
        ((0, 0), (5, low), (10, high)) for low, high in ((4, 8), (3, 8), (3, 9), (3, 8), (3, 8))
    ),
}

# Where the pairs that are split over several words end up.
_SPLIT_PLACES: dict[tuple[int, int], int] = {
    (10, 3): 6, (10, 5): 5,
    (8, 3): 3, (8, 5): 1,
    (7, 3): 4, (7, 5): 2,
}  # fmt: skip
_RAISED_SPLIT_PLACES: dict[tuple[int, int], int] = {(10, 3): 7, (7, 5): 2}

# Where the pieces can be had for nothing only at other bits, they are merged there, and what is
# merged is rotated: for each piece the bit at which the code would begin then.
_BASES: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = {
    (8, 5): ((5, 5, 5, 5, 1),),
    (7, 5): ((10, 10, 10, 2, 2),),
}
_RAISED_BASES: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = {
    (7, 5): ((11, 11, 4, 4, 11),),
}

_LOWER, _UPPER = 0, 1  # bytes of a half

# Six bits: four are left over of a word. Seven: two.
_COLLECTIONS: dict[tuple[int, int], Collection] = {
    (10, 6): Collection(
        (Stage((Taken(0, 0, _LOWER), Taken(1, 4, _UPPER), Taken(2, 0))),), (4, 10), (4, 4)
    ),
    (8, 6): Collection(
        (Stage((Taken(0, 0, _LOWER), Taken(1, 4, _UPPER), Taken(2, 0))),), (4, 10), (2, 2)
    ),
    (7, 6): Collection(
        (
            Stage((Taken(0, 0, _LOWER), Taken(2, 0, _UPPER)), turn=1),
            Stage((Taken(1, 5),)),
        ),
        (3, 9),
        (1, 1),
    ),
    (10, 7): Collection(
        (
            Stage((Taken(1, 0, _LOWER), Taken(2, 6, _UPPER), Taken(3, 4), Taken(5, 0)), turn=2),
            Stage((Taken(0, 4, _LOWER), Taken(4, 4, _UPPER), Taken(6, 0))),
        ),
        (2, 9),
        (2, 2),
    ),
    (8, 7): Collection(
        (
            Stage((Taken(1, 0, _LOWER), Taken(2, 6, _UPPER), Taken(5, 0)), turn=2),
            Stage((Taken(3, 6), Taken(6, 0)), turn=2),
            Stage((Taken(0, 6, _LOWER), Taken(4, 6, _UPPER))),
        ),
        (0, 7),
        (0, 1),
    ),
    (7, 7): Collection(
        (
            Stage((Taken(0, 0, _LOWER), Taken(4, 0, _UPPER)), turn=2),
            Stage((Taken(1, 0, _LOWER), Taken(5, 0, _UPPER)), turn=2),
            Stage((Taken(2, 0, _LOWER), Taken(6, 0, _UPPER)), turn=1),
            Stage((Taken(3, 7),)),
        ),
        (1, 8),
        (0, 0),
    ),
}


@cache
def field_places(bits: int, window: int, raised: bool = False) -> tuple[int, ...]:
    """The bit of a half at which each pair of a paired unit has its code once it is decoded.

    `window` is the number of low bits that count: 7 or 8 (bf16 with a constant or without), 10 or
    11 (f16), 4 (f16 with places that repeat). All places + bits are within it, but for bytes.
    `raised` prefers places above 0.
    """
    key = _key(bits, window)
    raised = raised and key in _RAISED
    shifts = (_RAISED if raised else _SHIFTS)[key]
    whole = [
        parts[0].bit - _shift(shifts[parts[0].word], parts[0].bit)
        for parts in pieces(bits)
        if len(parts) == 1
    ]
    return (*whole, *_split_places(key, len(pieces(bits)) - len(whole), raised))


def _split_places(key: tuple[int, int], count: int, raised: bool) -> tuple[int, ...]:
    if key in _COLLECTIONS:
        return _COLLECTIONS[key].places
    return ((_RAISED_SPLIT_PLACES if raised else _SPLIT_PLACES)[key],) * count if count else ()


def _key(bits: int, window: int) -> tuple[int, int]:
    return window if (window, bits) in _SHIFTS else 10, bits


def collection(bits: int, window: int) -> Collection | None:
    """How the split pairs of a unit are collected, or None if they are merged one by one."""
    return _COLLECTIONS.get(_key(bits, window))


@cache
def split_bases(bits: int, window: int, raised: bool = False) -> tuple[tuple[int, ...], ...]:
    """For each pair that is split over words, the bit where its code begins as pieces are merged.

    One for each piece; the pieces with the highest are merged first.
    """
    key = _key(bits, window)
    raised = raised and key in _RAISED
    table = _RAISED_BASES if raised else _BASES
    places = field_places(bits, window, raised)
    split = [number for number, parts in enumerate(pieces(bits)) if len(parts) > 1]
    direct = tuple((places[number],) * len(pieces(bits)[number]) for number in split)
    return table.get(key, direct)


def _shift(shifts: Iterable[tuple[int, int]], bit: int) -> int:
    return max(pair for pair in shifts if pair[0] <= bit)[1]
