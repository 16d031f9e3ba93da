"""The rows that a block computes with, or its part of a row, as a traced program sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tileloom import vm
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import Dtype

from .schedule import VECTOR_BYTES, RowSchedule, columns_inside
from .shifting import shifted


class RowBlock:
    """A block's place in a matrix of `rows` x `columns` elements of a dtype.

    `first` is the column at which its tile begins: before the row's own first where a schedule
    shifts. `at` below is a column that `turns` gives.
    """

    def __init__(self, rows: Scalar, columns: Scalar, kind: Dtype, s: RowSchedule) -> None:
        blocks = vm.cdiv(rows, s.rows) * s.cluster
        cluster = [s.cluster] if s.cluster > 1 else None
        vm.launch(grid=[blocks], warps=s.num_warps, cluster=cluster, min_blocks=s.min_blocks)
        self.rows, self.columns, self.dtype, self.schedule = rows, columns, kind, s
        self.row = vm.block_index() // s.cluster * s.rows
        self.first: ScalarLike = vm.cluster_rank() * s.columns if s.cluster > 1 else 0
        self.shift: ScalarLike = 0
        if s.shifts:
            # Of the row's place modulo a vector: no product of large numbers.
            self.shift = self.row % s.vector * (columns % s.vector) % s.vector
            self.first = self.first - self.shift
        else:
            vm.assume(columns % s.vector == 0)

        self._turn, self._landed = 0, 0

    def view(self, pointer: Pointer) -> MemoryTile:
        """[rows, columns]"""
        return vm.global_view(pointer, [self.rows, self.columns], alignment=self._alignment)

    @property
    def _alignment(self) -> int:
        return min(VECTOR_BYTES, self.schedule.vector * self.dtype.bits // 8)

    @property
    def _promise(self) -> int:
        return self._alignment if self.schedule.shifts else 0

    def turns(self) -> Iterable[ScalarLike]:
        """The first column of each tile of the rows."""
        s = self.schedule
        step = s.columns * s.cluster
        if s.staged:
            return self._staged_turns(step)
        return vm.range(self.first, self.columns, step) if s.loops else (self.first,)

    def _staged_turns(self, step: int) -> Iterator[ScalarLike]:
        for turn in range(self.schedule.staged):
            self._turn = turn
            yield self.first + turn * step

    def stage(self, source: MemoryTile) -> None:
        """Starts to copy the rows to shared memory, if the schedule says so. A thread copies what
        it will read, so that it has nobody to wait for."""
        s = self.schedule
        if s.staged:
            self._stages = vm.alloc_shared(self.dtype, (s.staged, s.columns))
            for at in self.turns():
                place = ([self._turn, 0], source, [self.row, at])
                vm.copy_async(self._stages, *place, (1, s.columns), layout=s.layout)
                vm.copy_async_commit()

    def load(self, source: MemoryTile, at: ScalarLike) -> Tile:
        """A tile of the rows in f32, zero outside."""
        s = self.schedule
        if s.staged:
            if self._landed <= self._turn:
                vm.copy_async_wait(s.staged - 1 - self._turn)
                self._landed = self._turn + 1
            return vm.load(self._stages, [self._turn, 0], s.shape, s.layout).to(vm.f32)
        tile = vm.load(source, [self.row, at], s.shape, s.layout, alignment=self._promise)
        return tile.to(vm.f32)

    def store(self, target: MemoryTile, at: ScalarLike, values: Tile) -> None:
        """Writes a tile of the result, or a piece of one."""
        vm.store(target, [self.row, at], values.to(self.dtype), alignment=self._promise)

    def pieces(self, at: ScalarLike, values: Tile) -> Iterator[tuple[ScalarLike, Tile]]:
        """A tile as a whole, or where parameters are costly by chunks: each with its column."""
        s = self.schedule
        if not s.shifts:
            yield at, values
            return
        for number in range(s.chunks):
            start = number * s.chunk_columns
            yield at + start, values[:, start : start + s.chunk_columns]

    def parameters(self, pointer: Pointer, at: ScalarLike) -> Tile:
        """A parameter of each column of a piece in f32: [1, columns]."""
        s = self.schedule
        view = vm.global_view(pointer, [1, self.columns], alignment=self._alignment)
        if not s.shifts:
            return vm.load(view, [0, at], (1, s.columns)).to(vm.f32)
        # The piece begins inside a vector of the parameters: it is cut out of two of them.
        chunk = s.chunk
        before, here = (
            vm.load(view, [0, at + self.shift - back], chunk.shape, chunk.layout,
                    alignment=self._promise)
            for back in (s.vector, 0)
        )  # fmt: skip
        return shifted(before, here, self.shift, chunk).to(vm.f32)

    def inside(self, at: ScalarLike) -> Tile:
        """[1, columns]: which columns of a tile are the rows' own."""
        s = self.schedule
        if not s.shifts:
            return columns_inside(s.columns, s.vector, self.columns - at)
        place = vm.arange(vm.i32, (1, s.columns), dim=1) + at
        return (place >= 0) & (place < self.columns)

    def count(self) -> Tile:
        """[1, 1]: how many of a row's columns the block holds, in f32."""
        if not self.schedule.loops:
            return single(self._span(self.first))
        held = vm.var(0, vm.i32)
        for at in self.turns():
            held.set(held + self._span(at))
        return single(held)

    def _span(self, at: ScalarLike) -> Scalar:
        end = vm.smaller(at + self.schedule.columns, self.columns)
        return vm.larger(end - vm.larger(at, 0), 0)

    def meet(self, parts: int) -> None:
        """The blocks of a cluster make sure that all of them are there, to be given `parts` numbers
        by `exchange`. To be called behind the loads, while these are on their way."""
        cluster = self.schedule.cluster
        if cluster > 1:
            self._given = vm.alloc_shared(vm.f32, (parts * cluster, 1))
            vm.cluster_barrier()

    def exchange(self, *parts: Tile) -> list[list[Tile]]:
        """What each block of the cluster gives, for each of the parts [rows, 1], in their order."""
        cluster = self.schedule.cluster
        if cluster == 1:
            return [[part] for part in parts]
        for number, part in enumerate(parts):
            for rank in range(cluster):
                own = number * cluster + vm.cluster_rank()
                vm.store_remote(self._given, [own, 0], part, rank)
        vm.cluster_barrier()
        return [
            [vm.load(self._given, [number * cluster + r, 0], (1, 1)) for r in range(cluster)]
            for number in range(len(parts))
        ]


def single(value: ScalarLike) -> Tile:
    """[1, 1]: a scalar in f32."""
    return (vm.full(vm.i32, (1, 1)) + value).to(vm.f32)


def added(parts: Sequence[Tile]) -> Tile:
    """The sum of tiles, in their order."""
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result
