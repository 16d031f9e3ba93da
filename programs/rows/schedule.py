"""How a block holds rows of a matrix in registers: the schedule of softmax, norms and reductions.

A row is spread over `threads` threads. Neighbours read neighbouring runs of `vector` elements, so
that each access is as wide as the row's alignment allows; a thread has `chunks` such runs:

    thread      0    1    2   ...  threads - 1    0    1   ...
    elements   |----|----|----|...|----|         |----|----|...      columns = threads * chunks
               vector                                                          * vector

A block of 4 warps holds several rows where they are short, one where they are long.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tileloom import vm
from tileloom.layouts import RegisterLayout, local, spatial
from tileloom.vm.dsl.values import ScalarLike, Tile

# More elements a thread need more registers than 8 blocks of 128 threads leave each.
ELEMENTS = 32
MAX_THREADS = 512
WARPS = 4
VECTOR_BYTES = 16


@dataclass(frozen=True)
class RowSchedule:
    """Rows of up to `columns` elements in registers; longer ones if the program `loops`."""

    threads: int = 128
    chunks: int = 4
    vector: int = 8
    loops: bool = False

    @property
    def num_warps(self) -> int:
        return max(WARPS, self.threads // 32)

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return 32 * self.num_warps // self.threads

    @property
    def columns(self) -> int:
        return self.threads * self.chunks * self.vector

    @property
    def shape(self) -> tuple[int, int]:
        """[rows, columns]"""
        return (self.rows, self.columns)

    @cached_property
    def layout(self) -> RegisterLayout:
        """[rows, columns]"""
        row = local(1, self.chunks) * spatial(1, self.threads) * local(1, self.vector)
        return spatial(self.rows, 1) * row

    def alignment(self, itemsize: int) -> int:
        """What rows of elements of `itemsize` bytes promise: bytes."""
        return min(VECTOR_BYTES, self.vector * itemsize)

    def inside(self, n: ScalarLike) -> Tile:
        """[1, columns]: which columns are below n, a multiple of `vector`."""
        return columns_inside(self.columns, self.vector, n)


def columns_inside(columns: int, vector: int, n: ScalarLike) -> Tile:
    """[1, columns]: which columns are below n, one comparison for each `vector` of them."""
    runs = columns // vector
    first = vm.arange(vm.i32, (1, runs, 1), dim=1, step=vector)
    every = vm.broadcast(first < n, (1, runs, vector))
    return vm.reshape(every, (1, columns))


def vector_of(columns: int, itemsize: int) -> int:
    """The elements that one access may take where rows have `columns` elements."""
    vector = VECTOR_BYTES // itemsize
    while columns % vector:
        vector //= 2
    return vector


def row_schedule(columns: int, itemsize: int) -> RowSchedule:
    """The schedule for rows of `columns` elements of `itemsize` bytes.

    As few threads a row as hold it with `ELEMENTS` elements each, so that short rows need no
    exchange between warps; but never so few that neighbours' accesses don't fill a warp.
    """
    vector = vector_of(columns, itemsize)
    needed = -(-columns // ELEMENTS)
    threads = max(power_above(needed), min(32, power_above(-(-columns // vector))))
    if threads > MAX_THREADS:  # programs that loop keep more of each element
        return RowSchedule(MAX_THREADS, ELEMENTS // 2 // vector, vector, loops=True)
    return RowSchedule(threads, max(1, -(-columns // (threads * vector))), vector)


def power_above(value: int) -> int:
    """The smallest power of two that is at least `value`."""
    return 1 << max(0, value - 1).bit_length()
