"""c = a @ b in f16 or bf16 by specialised warps: one thread has the copy engine fill a ring of
stages, warp groups multiply out of it.

    warps 0 - 3    give registers away; a thread copies tiles of a and b by tensor maps
    warps 4 - ..   a warp group for each 64 rows: products of turn t run while those of t - 1 end,
                   then the stage of t - 1 is free. Sums leave through shared memory, a part of the
                   columns at a time, by the copy engine too

A block takes every so many-th tile of c. Groups don't meet, and start `ahead` turns apart: while
the sums of one leave, the products of the other have the tensor cores for themselves, and the ring
holds what both need next.
Tiles that blocks work on at the same time lie in bands of `band` tiles of rows, so that they share
columns of b as well as rows of a in the L2. Rows of all matrices start at multiples of 16 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import MemoryLayout, RegisterLayout, fragments, swizzled
from tileloom.vm.dsl.pipeline import Consumer
from tileloom.vm.dsl.values import MemoryTile, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f32

from .operands import operand_views

COPYING = 4  # warps: registers are given away by warp groups
ROW_BYTES = 128  # what the widest swizzle spans
_LARGE = 1 << 25  # elements of c


@dataclass(frozen=True)
class Specialised:
    """The tile of a block; `columns` up to 256, rows a multiple of 64."""

    rows: int = 128
    columns: int = 256
    depth: int = 64
    stages: int = 4
    band: int = 8
    blocks: int = 132  # one on each multiprocessor of an H100
    ahead: int = 2  # turns between warp groups, less than stages

    @property
    def groups(self) -> int:
        """Warp groups that multiply, each for 64 rows."""
        return self.rows // 64

    @property
    def multiplying(self) -> int:
        """Warps that multiply."""
        return 4 * self.groups

    @property
    def c(self) -> RegisterLayout:
        """[64, columns] of a warp group."""
        return fragments.wgmma_d(self.columns)

    @property
    def stage_bytes(self) -> int:
        """What the copies of one turn bring."""
        return 2 * self.depth * (self.rows + self.columns)

    def leaving(self, bits: int) -> tuple[int, int, int]:
        """[slots, 64, columns] of `bits` bits: parts of the groups' sums on their way."""
        width = min(self.columns, ROW_BYTES * 8 // bits)
        # A part takes the slot of the last but one, in the next tile too.
        slots = 2 if self.columns // width % 2 == 0 else 1
        return (slots * self.groups, 64, width)

    def ring(self, rows: int, columns: int) -> MemoryLayout:
        """The stages of one operand, in rows of 128 bytes as the engine swizzles them."""
        return swizzled([self.stages, rows, columns], 16)


def specialised_schedule(m: int, n: int) -> Specialised:
    """The schedule for c of m rows and n columns.

    Wider bands keep more of large matrices in the L2; of smaller ones there are too few tiles at a
    time to fill them.
    """
    rows, columns = 64 if m <= 64 else 128, 256 if n > 128 else 128
    wide = m * n >= _LARGE
    return Specialised(rows, columns, band=16 if wide else 8, ahead=2 if wide else 3)


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
    view_a, view_b = operand_views(a, b, m, k, n, 8)
    view_c = vm.global_view(c, [m, n])
    ring_a = vm.alloc_shared(kind, (s.stages, s.rows, s.depth), s.ring(s.rows, s.depth))
    ring_b = vm.alloc_shared(kind, (s.stages, s.depth, s.columns), s.ring(s.depth, s.columns))
    ring = vm.Pipeline(s.stages, consumers=s.multiplying)
    part = s.leaving(dtype(out).bits)
    leaving = vm.alloc_shared(dtype(out), part, swizzled(part, dtype(out).bits))
    turns = vm.cdiv(k, s.depth)
    with vm.warp_group(0, COPYING):
        vm.set_registers(40, "less")
        with vm.single_thread():
            fill = ring.producer()
            for tile in vm.persistent_tiles(tiles):
                row, column = place_of(s, tile, down, across)
                for turn in vm.range(turns):
                    at = turn * s.depth
                    with fill.turn(s.stage_bytes) as stage:
                        place = (fill.barriers, stage)
                        shape_a, shape_b = (s.rows, s.depth), (s.depth, s.columns)
                        vm.copy_tensor(ring_a, [stage, 0, 0], view_a, [row, at], *place, shape_a)
                        vm.copy_tensor(ring_b, [stage, 0, 0], view_b, [at, column], *place, shape_b)
    for group in range(s.groups):
        with vm.warp_group(COPYING + 4 * group, 4):
            vm.set_registers(232, "more")
            use = ring.consumer()
            _stay_behind(ring, turns, group * s.ahead)
            for tile in vm.persistent_tiles(tiles):
                row, column = place_of(s, tile, down, across)
                total = multiplied(s, use, group, ring_a, ring_b, turns)
                corner = (row + 64 * group, column)
                slots = range(group, part[0], s.groups)
                store_sums(view_c, corner, vm.cast(total, dtype(out)), leaving, slots)
            with vm.single_thread():
                vm.bulk_wait()


def _stay_behind(ring: vm.Pipeline, turns: Scalar, ahead: int) -> None:
    """Waits until a later stage is full, so that the groups before are so many turns ahead: the
    tensor cores are a group's alone while the sums of the other leave."""
    if ahead:
        with vm.when(turns > ahead):
            vm.mbarrier_wait(ring.full, ahead, 0)


def place_of(
    s: Specialised, tile: Scalar, down: Scalar, across: Scalar
) -> tuple[ScalarLike, ScalarLike]:
    """The first row and column of a tile."""
    row, column = vm.in_bands(tile, down, across, s.band)
    return row * s.rows, column * s.columns


def multiplied(
    s: Specialised,
    use: Consumer,
    group: int,
    ring_a: MemoryTile,
    ring_b: MemoryTile,
    turns: Scalar,
) -> Tile:
    """The sum over all turns of a warp group, [64, columns]."""
    total = vm.full(f32, s.c.shape, 0.0, s.c)
    for turn in vm.range(turns):
        stage = use.acquire()
        vm.wgmma(total, ring_a, ring_b, a_offsets=[stage, 64 * group, 0], b_offsets=[stage, 0, 0])
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
    view: MemoryTile,
    place: tuple[ScalarLike, ScalarLike],
    sums: Tile,
    leaving: MemoryTile,
    slots: Sequence[int],
) -> None:
    """Writes a group's part of a tile through slots of shared memory, some columns at a time."""
    rows, columns = sums.shape
    width = leaving.type.shape[2]
    for number, start in enumerate(range(0, columns, width)):
        slot = slots[number % len(slots)]
        with vm.single_thread():
            vm.bulk_wait(len(slots) - 1, read=True)  # what was in the slot has left
        vm.barrier()
        put = vm.store_matrix if sums.dtype.bits == 16 else vm.store
        put(leaving, [slot, 0, 0], sums[:, start : start + width])
        vm.fence_proxy_async()
        vm.barrier()
        with vm.single_thread():
            at = [place[0], place[1] + start]
            vm.store_tensor(view, at, leaving, [slot, 0, 0], (rows, width))
            vm.bulk_commit()
