"""Two ways to transpose with wide accesses on both sides.

*Squares*: each thread holds a square of `edge` x `edge` elements. It reads `edge` neighbours of
each of its rows at once, and writes `edge` neighbours of each column: its own registers are all
that has to be rearranged. A warp's 8 x 4 squares make runs of 64 bytes on one side and 128 on the
other, so whole sectors of memory move either way.

*Shared*: rows whose ends are not aligned go through shared memory, a word or less a thread at a
time. The rows there are padded so that neither side meets a bank twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tileloom.layouts import MemoryLayout, RegisterLayout, local, spatial, strided
from tileloom.programs.rows.schedule import vector_of

_LANES = (8, 4)
_MAX_EDGE = 8  # of bytes; larger squares would fill the registers
_WORD = 4
_MAX_BLOCKS = 65535  # of a grid, but along its first axis
_LEAST_TILE = 32  # columns


@dataclass(frozen=True)
class Squares:
    """Through registers: the square of a thread, and the warps of a block by rows and columns."""

    edge: int = 8
    row_warps: int = 2
    column_warps: int = 4
    flat: bool = False  # a grid of one axis, as long as need be

    @property
    def num_warps(self) -> int:
        return self.row_warps * self.column_warps

    @property
    def row_grain(self) -> int:
        """What divides the number of rows."""
        return self.edge

    @property
    def column_grain(self) -> int:
        """What divides the number of columns."""
        return self.edge

    @cached_property
    def layout(self) -> RegisterLayout:
        """[rows, columns] of a block."""
        warps = spatial(self.row_warps, self.column_warps)
        return warps * spatial(*_LANES) * local(self.edge, self.edge)


@dataclass(frozen=True)
class Shared:
    """Through shared memory: a square tile, and the elements of an access on each side."""

    itemsize: int
    reads: int = 1
    writes: int = 1
    tile: int = 64
    num_warps: int = 8
    flat: bool = False

    @property
    def row_grain(self) -> int:
        """What divides the number of rows."""
        return self.writes

    @property
    def column_grain(self) -> int:
        """What divides the number of columns."""
        return self.reads

    @cached_property
    def layout(self) -> RegisterLayout:
        """[rows, columns] as it is read."""
        return self._side(self.reads)

    @cached_property
    def transposed(self) -> RegisterLayout:
        """[columns, rows] as it is written."""
        return self._side(self.writes)

    def _side(self, vector: int) -> RegisterLayout:
        across = self.tile // vector
        down = 32 * self.num_warps // across
        return local(self.tile // down, 1) * spatial(down, across) * local(1, vector)

    @cached_property
    def memory(self) -> MemoryLayout:
        """[rows, columns]: lanes down a column, `writes` rows apart, are an odd number of words
        apart (twice that where both sides move several elements at once)."""
        pitch = self.tile + max(1, _WORD // self.itemsize // self.writes)
        if pitch % self.reads:
            pitch += self.reads - pitch % self.reads
        return strided((self.tile, self.tile), (pitch, 1))


Schedule = Squares | Shared


def schedule_for(rows: int, columns: int, itemsize: int, batch: int = 1) -> Schedule:
    """The schedule for a batch of matrices of this shape with elements of `itemsize` bytes."""
    edge = min(_MAX_EDGE, vector_of(columns, itemsize), vector_of(rows, itemsize))
    many = batch > _MAX_BLOCKS or columns > _MAX_BLOCKS * _LEAST_TILE
    if edge > 1 and edge * itemsize >= 2 * _WORD:
        return Squares(edge, flat=many)
    word = max(1, _WORD // itemsize)
    reads, writes = (min(word, vector_of(extent, itemsize)) for extent in (columns, rows))
    if itemsize == _WORD:
        return Shared(itemsize, reads, writes, num_warps=32, flat=many)
    return Shared(itemsize, reads, writes, flat=True)
