"""Where the bits of elements lie in a plan's input words, in runs of neighbouring bits."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from tileloom.vm.packing import Packing

from .gather import Move
from .plan import PlanBuilder


class Run(NamedTuple):
    """`length` bits of a code from `code_bit` on lie at `bit` of a word on."""

    word: int
    bit: int
    length: int
    code_bit: int

    def part(self, start: int, stop: int) -> Run | None:
        """What the run has of the code bits [start, stop)."""
        first = max(start, self.code_bit)
        last = min(stop, self.code_bit + self.length)
        if first >= last:
            return None
        return Run(self.word, self.bit + first - self.code_bit, last - first, first)


@lru_cache(maxsize=256)
def element_runs(packing: Packing, bits: int, count: int) -> tuple[tuple[Run, ...], ...]:
    """The runs of each of `count` elements."""
    return tuple(tuple(_runs(row)) for row in packing.positions(bits, count).tolist())


def _runs(positions: list[int]) -> Iterable[Run]:
    start = 0
    for bit in range(1, len(positions) + 1):
        ends = bit == len(positions) or positions[bit] != positions[bit - 1] + 1
        if ends or positions[bit] % 32 == 0:
            yield Run(positions[start] // 32, positions[start] % 32, bit - start, start)
            start = bit


def field_moves(
    plan: PlanBuilder, runs: Iterable[Run], start: int, stop: int, to: int
) -> list[Move]:
    """Moves that bring the code bits [start, stop) to the bits from `to` on."""
    parts = (run.part(start, stop) for run in runs)
    return [
        Move(plan.input(part.word), part.bit, part.length, to + part.code_bit - start)
        for part in parts
        if part is not None
    ]
