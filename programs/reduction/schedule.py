"""How reductions and scans cut an array [outer, n, inner], whose middle dimension they run along.

Where `inner` is 1 a tile has rows of the array side by side in memory, and runs along its columns;
elsewhere it has `n` down and `inner` across, and runs down. Either way neighbouring threads read
neighbouring runs of elements. Where that makes too few blocks to fill a GPU, `n` is cut into parts,
each a block's, and what the parts come to is combined by a second launch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tileloom import vm
from tileloom.layouts import RegisterLayout, local, spatial
from tileloom.programs.rows.schedule import columns_inside, power_above, vector_of
from tileloom.vm.dsl.values import ScalarLike, Tile

_THREADS = 256
_ELEMENTS = 16  # of a thread in one turn
_MAX_ACROSS = 32
_BLOCKS = 528  # four on each multiprocessor of a large GPU
_LEAST_TURNS = 4  # a part is worth a block


@dataclass(frozen=True)
class Schedule:
    """A tile of `down` x `across` threads, each with `lines` x `chunks` runs of `vector` elements;
    `dim` is the one that the program runs along."""

    dim: int = 1
    down: int = 1
    across: int = 256
    lines: int = 1
    chunks: int = 2
    vector: int = 8

    @property
    def num_warps(self) -> int:
        return self.down * self.across // 32

    @property
    def shape(self) -> tuple[int, int]:
        return (self.lines * self.down, self.chunks * self.across * self.vector)

    @property
    def extent(self) -> int:
        """Elements of a turn along the dimension."""
        return self.shape[self.dim]

    @property
    def kept(self) -> int:
        """Elements of a tile along the other dimension."""
        return self.shape[1 - self.dim]

    @cached_property
    def layout(self) -> RegisterLayout:
        threads = spatial(self.down, self.across)
        return local(self.lines, self.chunks) * threads * local(1, self.vector)

    def inside(self, n: ScalarLike) -> Tile:
        """Which elements along the dimension are below n: [1, extent] or [extent, 1]."""
        if self.dim == 1:
            return columns_inside(self.extent, self.vector, n)
        return vm.arange(vm.i32, (self.extent, 1), dim=0) < n


@dataclass(frozen=True)
class Plan:
    """A schedule, and the elements of a part along the dimension (a multiple of `extent`)."""

    schedule: Schedule
    part: int
    parts: int


def schedule_for(outer: int, n: int, inner: int, itemsize: int) -> Schedule:
    """The schedule for an array [outer, n, inner] of elements of `itemsize` bytes."""
    if inner == 1:
        vector = vector_of(n, itemsize)
        across = min(_THREADS, power_above(-(-n // vector)))
        if n <= _ELEMENTS * _MAX_ACROSS:  # a row within a warp needs no barrier
            across = min(across, _MAX_ACROSS)
        chunks = max(1, min(_ELEMENTS // vector, -(-n // (across * vector))))
        return Schedule(1, _THREADS // across, across, 1, chunks, vector)
    vector = vector_of(inner, itemsize)
    across = min(_MAX_ACROSS, power_above(-(-inner // vector)))
    down = min(_THREADS // across, power_above(n))
    lines = max(1, min(_ELEMENTS // vector, -(-n // down)))
    return Schedule(0, down, _THREADS // down, lines, 1, vector)


def plan_for(outer: int, n: int, inner: int, itemsize: int, parts: bool = True) -> Plan:
    """The plan for an array [outer, n, inner]; in one part unless `parts`."""
    s = schedule_for(outer, n, inner, itemsize)
    blocks = -(-outer // s.kept) if s.dim else outer * -(-inner // s.kept)
    turns = max(1, -(-n // s.extent))
    wanted = max(1, _BLOCKS // blocks) if parts else 1
    per_part = max(-(-turns // wanted), min(turns, _LEAST_TURNS))
    if not parts:
        per_part = turns
    return Plan(s, per_part * s.extent, -(-turns // per_part))
