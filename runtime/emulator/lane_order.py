"""Races between the lanes of a warp, which run in any order between two meetings of the warp.

A warp's own clock (`races`) advances whenever it synchronises: at `bar.warp.sync` too. What lanes
did since then is not ordered, so each unit of shared memory knows which lanes of its last writer
wrote it, and which lanes of its last reader read it, at what time of that warp:

    A lane must not read what another one alone has written, nor write other values to what others
    have written or read, while the clock stands still.

What ldmatrix reads of a row and stmatrix writes there is done by the lanes that hold it. Atomics,
landed copies and the asynchronous proxy are not watched here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .cohort import Cohort
from .types import Array

if TYPE_CHECKING:
    from .races import Races

Values = tuple[Array | None, Array | None]
_LANES = np.arange(32, dtype=np.uint32)
_U = np.uint32


class LaneOrder:
    """Which lanes accessed a unit, as bits, and when: arrays over units."""

    def __init__(self, races: Races) -> None:
        self.races = races
        self.written = np.zeros(0, np.int32)
        self.writers = np.zeros(0, np.uint32)
        self.reader = np.zeros(0, np.int16)
        self.readers = np.zeros(0, np.uint32)

    def grow(self, units: int) -> None:
        """Makes room for so many units."""
        for name in ("written", "writers", "reader", "readers"):
            array: Array = getattr(self, name)
            more = np.zeros(units - len(array), array.dtype)
            setattr(self, name, np.concatenate((array, more)))

    def load(self, c: Cohort, units: Array, rows: Array, on: Array | None, bits: Array) -> None:
        """Lanes `bits` read units [lanes, n], before `races` notes that they do."""
        races = self.races
        agents = (rows % races.agents)[:, None]
        now = races.known[rows, agents[:, 0]][:, None]
        wrong = (self.written[units] == now) & (races.writer[units] == agents)
        if wrong.any():
            wrong &= self.writers[units] & bits == 0
            if wrong.any():
                self._report(c, on, wrong, units, "reads", "written", races.write_line)
        again = (races.read[units, agents] == now) & (self.reader[units] == agents)
        before = np.where(again, self.readers[units], _U(0))
        self.readers[units] = before | bits
        self.reader[units] = agents
        if (self.readers[units] & bits == 0).any():
            np.bitwise_or.at(self.readers, units, np.broadcast_to(bits, units.shape))

    def store(
        self,
        c: Cohort,
        units: Array,
        rows: Array,
        on: Array | None,
        bits: Array,
        values: Values,
    ) -> None:
        """Lanes `bits` write units [lanes, n], before `races` notes that they do; `values` are
        those of `Races.unchanged`."""
        races = self.races
        agents = (rows % races.agents)[:, None]
        now = races.known[rows, agents[:, 0]][:, None]
        written = (self.written[units] == now) & (races.writer[units] == agents)
        read = (races.read[units, agents] == now) & (self.reader[units] == agents)
        if written.any() or read.any():
            together = self._together(units, bits)
            others = written & (self.writers[units] & ~together != 0)
            readers = read & (self.readers[units] & ~bits != 0)
            if others.any() or readers.any():
                differs = ~races.unchanged(units, *values)
                others &= differs
                readers &= differs
            if others.any():
                self._report(c, on, others, units, "writes", "written", races.write_line)
            if readers.any():
                self._report(c, on, readers, units, "writes", "read", races.read_line)
        before = np.where(written, self.writers[units], _U(0))
        self.writers[units] = before | bits
        self.written[units] = now
        if (self.writers[units] & bits == 0).any():
            np.bitwise_or.at(self.writers, units, np.broadcast_to(bits, units.shape))

    def _together(self, units: Array, bits: Array) -> Array:
        """Which lanes of one instruction write each unit."""
        found = np.zeros(len(self.writers), np.uint32)
        np.bitwise_or.at(found, units, np.broadcast_to(bits, units.shape))
        result: Array = found[units]
        return result

    def forget(self, units: Array) -> None:
        """What lanes wrote there has no order that is checked: copies have landed."""
        self.written[units] = -1

    def _report(
        self,
        c: Cohort,
        on: Array | None,
        wrong: Array,
        units: Array,
        verb: str,
        other: str,
        lines: Array,
    ) -> None:
        self.races.report(
            c, on, wrong, units, verb, other, lines, ("another lane of its warp", "bar.warp.sync")
        )


def lane_bits(c: Cohort, on: Array | None) -> Array:
    """The bit of each active lane, [lanes, 1]."""
    chosen = _numbers(c, on)
    bits: Array = (_U(1) << chosen)[:, None]
    return bits


def matrix_bits(c: Cohort, on: Array | None, unit: int, trans: bool) -> Array:
    """Which lanes hold what of the rows that lanes `on` give the addresses of, by units of their 16
    bytes: [lanes, units]."""
    bits: Array = _matrix_table(unit, trans)[_numbers(c, on) % 8]
    return bits


def _numbers(c: Cohort, on: Array | None) -> Array:
    lanes = _lane_numbers(c.num_warps)
    return lanes.reshape(-1) if on is None else lanes[on]


@lru_cache(maxsize=64)
def _lane_numbers(num_warps: int) -> Array:
    return np.tile(_LANES, (num_warps, 1))


@lru_cache(maxsize=16)
def _matrix_table(unit: int, trans: bool) -> Array:
    """For the eight rows of a matrix, the lanes that hold each unit."""
    row, element = np.indices((8, 8), np.uint32)
    lane = 4 * element + row // 2 if trans else 4 * row + element // 2
    bits = _U(1) << lane.astype(np.uint32)
    if unit < 2:
        return np.repeat(bits, 2 // unit, 1)
    table: Array = np.bitwise_or.reduce(bits.reshape(8, 16 // unit, unit // 2), 2)
    return table
