"""Exhaustive search for integers: codes of the paired packing to the low bits of 16-bit halves.

The model, in issue slots: a rotation of an input word by any distance (shifts are among them),
shared by all that read it; one `lop3` for every piece of a field, which masks it, merges it with
what was merged before and sets all other bits as wanted; a rotation of a partly merged pair. A
field may end at every place inside the window of bits that count linearly. `floor_penalty` slots
more are paid for a pair that ends at place 0, for values which need the bit below it.

Both halves of a word always undergo the same, so the search is over bits of one half. The cost of
a unit falls apart: words only meet in the pairs that are split over several of them. For these all
sets of bases (where the pair's bit 0 would be) are tried, for words all sets of views that serve
their whole fields and one piece for each split pair: every sequence of the model is covered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from tileloom.vm.packing import Piece, pieces, unit_words

TURN = 32  # distances are modulo a word: 16 would swap the elements of a pair
DISTANCES = range(TURN)
Views = tuple[int, ...]  # right rotations of a word besides 0
Fields = tuple[int, ...]  # the first bits of a word's whole fields


@dataclass(frozen=True)
class Problem:
    """Fields of `bits` bits, for a window of low bits that count linearly."""

    bits: int
    window: int
    floor_penalty: int = 0

    @property
    def places(self) -> range:
        """Where a field may end."""
        return range(self.window - self.bits + 1)

    def finish(self, place: int) -> int:
        """What is paid for a pair that ends there."""
        return self.floor_penalty if place == 0 else 0


@dataclass(frozen=True)
class Split:
    """A split pair: for each piece the base it is merged at, and where the pair ends."""

    pieces: tuple[Piece, ...]
    bases: tuple[int, ...]
    place: int


@dataclass(frozen=True)
class Unit:
    """The cheapest way to decode a unit: rotations of every word, and the split pairs."""

    slots: int
    views: tuple[Views, ...]
    splits: tuple[Split, ...]


def search(problem: Problem) -> Unit:
    """The cheapest sequence of the model."""
    fields = pieces(problem.bits)
    splits = [parts for parts in fields if len(parts) > 1]
    whole = tuple(
        tuple(parts[0].bit for parts in fields if len(parts) == 1 and parts[0].word == word)
        for word in range(unit_words(problem.bits))
    )
    units = (_unit(problem, whole, splits, shared) for shared in _shared_bases(splits))
    return min(units, key=lambda unit: unit.slots)


def _shared_bases(splits: list[tuple[Piece, ...]]) -> Iterator[dict[Piece, int]]:
    """All bases of the pieces whose word has a piece of another split pair too."""
    words = [part.word for parts in splits for part in parts]
    shared = [part for parts in splits for part in parts if words.count(part.word) > 1]
    assert len(shared) <= 2, "more would take too long"

    def choose(rest: list[Piece], chosen: dict[Piece, int]) -> Iterator[dict[Piece, int]]:
        if not rest:
            yield chosen
            return
        for base in DISTANCES:
            yield from choose(rest[1:], {**chosen, rest[0]: base})

    return choose(shared, {})


def _unit(
    problem: Problem,
    whole: tuple[Fields, ...],
    splits: list[tuple[Piece, ...]],
    shared: dict[Piece, int],
) -> Unit:
    """The best unit with the shared pieces at these bases."""
    needed: list[set[int]] = [set() for _ in whole]
    slots, found = 0, []
    for parts in splits:
        given = tuple((part, shared[part]) for part in parts if part in shared)
        own, split = _best_split(problem, whole, parts, given)
        slots += own
        found.append(split)
        for part, base in zip(parts, split.bases, strict=True):
            needed[part.word].add(_distance(part, base))
    views = []
    for fields, distances in zip(whole, needed, strict=True):
        cost, view = _word(problem, fields, tuple(sorted(distances - {0})))
        slots += cost
        views.append(view)
    return Unit(slots, tuple(views), tuple(found))


def _distance(part: Piece, base: int) -> int:
    """How far the word must turn right to bring the piece to a base."""
    return (part.bit - part.code_bit - base) % TURN


@cache
def _best_split(
    problem: Problem,
    whole: tuple[Fields, ...],
    parts: tuple[Piece, ...],
    shared: tuple[tuple[Piece, int], ...],
) -> tuple[int, Split]:
    """Of all sets of bases the best, counted with what the words' views cost more for it.

    The slots given are those of the split pair alone.
    """
    given = dict(shared)
    fixed = set(given.values())
    best: tuple[int, int, Split] | None = None
    for size in range(max(1, len(fixed)), len(parts) + 1):
        least = len(parts) + size - 1
        if best is not None and least >= best[0]:
            break  # as many rotations cost more than the best in all
        for bases in combinations(DISTANCES, size):
            if not fixed <= set(bases):
                continue
            turns, place = _finish(problem, bases)
            own, views, where = len(parts) + turns, 0, []
            for part in parts:
                extra, base = 0, given.get(part)
                if base is None:
                    fields = whole[part.word]
                    extra, base = min((_extra(problem, fields, part, b), b) for b in bases)
                views += extra
                where.append(base)
            if best is None or own + views < best[0]:
                best = own + views, own, Split(parts, tuple(where), place)
    assert best is not None
    return best[1], best[2]


def _finish(problem: Problem, bases: tuple[int, ...]) -> tuple[int, int]:
    """The slots for rotations between the bases and for the end, and where the pair ends."""
    ends = [(len(bases) - 1 + problem.finish(b), b) for b in bases if b in problem.places]
    ends += [(len(bases) + problem.finish(p), p) for p in reversed(problem.places)]
    return min(ends, key=lambda end: end[0])


def _extra(problem: Problem, fields: Fields, part: Piece, base: int) -> int:
    """What it costs more that a word has the view which brings the piece to the base."""
    distance = _distance(part, base)
    without = _word(problem, fields, ())[0]
    return _word(problem, fields, (distance,) if distance else ())[0] - without


@cache
def _word(problem: Problem, fields: Fields, forced: Views) -> tuple[int, Views]:
    """Slots for views and whole fields of a word that has the forced views, and all its views."""
    best: tuple[int, Views] | None = None
    useful = sorted({(bit - place) % TURN for bit in fields for place in problem.places} - {0})
    for size in range(len(fields) + 1):
        if best is not None and len(forced) + size + len(fields) >= best[0]:
            break  # nothing with so many views can be cheaper
        for added in combinations(useful, size):
            views = tuple(sorted({*forced, *added}))
            costs = [_field(problem, bit, (0, *views)) for bit in fields]
            if None in costs:
                continue
            slots = len(views) + sum(cost for cost in costs if cost is not None)
            if best is None or slots < best[0]:
                best = slots, views
    assert best is not None, "every field has a view that brings it to its window"
    return best


def _field(problem: Problem, bit: int, views: Iterable[int]) -> int | None:
    places = [place for view in views if (place := (bit - view) % TURN) in problem.places]
    return min((1 + problem.finish(place) for place in places), default=None)
