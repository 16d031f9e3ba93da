"""Exhaustive search for 6 and 7 bits whose left-over bits are collected before they are read.

The model, in issue slots. A word of a unit has two whole fields: one is masked where it is, one in
a view, the word shifted right, which brings it into the window; three slots a word. What is left,
the word's top bits, is collected, word after word, in one more word:

* a word's left-over bits are at their place in the word itself or in its view; one `lop3` selects
  them there;
* or one byte permute puts those of two words into the upper and the lower byte of each half, which
  may also swap the halves;
* a rotation of what is collected makes room for more of the same.

So n words take n - 1 operations and the rotations. Both split pairs then lie in the collected word;
a mask reads each, at the moment when it is complete and in the window, or else a shift and a mask.
All numbers and distances of rotations, all distances of views and all orders are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

from linear import TURN, Problem

HALF = 16
MOST_STAGES = 4


@dataclass(frozen=True)
class Taken:
    """The stage in which a word's left-over bits are taken, their bit then, and how."""

    stage: int
    bit: int
    permuted: bool


@dataclass(frozen=True)
class Collected:
    """The cheapest way: slots of a unit, rotations after each stage, and what each word gives."""

    slots: int
    turns: tuple[int, ...]
    first: int  # where the first split pair begins in the end
    words: tuple[Taken, ...]


def search(problem: Problem, most_stages: int = MOST_STAGES) -> Collected | None:
    """The cheapest sequence of the model; None if that many stages do not do."""
    best: Collected | None = None
    for stages in range(1, most_stages + 1):
        for turns in product(range(1, TURN), repeat=stages - 1):
            for first in range(HALF):
                found = _Frame(problem, turns, first).best()
                if found is not None and (best is None or found.slots < best.slots):
                    best = found
        if best is not None and best.slots <= _fewest(problem, stages + 1):
            break
    return best


def _fewest(problem: Problem, stages: int) -> int:
    """What a sequence of so many stages takes at least."""
    words = 2 * problem.bits // (HALF % problem.bits)
    raised = words + (words + 2 if max(problem.places) == 0 else 0)
    return 3 * words + words - 1 + stages - 1 + 2 + problem.floor_penalty * raised


@cache
def _ways(problem: Problem) -> list[list[list[Taken]]]:
    """For every bit of a word where left-over bits are wanted, and every stage: how they get there.

    Bits from 16 on stand for the other half of the word.
    """
    width = HALF % problem.bits
    shifts = [s for s in range(1, HALF) if problem.bits - s in problem.places]
    bits = {HALF - width, *(HALF - width - shift for shift in shifts)}
    in_bytes = {bit % 8 for bit in bits if bit % 8 + width <= 8}

    def found(at: int, stage: int) -> Iterator[Taken]:
        bit = at % HALF
        if at < HALF and bit in bits:
            yield Taken(stage, bit, permuted=False)
        if bit % 8 in in_bytes and bit % 8 + width <= 8:
            yield Taken(stage, bit, permuted=True)

    return [[list(found(at, stage)) for stage in range(MOST_STAGES)] for at in range(TURN)]


@dataclass(frozen=True)
class _Frame:
    """Rotations after all stages but the last, and where the collected bits end up."""

    problem: Problem
    turns: tuple[int, ...]
    first: int

    @cached_property
    def width(self) -> int:
        """Left-over bits of a word."""
        return HALF % self.problem.bits

    @property
    def words(self) -> int:
        return 2 * self.problem.bits // self.width

    def turned(self, stage: int) -> int:
        """How far what a stage takes is rotated until the end."""
        return sum(self.turns[stage:])

    def best(self) -> Collected | None:
        """The cheapest choice of stages for all words."""
        ways, turned = _ways(self.problem), [self.turned(s) for s in range(len(self.turns) + 1)]
        options: list[list[Taken]] = []
        for word in range(self.words):
            at = self.first + self.width * word
            taken = [t for s, turn in enumerate(turned) for t in ways[(at + turn) % TURN][s]]
            if not taken:
                return None
            options.append(taken)
        reads = [self._read(offset) for offset in (0, self.problem.bits)]
        best: Collected | None = None
        for words in self._choices(options, ()):
            slots = 3 * self.words + self.words - 1 + len(self.turns) + 2
            slots += sum(not self._in_time(number, reads[number], words) for number in (0, 1))
            slots += self._penalties(words)
            if best is None or slots < best.slots:
                best = Collected(slots, self.turns, self.first, words)
        return best

    def _read(self, offset: int) -> list[int]:
        """The stages after which a split pair would be in the window."""
        last = self.problem.window - self.problem.bits
        least = 1 if self.problem.floor_penalty and last else 0
        places = [
            (self.first + offset + self.turned(stage)) % TURN
            for stage in range(len(self.turns) + 1)
        ]
        return [stage for stage, place in enumerate(places) if least <= place <= last]

    def _penalties(self, words: tuple[Taken, ...]) -> int:
        """What is paid for pairs that end at place 0: first fields, and others if nothing helps."""
        most = max(self.problem.places)
        second = sum(max(self._places(taken)) == 0 for taken in words)
        split = 2 if most == 0 else 0
        return self.problem.floor_penalty * (self.words + second + split)

    def _places(self, taken: Taken) -> list[int]:
        """Where the word's second field may end: its view brings the left-over bits there too."""
        own = HALF - self.width
        if taken.bit == own or (taken.permuted and taken.bit % 8 == own % 8):
            return list(self.problem.places)  # the left-over bits are taken from the word itself
        shifts = range(1, HALF)
        return [
            self.problem.bits - shift
            for shift in shifts
            if self.problem.bits - shift in self.problem.places
            and (
                own - shift == taken.bit or (taken.permuted and (own - shift) % 8 == taken.bit % 8)
            )
        ]

    def _in_time(self, pair: int, read: list[int], words: tuple[Taken, ...]) -> bool:
        bits, width = self.problem.bits, self.width
        own = range(pair * bits // width, -(-(pair + 1) * bits // width))
        complete = max(words[word].stage for word in own)
        return any(stage >= complete for stage in read)

    def _choices(
        self, options: list[list[Taken]], chosen: tuple[Taken, ...]
    ) -> Iterator[tuple[Taken, ...]]:
        if len(chosen) == len(options):
            if all(self._can(stage, chosen) for stage in range(len(self.turns) + 1)):
                yield chosen
            return
        for taken in options[len(chosen)]:
            if not taken.permuted or not any(_collide(taken, other) for other in chosen):
                yield from self._choices(options, (*chosen, taken))

    def _can(self, stage: int, chosen: tuple[Taken, ...]) -> bool:
        """A stage is not empty, and a permute has another word for the other byte."""
        own = [taken for taken in chosen if taken.stage == stage]
        permuted = [taken for taken in own if taken.permuted]
        if len(permuted) != 1:
            return bool(own)
        return any(
            taken.bit // 8 != permuted[0].bit // 8 and taken.bit % 8 + self.width <= 8
            for taken in own
        )


def _collide(taken: Taken, other: Taken) -> bool:
    same = other.permuted and other.stage == taken.stage
    return same and other.bit // 8 == taken.bit // 8
