"""Layer norm and RMS norm along the rows of a matrix, for any number of rows and columns.

    layer_norm    y = (x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + epsilon) * weight + bias
    rms_norm      y = x / sqrt(mean(x ** 2) + epsilon) * weight

Rows that fit are read once and stay in registers. Longer ones are read once more for each mean and
once for the result. Either way the mean square is one of differences, which loses no digits where
the mean is large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.programs.rows.schedule import RowSchedule
from tileloom.vm.dsl.values import Pointer, Scalar, ScalarLike, Tile


class _Rows:
    """The rows that a block norms."""

    def __init__(self, x: Pointer, y: Pointer, rows: Scalar, columns: Scalar, s: RowSchedule):
        vm.launch(grid=[vm.cdiv(rows, s.rows)], warps=s.num_warps)
        vm.assume(columns % s.vector == 0)
        self.schedule, self.columns, self.dtype = s, columns, x.dtype
        self.alignment = s.alignment(x.dtype.bits // 8)
        self.first = vm.block_index() * s.rows
        self.source, self.target = (
            vm.global_view(p, [rows, columns], alignment=self.alignment) for p in (x, y)
        )
        self.kept = None if s.loops else self._load(0)

    def _load(self, at: ScalarLike) -> Tile:
        s = self.schedule
        return vm.load(self.source, [self.first, at], s.shape, s.layout).to(vm.f32)

    def turns(self) -> Iterable[ScalarLike]:
        """The first column of each tile of the rows."""
        s = self.schedule
        return vm.range(0, self.columns, s.columns) if s.loops else (0,)

    def values(self, at: ScalarLike) -> Tile:
        """A tile of the rows in f32, zero right of the last column."""
        return self._load(at) if self.kept is None else self.kept

    def differences(self, at: ScalarLike, mean: Tile) -> Tile:
        """The rows less their means, zero right of the last column."""
        return vm.where(self.schedule.inside(self.columns - at), self.values(at) - mean, 0.0)

    def mean_square(self, part: Callable[[ScalarLike], Tile]) -> Tile:
        """[rows, 1]: the mean square of a row's tiles."""
        return self.mean(lambda at: _square(part(at)))

    def mean(self, part: Callable[[ScalarLike], Tile]) -> Tile:
        """[rows, 1]: the mean of a row's tiles, which are zero right of the last column."""
        s = self.schedule
        if s.loops:
            total = vm.full(vm.f32, s.shape, 0.0, s.layout)
            for at in self.turns():
                total.set(total + part(at))
        else:
            total = part(0)
        count = vm.full(vm.i32, (1, 1)) + self.columns
        return vm.reduce(total, "sum", 1) / count.to(vm.f32)

    def parameters(self, pointer: Pointer, at: ScalarLike) -> Tile:
        """[1, columns]: a parameter of each column in f32."""
        view = vm.global_view(pointer, [1, self.columns], alignment=self.alignment)
        return vm.load(view, [0, at], (1, self.schedule.columns)).to(vm.f32)

    def store(self, at: ScalarLike, values: Tile) -> None:
        """Writes a tile of the result."""
        vm.store(self.target, [self.first, at], values.to(self.dtype))


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
    block = _Rows(x, y, rows, columns, schedule)
    mean = block.mean(block.values)
    square = block.mean_square(lambda at: block.differences(at, mean))
    scale = vm.rsqrt(square + epsilon)
    for at in block.turns():
        normal = (block.values(at) - mean) * scale
        weights, biases = (block.parameters(p, at) for p in (weight, bias))
        block.store(at, vm.fma(normal, weights, biases))


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
    block = _Rows(x, y, rows, columns, schedule)
    scale = vm.rsqrt(block.mean_square(block.values) + epsilon)
    for at in block.turns():
        block.store(at, block.values(at) * scale * block.parameters(weight, at))


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
