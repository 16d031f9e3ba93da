"""c[i] = a[i] @ b[i] in f16 or bf16 with f32 sums, for a batch of matrices of any shape.

Batch strides are free: 0 makes the whole batch share a matrix. Each of a and b may be stored
transposed, as queries and keys are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.programs.matmul.program import Schedule
from tileloom.programs.matmul.turns import accumulate
from tileloom.programs.rows.schedule import VECTOR_BYTES, power_above, vector_of
from tileloom.vm.dsl.values import MemoryTile, ScalarLike, Tile
from tileloom.vm.dtypes import dtype

_MAX_TILE = 128
_LEAST_TILE = 16


@vm.kernel
def batched_matmul(
    a: vm.Ptr["element"],
    b: vm.Ptr["element"],
    c: vm.Ptr["out"],
    batch: vm.i32,
    m: vm.i32,
    k: vm.i32,
    n: vm.i32,
    stride_a: vm.i32,
    stride_b: vm.i32,
    turned_a: bool = False,
    turned_b: bool = False,
    element: str = "f16",
    out: str = "f16",
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
) -> None:
    s, kind = schedule, dtype(element)
    across, down = vm.cdiv(n, s.columns), vm.cdiv(m, s.rows)
    vm.launch(grid=[across * down * batch], warps=s.num_warps)
    for extent in (m if turned_a else k, k if turned_b else n, stride_a, stride_b):
        vm.assume(extent % s.vector == 0)
    column = vm.block_index() % across * s.columns
    row = vm.block_index() // across % down * s.rows
    matrix = vm.block_index() // across // down
    alignment = min(VECTOR_BYTES, 2 * s.vector)
    rows_a, rows_b = ([k, m] if turned_a else [m, k]), ([n, k] if turned_b else [k, n])
    view_a, view_b = (
        vm.global_view(p, [batch, *shape], [step, shape[1], 1], alignment=alignment)
        for p, step, shape in ((a, stride_a, rows_a), (b, stride_b, rows_b))
    )

    def tile(view: MemoryTile, turned: bool, *corner: tuple[ScalarLike, int]) -> Tile:
        (first, height), (second, width) = corner[::-1] if turned else corner
        return vm.load(view, [matrix, first, second], (height, width))

    total = accumulate(
        s,
        kind,
        0,
        vm.cdiv(k, s.depth),
        lambda turn: tile(view_a, turned_a, (row, s.rows), (turn * s.depth, s.depth)),
        lambda turn: tile(view_b, turned_b, (turn * s.depth, s.depth), (column, s.columns)),
        turned_a=turned_a,
        turned_b=turned_b,
    )
    view_c = vm.global_view(c, [batch, m, n], alignment=dtype(out).bits // 8)
    vm.store(view_c, [matrix, row, column], total.to(dtype(out)))


def schedule_for(m: int, k: int, n: int, *widths: int) -> Schedule:
    """The schedule for products of this shape; `widths` are the run lengths that have to be a
    multiple of an access: a's and b's rows and their batch strides."""
    rows, columns = (min(_MAX_TILE, max(_LEAST_TILE, power_above(extent))) for extent in (m, n))
    vector = min(vector_of(width, 2) for width in widths or (k, n))
    depth = 32 if k > 16 else 16
    return Schedule(rows, columns, depth, max(1, rows // 64), max(1, columns // 32), vector)


def reference(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """a @ b in float64, matrix by matrix."""
    product: NDArray[np.float64] = a.astype(np.float64) @ b.astype(np.float64)
    return product
