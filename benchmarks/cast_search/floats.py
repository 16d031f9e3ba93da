"""Exhaustive search for floats: codes of the paired packing to the fields of 16-bit floats.

Where sign, exponent and mantissa go is fixed by the formats, so that a sequence of the model is a
choice for every pair of a unit, in issue slots:

* direct: one `lop3` for every view that has a piece of the pair at its place; views are shifts of
  input words, paid for once and shared by all that read them;
* spread (a pair in one piece): a byte permute that puts copies of the sign above the byte, a shift,
  a mask; and a view if the pair does not end with a byte;
* shared (two pairs, f16, mantissas of at most two bits): both are gathered as upper bytes in one
  word, as direct ones are, which a permute and a mask then take apart.

Exponents that f16 has no room for go through f32 (`raised` saves one of them the product). All
choices are covered: units are searched by branch and bound, without any limit. In units of 16
pairs two pairs share a word only if they lie in one input word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import Piece, pieces, unit_words

SIGN = 15
UPPER_SIGN, UPPER_MANTISSA = 7, 2  # of an f16, in its upper byte
Views = frozenset[tuple[int, int]]  # (word, left shift)


@dataclass(frozen=True)
class Choice:
    """A way to build one pair or two: the views it reads, and what it takes besides."""

    pairs: tuple[int, ...]
    views: Views
    slots: int
    name: str


@dataclass
class Search:
    """A unit of a dtype whose magnitude begins at bit `bottom` of a half."""

    source: Dtype
    bottom: int
    shared: bool
    best: int = 10**9
    found: tuple[Choice, ...] = ()
    seen: dict[tuple[tuple[int, ...], Views], int] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[tuple[Piece, ...], ...]:
        """The pieces of every pair."""
        return pieces(self.source.bits)

    def run(self) -> int:
        """The fewest slots of a unit."""
        fields = self.fields
        if len(fields) <= 8:
            return self._run(tuple(range(len(fields))), frozenset())
        # The words only meet in the split pairs, whose views are known.
        split = [self._direct(pair) for pair, parts in enumerate(fields) if len(parts) > 1]
        forced = frozenset(view for choice in split for view in choice.views)
        slots, chosen = sum(choice.slots for choice in split), tuple(split)
        for word in range(unit_words(self.source.bits)):
            own = [p for p, parts in enumerate(fields) if len(parts) == 1 and parts[0].word == word]
            slots += self._run(tuple(own), frozenset(view for view in forced if view[0] == word))
            chosen += self.found
        self.best, self.found = slots, chosen
        return slots

    def _run(self, left: tuple[int, ...], views: Views) -> int:
        self.best, self.found = 10**9, ()
        self.seen.clear()
        self._extend(left, views, 0, ())
        return self.best

    def _extend(
        self, left: tuple[int, ...], views: Views, slots: int, chosen: tuple[Choice, ...]
    ) -> None:
        total = slots + sum(shift != 0 for _, shift in views)
        if total + self._least(left) >= self.best:
            return
        if not left:
            self.best, self.found = total, chosen
            return
        key = (left, views)
        if self.seen.get(key, self.best) <= slots:
            return
        self.seen[key] = slots
        for choice in self._choices(left[0], left[1:]):
            rest = tuple(pair for pair in left if pair not in choice.pairs)
            taken = slots + choice.slots
            self._extend(rest, views | choice.views, taken, (*chosen, choice))

    def _least(self, left: tuple[int, ...]) -> int:
        """No pair takes fewer than its share of the cheapest choices, views not counted."""
        return sum(min(len(self._direct(pair).views), 2) for pair in left)

    def _choices(self, pair: int, others: tuple[int, ...]) -> Iterator[Choice]:
        yield self._direct(pair)
        spread = self._spread(pair)
        if spread is not None:
            yield spread
        if self.shared:
            for other in others:
                yield self._in_one_word(pair, other)
                yield self._in_one_word(other, pair)

    def _direct(self, pair: int) -> Choice:
        views = _views(self.source.bits, pair, self.bottom, SIGN)
        return Choice((pair,), views, len(views), "direct")

    def _spread(self, pair: int) -> Choice | None:
        bits = self.source.bits
        if len(pieces(bits)[pair]) > 1:
            return None
        (piece,) = pieces(bits)[pair]
        aligned = -(piece.bit + bits) % 8
        if piece.bit + bits + aligned > 16:
            return None
        slots = 2 + (self.bottom != 8 - bits)
        return Choice((pair,), frozenset({(piece.word, aligned)}), slots, "spread")

    def _in_one_word(self, low: int, high: int) -> Choice:
        bits, bottom = self.source.bits, UPPER_MANTISSA - self.source.mantissa_bits
        views = _views(bits, low, bottom, UPPER_SIGN)
        views |= _views(bits, high, bottom + 8, UPPER_SIGN + 8)
        return Choice((low, high), views, len(views) + 2, "shared")


@cache
def _views(bits: int, pair: int, bottom: int, sign: int) -> Views:
    """The views that have the pieces of a pair's magnitude and its sign at their places."""
    return frozenset(
        (piece.word, to - piece.bit)
        for piece, to in _placed(pieces(bits)[pair], bits - 1, bottom, sign)
    )


def _placed(
    parts: tuple[Piece, ...], magnitude: int, bottom: int, sign: int
) -> Iterator[tuple[Piece, int]]:
    """The pieces, cut between magnitude and sign, and the bit where each goes."""
    for part in parts:
        stop = part.code_bit + part.length
        if part.code_bit < magnitude:
            yield part, bottom + part.code_bit
        if stop > magnitude:
            skipped = magnitude - part.code_bit
            yield Piece(part.word, part.bit + skipped, 1, magnitude), sign


def raised(source: Dtype) -> int:
    """The fewest slots of a unit as bf16 whose exponents are raised by the value of their top bit:
    a second copy of it stands above, and the first is flipped by the operation that masks. Only
    direct views do."""
    top, fields = source.bits - 2, pieces(source.bits)
    views = [
        _views(source.bits, pair, 7, SIGN)
        | {(part.word, 14 - part.bit - top + part.code_bit) for part in parts}
        for pair, parts in enumerate(fields)
    ]
    shifted = {view for of_pair in views for view in of_pair if view[1] != 0}
    return sum(map(len, views)) + len(shifted)


def search(source: Dtype, mantissa_bits: int) -> Search:
    """The search for a destination with so many mantissa bits (10: f16, 7: bf16), done."""
    shared = mantissa_bits == 10 and source.mantissa_bits <= UPPER_MANTISSA
    found = Search(source, mantissa_bits - source.mantissa_bits, shared)
    found.run()
    return found
