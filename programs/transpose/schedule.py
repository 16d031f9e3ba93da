"""Three ways to transpose.

*Squares*: each thread holds a square of `edge` x `edge` elements. It reads `edge` neighbours of
each of its rows at once, and writes `edge` neighbours of each column: its own registers are all
that has to be rearranged. A warp's 8 x 4 squares make runs of 64 bytes on one side and 128 on the
other, so whole sectors of memory move either way.

*Sectors*: rows of any length begin anywhere in a sector, so a block's part of one would begin and
end inside sectors, which the cache takes far longer to write than whole ones. What a block writes
of a row begins up to a sector before its tile, where a sector begins; so does what it reads, where
an access may begin. Tiles go through shared memory, a word at a time.

*Shared*: a square tile through shared memory, a word or less at a time, for elements of a byte, and
batches whose matrices begin anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd

from tileloom.layouts import MemoryLayout, RegisterLayout, local, spatial, strided
from tileloom.programs.rows.schedule import vector_of

_LANES = (8, 4)
_MAX_EDGE = 8  # of bytes; larger squares would fill the registers
_WORD = 4
_SECTOR = 32
_MAX_BLOCKS = 65535  # of a grid, but along its first axis
_LEAST_TILE = 32  # columns


class _Tiles:
    """What blocks that don't write early share."""

    early = 0  # elements of a row that a block may write before its tile
    min_blocks = 0
    layout: RegisterLayout

    @property
    def shape(self) -> tuple[int, ...]:
        """[rows, columns] of a block."""
        return self.layout.shape


@dataclass(frozen=True)
class Squares(_Tiles):
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
    def layout(self) -> RegisterLayout:  # type: ignore[override]
        """[rows, columns] of a block."""
        warps = spatial(self.row_warps, self.column_warps)
        return warps * spatial(*_LANES) * local(self.edge, self.edge)


@dataclass(frozen=True)
class Shared(_Tiles):
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
    def layout(self) -> RegisterLayout:  # type: ignore[override]
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


@dataclass(frozen=True)
class Sectors:
    """Through shared memory, in whole sectors: the tile that a block writes, by the matrix's rows
    and columns. Elements are of 2, 4 or 8 bytes.

    Rows that are equal modulo `vector` begin equally far from where an access may, columns that
    are equal modulo `grain` are rows of the result that begin equally far from a sector's start:
    the tiles below take each such class by itself.
    """

    itemsize: int
    rows: int = 64
    columns: int = 64
    num_warps: int = 8
    min_blocks: int = 4
    flat: bool = False
    single: bool = False  # for one matrix: several may begin inside sectors

    @property
    def vector(self) -> int:
        """Elements of an access."""
        return max(1, _WORD // self.itemsize)

    @property
    def grain(self) -> int:
        """Elements of a sector."""
        return _SECTOR // self.itemsize

    @property
    def early(self) -> int:
        """Elements of a row that a block may write before its tile."""
        return self.grain - 1

    @property
    def shape(self) -> tuple[int, int]:
        """[rows, columns] of a block."""
        return (self.rows, self.columns)

    @property
    def before(self) -> int:
        """Rows that a block reads before its tile, for what it writes early."""
        return max(_LANES[0], self.grain)

    @property
    def held(self) -> int:
        """Rows that a block reads."""
        return self.before + self.rows

    @cached_property
    def layout(self) -> RegisterLayout:
        """[held rows / vector, columns] of a class of rows, as they are read."""
        down, across = self.held // self.vector, self.columns // self.vector
        lanes = gcd(32 * self.num_warps // across, down)
        return local(down // lanes, 1) * spatial(lanes, across) * local(1, self.vector)

    @cached_property
    def rest(self) -> RegisterLayout:
        """[held rows / vector, vector]: the access behind them."""
        return spatial(self.held // self.vector, 1) * local(1, self.vector)

    @property
    def groups(self) -> int:
        """Groups of warps that write: each has classes of its own, whose places it computes."""
        return min(self.num_warps, self.grain)

    @cached_property
    def transposed(self) -> RegisterLayout:
        """[columns / grain, rows / vector] of a class of columns and one of rows, as a group of
        warps holds them."""
        down, across = self.columns // self.grain, self.rows // self.vector
        threads = 32 * self.num_warps // self.groups
        lanes = min(threads, across)
        inner = spatial(min(threads // lanes, down), lanes)
        return local(down // inner.shape[0], across // lanes) * inner

    @cached_property
    def memory(self) -> MemoryLayout:
        """[held rows / vector, vector, columns / grain + 1, grain]: rows of a class are an odd
        number of accesses apart."""
        vector, grain = self.vector, self.grain
        across = self.columns // grain + (vector > 1)
        step = vector * (across * grain + 1)
        shape = (self.held // vector, vector, across, grain)
        return strided(shape, (step, across * grain, grain, 1))


Schedule = Squares | Shared | Sectors


def schedule_for(rows: int, columns: int, itemsize: int, batch: int = 1) -> Schedule:
    """The schedule for a batch of matrices of this shape with elements of `itemsize` bytes."""
    many = batch > _MAX_BLOCKS or columns > _MAX_BLOCKS * _LEAST_TILE
    single = batch == 1
    if itemsize == _WORD:
        return Sectors(itemsize, flat=many, single=single)
    edge = min(_MAX_EDGE, vector_of(columns, itemsize), vector_of(rows, itemsize))
    if edge > 1 and edge * itemsize >= 2 * _WORD:
        return Squares(edge, flat=many)
    if itemsize > _WORD:
        return Sectors(itemsize, columns=32, flat=many, single=single)
    if itemsize > 1 and single:
        return Sectors(itemsize, min_blocks=6, flat=many, single=True)
    word = _WORD // itemsize
    reads, writes = (min(word, vector_of(extent, itemsize)) for extent in (columns, rows))
    return Shared(itemsize, reads, writes, flat=True)
