"""y[b, j, i] = x[b, i, j] for a batch of matrices of any shape and any dtype of whole bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.vm.dtypes import dtype

from .schedule import Schedule, Shared, Squares


@vm.kernel
def transpose(
    x: vm.Ptr["element"],
    y: vm.Ptr["element"],
    batch: vm.i32,
    rows: vm.i32,
    columns: vm.i32,
    element: str = "f16",
    schedule: Schedule = Squares(),  # noqa: B008 - frozen
) -> None:
    s, kind = schedule, dtype(element)
    tile_rows, tile_columns = s.layout.shape
    down, across = vm.cdiv(rows, tile_rows), vm.cdiv(columns, tile_columns)
    vm.launch(grid=[across * down * batch], warps=s.num_warps)
    vm.assume(rows % s.row_grain == 0)
    vm.assume(columns % s.column_grain == 0)
    itemsize = kind.bits // 8
    source = vm.global_view(x, [batch, rows, columns], alignment=s.column_grain * itemsize)
    target = vm.global_view(y, [batch, columns, rows], alignment=s.row_grain * itemsize)
    column = vm.block_index() % across * tile_columns
    row = vm.block_index() // across % down * tile_rows
    matrix = vm.block_index() // across // down
    tile = vm.load(source, [matrix, row, column], (tile_rows, tile_columns), s.layout)
    if isinstance(s, Shared):
        shared = vm.alloc_shared(kind, s.memory.shape, s.memory)
        vm.store(shared, [0, 0], tile)
        vm.barrier()
        turned = vm.load(shared, [0, 0], (tile_columns, tile_rows), s.transposed, dims=(1, 0))
    else:
        turned = vm.transpose(tile)
    vm.store(target, [matrix, column, row], turned)


def reference(x: NDArray[Any]) -> NDArray[Any]:
    """The matrices of x [batch, rows, columns], transposed."""
    return np.ascontiguousarray(x.transpose(0, 2, 1))
