"""Gathering bits: the operations that bring bits of several words to their places in one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .plan import PlanBuilder, Word


class Move(NamedTuple):
    """`length` bits from `bit` of a word on go to the result's bits from `to` on."""

    word: Word
    bit: int
    length: int
    to: int

    @property
    def mask(self) -> int:
        return ((1 << self.length) - 1) << self.to


def views_needed(moves: Iterable[Move]) -> dict[tuple[Word, int], int]:
    """Per shifted word that the moves read (word, left shift), the bits they take of it."""
    masks: dict[tuple[Word, int], int] = {}
    for move in moves:
        key = (move.word, move.to - move.bit)
        masks[key] = masks.get(key, 0) | move.mask
    return masks


def gather(plan: PlanBuilder, moves: Iterable[Move], flip: int = 0) -> Word:
    """The moved bits, xor `flip`; all other bits are those of `flip`."""
    result: Word | None = None
    for (word, left), mask in views_needed(moves).items():
        if (left, mask, flip) == (0, 0xFFFFFFFF, 0):
            return word
        first: Word | int = plan.constant(flip) if flip else 0
        view = plan.shifted(word, left)
        result = plan.masked(view, mask, first if result is None else result)
    assert result is not None, "nothing to gather"
    return result


def merged(plan: PlanBuilder, moves: Iterable[Move], result: Word) -> Word:
    """The moved bits in a word that has zeros, or what to xor them with, in their places."""
    for (word, left), mask in views_needed(moves).items():
        result = plan.masked(plan.shifted(word, left), mask, result)
    return result


def new_shifts(plan: PlanBuilder, moves: Iterable[Move]) -> tuple[int, int]:
    """How many shifts the moves need that the plan hasn't got yet, and how many masks."""
    views = views_needed(moves)
    return sum(not plan.has_shifted(word, left) for word, left in views), len(views)
