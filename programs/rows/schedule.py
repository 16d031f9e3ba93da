"""How a block holds rows of a matrix in registers: the schedule of softmax, norms and reductions.

A row is spread over `threads` threads. Neighbours read neighbouring runs of `vector` elements, so
that each access is as wide as the row's alignment allows; a thread has `chunks` such runs:

    thread      0    1    2   ...  threads - 1    0    1   ...
    elements   |----|----|----|...|----|         |----|----|...      columns = threads * chunks
               vector                                                          * vector

A block of 4 warps holds several rows where they are short, one where they are long. Still longer
ones are held by a `cluster` of blocks, one part after the other. Where rows are too odd to begin at
multiples of a vector, but long enough for a block each, the block's tile `shifts`: it begins up to
a vector before its row, at the last place that an access may have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from tileloom import vm
from tileloom.layouts import RegisterLayout, local, spatial
from tileloom.vm.dsl.values import ScalarLike, Tile

# More elements a thread need more registers than 8 blocks of 128 threads leave each.
ELEMENTS = 32
FEW_ELEMENTS = 24
MAX_THREADS = 512
MAX_CLUSTER = 8  # more blocks are not sure to find place together
# Shared memory of a block that stages its part of a row, so that three find place, and what the
# turns of a loop take of it: as much as 40 registers a thread allow.
STAGED_BYTES = 1 << 16
TURN_BYTES = 1 << 14  # twice that in clusters
TURN_ELEMENTS = 8  # a thread's, where two parameters of each column or more take registers too
WARPS = 4
VECTOR_BYTES = 16
# Narrower accesses than these cost more than a tile that shifts, in rows that can fill a block.
LEAST_BYTES = 8
LEAST_SHIFTING = 768


class BlockOfRows:
    """A block of at least four warps, `threads` of which hold each of its rows."""

    threads: int
    columns: int

    @property
    def num_warps(self) -> int:
        return max(WARPS, self.threads // 32)

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return 32 * self.num_warps // self.threads

    @property
    def shape(self) -> tuple[int, int]:
        """[rows, columns]"""
        return (self.rows, self.columns)

    def spread(self, chunks: int, vector: int) -> RegisterLayout:
        """[rows, columns], runs of `vector` neighbours, `chunks` a thread."""
        row = local(1, chunks) * spatial(1, self.threads) * local(1, vector)
        return spatial(self.rows, 1) * row


@dataclass(frozen=True)
class RowSchedule(BlockOfRows):
    """Rows of up to `columns` elements in the registers of each block of a `cluster`; longer ones
    if the program `loops`: through what lies in global memory, or in shared memory, where `staged`
    turns of the loop hold a whole row. A row's tile that `shifts` holds up to `vector` - 1 elements
    less."""

    threads: int = 128
    chunks: int = 4
    vector: int = 8
    loops: bool = False
    cluster: int = 1
    shifts: bool = False
    staged: int = 0

    @property
    def min_blocks(self) -> int:
        """Blocks that a multiprocessor should hold: 40 registers a thread where rows lie in shared
        memory; where they are in registers that one block of 512 threads would take alone, 64, or
        56 if a thread has few elements."""
        if self.staged:
            return 1536 // (32 * self.num_warps)
        few = self.shifts and self.chunks * self.vector <= FEW_ELEMENTS
        threads = 1152 if few else 1024 if self.cluster > 1 or self.shifts else 0
        return threads // (32 * self.num_warps)

    @property
    def chunk_columns(self) -> int:
        """Columns of a chunk: neighbours across all threads of a row."""
        return self.threads * self.vector

    @property
    def chunk(self) -> RowSchedule:
        """The schedule of a chunk alone."""
        return replace(self, chunks=1)

    @property
    def columns(self) -> int:  # type: ignore[override]
        """Columns of a block."""
        return self.threads * self.chunks * self.vector

    @cached_property
    def layout(self) -> RegisterLayout:
        """[rows, columns]"""
        return self.spread(self.chunks, self.vector)


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


def row_schedule(
    columns: int, itemsize: int, clusters: bool = True, parameters: int = 0
) -> RowSchedule:
    """The schedule for rows of `columns` elements of `itemsize` bytes, on a GPU that has `clusters`
    of blocks or not, for a program that reads so many `parameters` of each column.

    As few threads a row as hold it with `ELEMENTS` elements each, so that short rows need no
    exchange between warps; but never so few that neighbours' accesses don't fill a warp.
    """
    vector = vector_of(columns, itemsize)
    # Parameters have to be moved within vectors: two of words take longer than narrow accesses.
    shifts = vector * itemsize < LEAST_BYTES and columns >= LEAST_SHIFTING
    if shifts and parameters * itemsize < 8:
        vector = VECTOR_BYTES // itemsize
        return _in_registers(columns + vector - 1, vector, clusters, True)
    if columns > ELEMENTS * MAX_THREADS and vector * itemsize >= LEAST_BYTES:
        blocks = power_above(-(-columns * itemsize // STAGED_BYTES))
        if blocks <= (MAX_CLUSTER if clusters else 1):
            turn = TURN_BYTES * min(2, blocks) // (MAX_THREADS * itemsize)
            if blocks > 1 and parameters > 1:
                turn = TURN_ELEMENTS
            chunks = turn // vector
            turns = -(-columns // (blocks * MAX_THREADS * chunks * vector))
            return RowSchedule(MAX_THREADS, chunks, vector, True, blocks, staged=turns)
    return _in_registers(columns, vector, clusters, False)


def _in_registers(columns: int, vector: int, clusters: bool, shifts: bool) -> RowSchedule:
    blocks, most = 1, MAX_CLUSTER if clusters else 1
    if columns > ELEMENTS * MAX_THREADS:
        blocks = min(most, power_above(-(-columns // (ELEMENTS // 2 * MAX_THREADS))))
    if columns > blocks * ELEMENTS * MAX_THREADS:  # turns keep more of each element
        return RowSchedule(MAX_THREADS, ELEMENTS // 2 // vector, vector, True, most, shifts)
    part, each = -(-columns // blocks), ELEMENTS // 2 if blocks > 1 else ELEMENTS
    needed = min(MAX_THREADS, -(-part // each))
    if shifts:
        threads = _whole_warps(part, vector, needed)
    else:
        threads = max(power_above(needed), min(32, power_above(-(-part // vector))))
    chunks = max(1, -(-part // (threads * vector)))
    return RowSchedule(threads, chunks, vector, False, blocks, shifts)


def _whole_warps(columns: int, vector: int, least: int) -> int:
    """The threads of a block's own row, at least so many, that hold it with the fewest elements to
    spare."""

    def held(warps: int) -> tuple[int, int]:
        return -(-columns // (32 * warps * vector)) * warps, warps

    return 32 * min(range(max(WARPS, -(-least // 32)), MAX_THREADS // 32 + 1), key=held)


def power_above(value: int) -> int:
    """The smallest power of two that is at least `value`."""
    return 1 << max(0, value - 1).bit_length()
