"""c = a @ b in f16 or bf16 on the tensor cores of warp groups, which read both operands from shared
memory.

A block computes rows x columns of c with one warp group for each 64 rows. Its shared memory is a
ring of stages, each with `depth` of k, that asynchronous copies fill `stages - 2` turns ahead:

    turn t    wait for the copies of turn t, fence, meet
              start the product of turn t, and the copies of turn t + stages - 2
              wait for the product of turn t - 1

One meeting a turn is enough: behind it, all products up to t - 2 are done, and theirs is the stage
that the copies of this turn overwrite. The product of turn t runs while the block meets for the
next.
"""

from __future__ import annotations

from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import MemoryLayout, RegisterLayout, fragments, spatial, swizzled
from tileloom.vm.dsl.values import ScalarLike
from tileloom.vm.dtypes import dtype, f32

from .operands import operand_views, row_alignment


@dataclass(frozen=True)
class HopperSchedule:
    """The tile of a block; `columns` up to 256. `vector` elements of a row are read at once."""

    rows: int = 128
    columns: int = 256
    depth: int = 64
    stages: int = 4
    vector: int = 8

    @property
    def num_warps(self) -> int:
        return self.rows // 16

    @property
    def c(self) -> RegisterLayout:
        """[rows, columns], a warp group for each 64 rows."""
        return spatial(self.rows // 64, 1) * fragments.wgmma_d(self.columns)

    def stage(self, rows: int, columns: int) -> MemoryLayout:
        """The ring of one operand, rows of 128 bytes swizzled, as descriptors want them."""
        return swizzled([self.stages, rows, columns], 16)


@vm.kernel
def matmul_wgmma(
    a: vm.Ptr["element"],
    b: vm.Ptr["element"],
    c: vm.Ptr["out"],
    m: vm.i32,
    k: vm.i32,
    n: vm.i32,
    element: str = "f16",
    out: str = "f16",
    schedule: HopperSchedule = HopperSchedule(),
) -> None:
    s, kind = schedule, dtype(element)
    vm.launch(grid=[vm.cdiv(n, s.columns), vm.cdiv(m, s.rows)], warps=s.num_warps)
    view_a, view_b = operand_views(a, b, m, k, n, s.vector)
    row, column = vm.block_index(1) * s.rows, vm.block_index(0) * s.columns
    ring_a = vm.alloc_shared(kind, (s.stages, s.rows, s.depth), s.stage(s.rows, s.depth))
    ring_b = vm.alloc_shared(kind, (s.stages, s.depth, s.columns), s.stage(s.depth, s.columns))

    def copy(turn: ScalarLike) -> None:
        stage, at = turn % s.stages, turn * s.depth
        vm.copy_async(ring_a, [stage, 0, 0], view_a, [row, at], (s.rows, s.depth))
        vm.copy_async(ring_b, [stage, 0, 0], view_b, [at, column], (s.depth, s.columns))
        vm.copy_async_commit()

    for ahead in range(s.stages - 2):
        copy(ahead)
    total = vm.full(f32, s.c.shape, 0.0, s.c)
    for turn in vm.range(0, vm.cdiv(k, s.depth)):
        stage = turn % s.stages
        vm.copy_async_wait(s.stages - 3)
        vm.fence_proxy_async()
        vm.barrier()
        vm.wgmma(total, ring_a, ring_b, a_offsets=[stage, 0, 0], b_offsets=[stage, 0, 0])
        vm.wgmma_commit()
        copy(turn + (s.stages - 2))
        vm.wgmma_wait(1)
    vm.wgmma_wait(0)
    view_c = vm.global_view(c, [m, n], alignment=row_alignment(s.vector))
    vm.store(view_c, [row, column], vm.cast(total, dtype(out)))
