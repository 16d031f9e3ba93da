"""y = softmax(x) along the rows of a matrix, for any number of rows and columns.

Rows that fit are read once and stay in registers. Longer ones are read twice: first every column
of the tile keeps the largest value it met and its own sum of exponentials, scaled to that value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.programs.rows.schedule import RowSchedule
from tileloom.vm.dsl.values import MemoryTile, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype

_LOWEST = float(np.finfo(np.float32).min)
_NOTHING = float("-inf")


@vm.kernel
def softmax(
    x: vm.Ptr["element"],
    y: vm.Ptr["element"],
    rows: vm.i32,
    columns: vm.i32,
    element: str = "f16",
    schedule: RowSchedule = RowSchedule(),  # noqa: B008 - frozen
) -> None:
    s, kind = schedule, dtype(element)
    vm.launch(grid=[vm.cdiv(rows, s.rows)], warps=s.num_warps)
    vm.assume(columns % s.vector == 0)
    alignment = s.alignment(kind.bits // 8)
    source, target = (vm.global_view(p, [rows, columns], alignment=alignment) for p in (x, y))
    row = vm.block_index() * s.rows
    if s.loops:
        _in_turns(source, target, row, columns, s)
        return
    values = _values(source, row, 0, columns, s)
    powers = vm.exp(values - vm.reduce(values, "max", 1))
    shares = powers * vm.rcp(vm.reduce(powers, "sum", 1))
    vm.store(target, [row, 0], shares.to(kind))


def _values(
    source: MemoryTile, row: Scalar, at: ScalarLike, columns: Scalar, s: RowSchedule
) -> Tile:
    """A tile of the rows in f32, minus infinity right of the last column."""
    values = vm.load(source, [row, at], s.shape, s.layout).to(vm.f32)
    return vm.where(s.inside(columns - at), values, _NOTHING)


def _in_turns(
    source: MemoryTile, target: MemoryTile, row: Scalar, columns: Scalar, s: RowSchedule
) -> None:
    # Not minus infinity, whose difference from itself would be no number.
    best = vm.full(vm.f32, s.shape, _LOWEST, s.layout)
    total = vm.full(vm.f32, s.shape, 0.0, s.layout)
    for at in vm.range(0, columns, s.columns):
        values = _values(source, row, at, columns, s)
        better = vm.maximum(best, values)
        total.set(total * vm.exp(best - better) + vm.exp(values - better))
        best.set(better)
    largest = vm.reduce(best, "max", 1)
    scale = vm.rcp(vm.reduce(total * vm.exp(best - largest), "sum", 1))
    for again in vm.range(0, columns, s.columns):
        values = _values(source, row, again, columns, s)
        vm.store(target, [row, again], (vm.exp(values - largest) * scale).to(target.dtype))


def reference(x: NDArray[Any]) -> NDArray[np.float64]:
    """The softmax of each row in float64."""
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares
