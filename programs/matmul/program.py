"""c = a @ b in f16 or bf16 with f32 sums, for any m, k and n.

A block computes 128 x 128 of c with 8 warps (2 x 4). Each turn takes 32 of k: the tiles of the turn
after are read into registers while this one's are multiplied out of shared memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.layouts import RegisterLayout, fragments, local, replicate, spatial
from tileloom.vm.dtypes import dtype, f32

from .operands import operand_views, row_alignment


@dataclass(frozen=True)
class Schedule:
    """The tile of a block and its warps. `vector` elements of a row are read at once."""

    rows: int = 128
    columns: int = 128
    depth: int = 32
    row_warps: int = 2
    column_warps: int = 4
    vector: int = 8

    @property
    def num_warps(self) -> int:
        return self.row_warps * self.column_warps

    @cached_property
    def a(self) -> RegisterLayout:
        """[rows, depth]: warps along rows, replicated along columns."""
        warps = spatial(self.row_warps, 1) * replicate(self.column_warps)
        tiles = local(self.rows // self.row_warps // 16, self.depth // 16)
        return warps * tiles * fragments.mma_a("f16")

    @cached_property
    def b(self) -> RegisterLayout:
        """[depth, columns]: replicated along rows, warps along columns."""
        warps = replicate(self.row_warps) * spatial(1, self.column_warps)
        tiles = local(self.depth // 16, self.columns // self.column_warps // 8)
        return warps * tiles * fragments.mma_b("f16")

    @cached_property
    def c(self) -> RegisterLayout:
        """[rows, columns]"""
        warps = spatial(self.row_warps, self.column_warps)
        tiles = local(self.rows // self.row_warps // 16, self.columns // self.column_warps // 8)
        return warps * tiles * fragments.mma_c("f16")


@vm.kernel
def matmul(
    a: vm.Ptr["element"],
    b: vm.Ptr["element"],
    c: vm.Ptr["out"],
    m: vm.i32,
    k: vm.i32,
    n: vm.i32,
    element: str = "f16",
    out: str = "f16",
    schedule: Schedule = Schedule(),
) -> None:
    s, kind = schedule, dtype(element)
    vm.launch(grid=[vm.cdiv(n, s.columns), vm.cdiv(m, s.rows)], warps=s.num_warps)
    view_a, view_b = operand_views(a, b, m, k, n, s.vector)
    row, column = vm.block_index(1) * s.rows, vm.block_index(0) * s.columns
    shared_a = vm.alloc_shared(kind, (s.rows, s.depth))
    shared_b = vm.alloc_shared(kind, (s.depth, s.columns))
    total = vm.full(f32, s.c.shape, 0.0, s.c)
    next_a = vm.load(view_a, [row, 0], s.a.shape)
    next_b = vm.load(view_b, [0, column], s.b.shape)
    for at in vm.range(0, k, s.depth):
        vm.store(shared_a, [0, 0], next_a)
        vm.store(shared_b, [0, 0], next_b)
        vm.barrier()
        next_a.set(vm.load(view_a, [row, at + s.depth], s.a.shape))
        next_b.set(vm.load(view_b, [at + s.depth, column], s.b.shape))
        vm.mma(
            total,
            vm.load(shared_a, [0, 0], s.a.shape, s.a),
            vm.load(shared_b, [0, 0], s.b.shape, s.b),
        )
        vm.barrier()
    view_c = vm.global_view(c, [m, n], alignment=row_alignment(s.vector))
    vm.store(view_c, [row, column], vm.cast(total, dtype(out)))


def reference(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """a @ b in float64."""
    product: NDArray[np.float64] = a.astype(np.float64) @ b.astype(np.float64)
    return product
