"""y = softmax(x) along the rows of a matrix, for any number of rows and columns.

Rows that fit are read once and stay in registers. Longer ones are read twice: first every column
of the tile keeps the largest value it met and its own sum of exponentials, scaled to that value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.programs.rows.block import RowBlock, added
from tileloom.programs.rows.schedule import RowSchedule
from tileloom.vm.dsl.values import MemoryTile, ScalarLike, Tile
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
    block = RowBlock(rows, columns, dtype(element), schedule)
    source, target = block.view(x), block.view(y)
    block.stage(source)
    if schedule.loops:
        _in_turns(block, source, target)
        return
    values = _values(block, source, block.first)
    block.meet(2)
    best = vm.reduce(values, "max", 1)
    if schedule.cluster > 1:
        best = vm.maximum(best, _LOWEST)  # the block's part may be empty
    powers = vm.exp(values - best)
    largest, scale = _scale(block, best, vm.reduce(powers, "sum", 1))
    if schedule.cluster > 1:
        scale = scale * vm.exp(best - largest)
    block.store(target, block.first, powers * scale)


def _values(block: RowBlock, source: MemoryTile, at: ScalarLike) -> Tile:
    """A tile of the rows in f32, minus infinity outside."""
    return vm.where(block.inside(at), block.load(source, at), _NOTHING)


def _scale(block: RowBlock, best: Tile, total: Tile) -> tuple[Tile, Tile]:
    """The rows' largest values, and one over their sums of powers scaled to these, from those of
    the block's part."""
    bests, totals = block.exchange(best, total)
    if len(bests) == 1:
        return best, vm.rcp(total)
    largest = bests[0]
    for other in bests[1:]:
        largest = vm.maximum(largest, other)
    scaled = [each * vm.exp(b - largest) for b, each in zip(bests, totals, strict=True)]
    return largest, vm.rcp(added(scaled))


def _in_turns(block: RowBlock, source: MemoryTile, target: MemoryTile) -> None:
    s = block.schedule
    block.meet(2)
    own, powers = (_staged_parts if s.staged else _parts)(block, source)
    largest, scale = _scale(block, own, powers)
    for again in block.turns():
        values = _values(block, source, again)
        block.store(target, again, vm.exp(values - largest) * scale)


def _parts(block: RowBlock, source: MemoryTile) -> tuple[Tile, Tile]:
    """The largest value and the sum of powers scaled to it, in one pass."""
    s = block.schedule
    # Not minus infinity, whose difference from itself would be no number.
    best = vm.full(vm.f32, s.shape, _LOWEST, s.layout)
    total = vm.full(vm.f32, s.shape, 0.0, s.layout)
    for at in block.turns():
        values = _values(block, source, at)
        better = vm.maximum(best, values)
        total.set(total * vm.exp(best - better) + vm.exp(values - better))
        best.set(better)
    own = vm.reduce(best, "max", 1)
    return own, vm.reduce(total * vm.exp(best - own), "sum", 1)


def _staged_parts(block: RowBlock, source: MemoryTile) -> tuple[Tile, Tile]:
    """The same with fewer exponentials, where it costs little to read the values once more."""
    s = block.schedule
    best = vm.full(vm.f32, s.shape, _LOWEST, s.layout)
    for at in block.turns():
        best.set(vm.maximum(best, _values(block, source, at)))
    own = vm.reduce(best, "max", 1)
    total = vm.full(vm.f32, s.shape, 0.0, s.layout)
    for at in block.turns():
        total.set(total + vm.exp(_values(block, source, at) - own))
    return own, vm.reduce(total, "sum", 1)


def reference(x: NDArray[Any]) -> NDArray[np.float64]:
    """The softmax of each row in float64."""
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares
