"""Layer norm and RMS norm along the rows of a matrix, for any number of rows and columns.

    layer_norm    y = (x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + epsilon) * weight + bias
    rms_norm      y = x / sqrt(mean(x ** 2) + epsilon) * weight

Rows that fit are read once and stay in registers. Longer ones are read once more for each mean and
once for the result. Either way the mean square is one of differences, which loses no digits where
the mean is large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.programs.rows.block import RowBlock, added, single
from tileloom.programs.rows.schedule import RowSchedule
from tileloom.vm.dsl.values import Pointer, ScalarLike, Tile
from tileloom.vm.dtypes import dtype


class _Rows:
    """The rows that a block norms, or its part of a row."""

    def __init__(self, x: Pointer, block: RowBlock, parts: int) -> None:
        self.block, self.source = block, block.view(x)
        block.stage(self.source)
        self.kept = None if block.schedule.loops else block.load(self.source, block.first)
        block.meet(parts)

    def values(self, at: ScalarLike) -> Tile:
        """A tile of the rows in f32, zero outside."""
        return self.block.load(self.source, at) if self.kept is None else self.kept

    def differences(self, at: ScalarLike, mean: Tile) -> Tile:
        """The rows less their means, zero outside."""
        return vm.where(self.block.inside(at), self.values(at) - mean, 0.0)

    def total(self, part: Callable[[ScalarLike], Tile]) -> Tile:
        """[rows, 1]: the sum over the block's tiles, which are zero outside."""
        block, s = self.block, self.block.schedule
        if not s.loops:
            return vm.reduce(part(block.first), "sum", 1)
        total = vm.full(vm.f32, s.shape, 0.0, s.layout)
        for at in block.turns():
            total.set(total + part(at))
        return vm.reduce(total, "sum", 1)

    def mean_and_variance(self) -> tuple[Tile, Tile]:
        """[rows, 1] each. Parts of a row are taken about their own means first, so that blocks meet
        once."""
        block = self.block
        count = single(block.columns) if block.schedule.cluster == 1 else block.count()
        own = self.total(self.values)
        mean = own / vm.maximum(count, 1.0)
        squares = self.total(lambda at: _square(self.differences(at, mean)))
        if block.schedule.cluster == 1:
            return mean, squares / count
        owns, counts, squared = block.exchange(own, count, squares)
        mean = added(owns) / single(block.columns)
        apart = [
            n * _square(part / vm.maximum(n, 1.0) - mean)
            for part, n in zip(owns, counts, strict=True)
        ]
        return mean, added([*squared, *apart]) / single(block.columns)


def _square(value: Tile) -> Tile:
    return value * value


@vm.kernel
def layer_norm(
    x: vm.Ptr["element"],
    weight: vm.Ptr["element"],
    bias: vm.Ptr["element"],
    y: vm.Ptr["element"],
    rows: vm.i32,
    columns: vm.i32,
    epsilon: vm.f32,
    element: str = "f16",
    schedule: RowSchedule = RowSchedule(),  # noqa: B008 - frozen
) -> None:
    block = RowBlock(rows, columns, dtype(element), schedule)
    held, target = _Rows(x, block, 3), block.view(y)
    mean, variance = held.mean_and_variance()
    scale = vm.rsqrt(variance + epsilon)
    for at in block.turns():
        for place, values in block.pieces(at, held.values(at)):
            weights, biases = (block.parameters(p, place) for p in (weight, bias))
            block.store(target, place, vm.fma((values - mean) * scale, weights, biases))


@vm.kernel
def rms_norm(
    x: vm.Ptr["element"],
    weight: vm.Ptr["element"],
    y: vm.Ptr["element"],
    rows: vm.i32,
    columns: vm.i32,
    epsilon: vm.f32,
    element: str = "f16",
    schedule: RowSchedule = RowSchedule(),  # noqa: B008 - frozen
) -> None:
    block = RowBlock(rows, columns, dtype(element), schedule)
    held, target = _Rows(x, block, 1), block.view(y)
    (squares,) = block.exchange(held.total(lambda at: _square(held.values(at))))
    scale = vm.rsqrt(added(squares) / single(columns) + epsilon)
    for at in block.turns():
        for place, values in block.pieces(at, held.values(at)):
            block.store(target, place, values * scale * block.parameters(weight, place))


def layer_norm_reference(
    x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], epsilon: float
) -> NDArray[np.float64]:
    """Layer norm of each row in float64."""
    wide = x.astype(np.float64)
    differences = wide - wide.mean(axis=1, keepdims=True)
    square = np.square(differences).mean(axis=1, keepdims=True)
    result: NDArray[np.float64] = differences / np.sqrt(square + epsilon) * weight + bias
    return result


def rms_norm_reference(
    x: NDArray[Any], weight: NDArray[Any], epsilon: float
) -> NDArray[np.float64]:
    """RMS norm of each row in float64."""
    wide = x.astype(np.float64)
    square = np.square(wide).mean(axis=1, keepdims=True)
    result: NDArray[np.float64] = wide / np.sqrt(square + epsilon) * weight
    return result
