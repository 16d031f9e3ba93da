"""c = a @ b in f16 or bf16 by specialised warps: one thread has the copy engine fill a ring of
stages, warp groups multiply out of it.

    warps 0 - 3    give registers away; a thread copies tiles of a and b by tensor maps
    warps 4 - ..   a warp group for each 64 rows: products of turn t run while those of t - 1 end,
                   then the stage of t - 1 is free. Sums leave through shared memory, a part of the
                   columns at a time, by the copy engine too

A block takes every so many-th tile of c: the ring is filled for the next one while sums leave.
Tiles that blocks work on at the same time lie in bands of `band` tiles of rows, so that they share
columns of b as well as rows of a in the L2. Rows of all matrices start at multiples of 16 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import MemoryLayout, RegisterLayout, fragments, spatial, swizzled
from tileloom.vm.dsl.pipeline import Consumer
from tileloom.vm.dsl.values import MemoryTile, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f32

COPYING = 4  # warps: registers are given away by warp groups
ROW_BYTES = 128  # what the widest swizzle spans


@dataclass(frozen=True)
class Specialised:
    """The tile of a block; `columns` up to 256, rows a multiple of 64."""

    rows: int = 128
    columns: int = 256
    depth: int = 64
    stages: int = 4
    band: int = 8
    blocks: int = 132  # one on each multiprocessor of an H100

    @property
    def multiplying(self) -> int:
        """Warps that multiply."""
        return self.rows // 16

    @property
    def c(self) -> RegisterLayout:
        """[rows, columns], a warp group for each 64 rows."""
        return spatial(self.rows // 64, 1) * fragments.wgmma_d(self.columns)

    @property
    def stage_bytes(self) -> int:
        """What the copies of one turn bring."""
        return 2 * self.depth * (self.rows + self.columns)

    def ring(self, rows: int, columns: int) -> MemoryLayout:
        """The stages of one operand, in rows of 128 bytes as the engine swizzles them."""
        return swizzled([self.stages, rows, columns], 16)


@vm.kernel
def matmul_specialised(
    a: vm.Ptr["element"],
    b: vm.Ptr["element"],
    c: vm.Ptr["out"],
    m: vm.i32,
    k: vm.i32,
    n: vm.i32,
    element: str = "f16",
    out: str = "f16",
    schedule: Specialised = Specialised(),
) -> None:
    s, kind = schedule, dtype(element)
    down, across = vm.cdiv(m, s.rows), vm.cdiv(n, s.columns)
    tiles = down * across
    vm.launch(grid=[vm.smaller(tiles, s.blocks)], warps=COPYING + s.multiplying, min_blocks=1)
    vm.assume(k % 8 == 0)
    vm.assume(n % 8 == 0)
    view_a, view_b = vm.global_view(a, [m, k]), vm.global_view(b, [k, n])
    view_c = vm.global_view(c, [m, n])
    ring_a = vm.alloc_shared(kind, (s.stages, s.rows, s.depth), s.ring(s.rows, s.depth))
    ring_b = vm.alloc_shared(kind, (s.stages, s.depth, s.columns), s.ring(s.depth, s.columns))
    ring = vm.Pipeline(s.stages, consumers=s.multiplying)
    part = (s.rows, min(s.columns, ROW_BYTES * 8 // dtype(out).bits))
    leaving = vm.alloc_shared(dtype(out), part, swizzled(part, dtype(out).bits))
    turns = vm.cdiv(k, s.depth)
    with vm.warp_group(0, COPYING):
        vm.set_registers(40, "less")
        with vm.single_thread():
            fill = ring.producer()
            for tile in vm.range(vm.block_index(), tiles, vm.grid_size()):
                row, column = place_of(s, tile, down, across)
                for turn in vm.range(turns):
                    at = turn * s.depth
                    with fill.turn(s.stage_bytes) as stage:
                        place = (fill.barriers, stage)
                        shape_a, shape_b = (s.rows, s.depth), (s.depth, s.columns)
                        vm.copy_tensor(ring_a, [stage, 0, 0], view_a, [row, at], *place, shape_a)
                        vm.copy_tensor(ring_b, [stage, 0, 0], view_b, [at, column], *place, shape_b)
    with vm.warp_group(COPYING, s.multiplying):
        vm.set_registers(232, "more")
        use = ring.consumer()
        for tile in vm.range(vm.block_index(), tiles, vm.grid_size()):
            total = multiplied(s, use, ring_a, ring_b, turns)
            store_sums(view_c, place_of(s, tile, down, across), vm.cast(total, dtype(out)), leaving)
        with vm.single_thread():
            vm.bulk_wait()


def place_of(
    s: Specialised, tile: Scalar, down: Scalar, across: Scalar
) -> tuple[ScalarLike, ScalarLike]:
    """Row and column of a tile: bands of rows, in each column by column."""
    size = across * s.band
    first = tile // size * s.band
    height = vm.smaller(s.band, down - first)
    inside = tile % size
    return (first + inside % height) * s.rows, inside // height * s.columns


def multiplied(
    s: Specialised, use: Consumer, ring_a: MemoryTile, ring_b: MemoryTile, turns: Scalar
) -> Tile:
    """The sum over all turns, [rows, columns]."""
    total = vm.full(f32, s.c.shape, 0.0, s.c)
    for turn in vm.range(turns):
        stage = use.acquire()
        vm.wgmma(total, ring_a, ring_b, a_offsets=[stage, 0, 0], b_offsets=[stage, 0, 0])
        vm.wgmma_commit()
        vm.wgmma_wait(1)
        with vm.when(turn > 0):
            use.release(behind=1, per="warp")
        use.advance()
    vm.wgmma_wait(0)
    with vm.when(turns > 0):
        use.release(behind=1, per="warp")
    return total


def store_sums(
    view: MemoryTile, place: tuple[ScalarLike, ScalarLike], sums: Tile, leaving: MemoryTile
) -> None:
    """Writes a tile of c through shared memory, a part of the columns at a time."""
    rows, columns = sums.shape
    width = leaving.type.shape[1]
    for start in range(0, columns, width):
        with vm.single_thread():
            vm.bulk_wait(read=True)  # the part before has left
        vm.barrier()
        put = vm.store_matrix if sums.dtype.bits == 16 else vm.store
        put(leaving, [0, 0], sums[:, start : start + width])
        vm.fence_proxy_async()
        vm.barrier()
        with vm.single_thread():
            at = [place[0], place[1] + start]
            vm.store_tensor(view, at, leaving, [0, 0], (rows, width))
            vm.bulk_commit()
