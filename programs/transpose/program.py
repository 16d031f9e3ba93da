"""y[b, j, i] = x[b, i, j] for a batch of matrices of any shape and any dtype of whole bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.vm.dtypes import dtype

from .schedule import Schedule, Sectors, Shared, Squares
from .sectors import SectorBlock


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
    down, across = vm.cdiv(rows + s.early, s.shape[0]), vm.cdiv(columns, s.shape[1])
    # Neighbours write next to each other: what their parts of an output row share is written once.
    grid = [down * across * batch] if s.flat else [down, across, batch]
    vm.launch(grid=grid, warps=s.num_warps, min_blocks=s.min_blocks)
    place, beside, matrix = (vm.block_index(axis) for axis in range(3))
    if s.flat:
        place, beside, matrix = place % down, place // down % across, place // down // across
    if isinstance(s, Sectors):
        if s.single:
            vm.assume(batch == 1)
            batch, matrix = vm.constant(1), vm.constant(0)
        block = SectorBlock(kind, s, (batch, rows, columns), (place, beside, matrix))
        inside = block.inside()
        with vm.when(inside):
            block.read(x, True)
        with vm.otherwise():
            block.read(x, False)
        vm.barrier()
        with vm.when(inside):
            block.write(y, True)
        with vm.otherwise():
            block.write(y, False)
        return
    vm.assume(rows % s.row_grain == 0)
    vm.assume(columns % s.column_grain == 0)
    source_grain, target_grain = (kind.bits // 8 * g for g in (s.column_grain, s.row_grain))
    source = vm.global_view(x, [batch, rows, columns], alignment=source_grain)
    target = vm.global_view(y, [batch, columns, rows], alignment=target_grain)
    shape = s.shape
    row, column = place * shape[0], beside * shape[1]
    # Most tiles have no element outside: the promises let them do with one condition.
    tile = vm.load(source, [matrix, row, column], shape, s.layout, alignment=source_grain)
    if isinstance(s, Shared):
        shared = vm.alloc_shared(kind, s.memory.shape, s.memory)
        vm.store(shared, [0, 0], tile)
        vm.barrier()
        turned = vm.load(shared, [0, 0], shape[::-1], s.transposed, dims=(1, 0))
    else:
        turned = vm.transpose(tile)
    vm.store(target, [matrix, column, row], turned, alignment=target_grain)


def reference(x: NDArray[Any]) -> NDArray[Any]:
    """The matrices of x [batch, rows, columns], transposed."""
    return np.ascontiguousarray(x.transpose(0, 2, 1))
