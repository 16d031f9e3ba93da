"""Activations in 8 bits: codes and scales of the rows of a matrix, in one pass over memory.

    scale = largest |x| of the row, or of a group of its columns, / the largest code
    code  = x / scale, to the nearest (ties to even)

Codes are `i8` (-127 to 127) or `e4m3` (largest 448). A row of codes is `stride` bytes long, a
multiple of 16 so that the copy engine can read it; what lies beyond the last element is zero.
Elements must be finite. Rows whose largest is below 2^-100 are quantized as if it were 2^-100.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.vm.dsl.values import MemoryTile, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype

from .schedule import RUN, ActivationSchedule

LARGEST = {"i8": 127.0, "e4m3": 448.0}
SMALLEST = 2.0**-100


@vm.kernel
def quantize_rows(
    x: vm.Ptr["element"],
    codes: vm.Ptr["out"],
    scales: vm.Ptr[vm.f32],
    rows: vm.i32,
    columns: vm.i32,
    stride: vm.i32,
    element: str = "f16",
    out: str = "i8",
    group: int = 0,
    vector: int = 8,
    schedule: ActivationSchedule = ActivationSchedule(),  # noqa: B008 - frozen
) -> None:
    """codes [rows, stride] and scales [rows, 1] or [rows, columns / group rounded up] of
    x [rows, columns], whose rows are multiples of `vector` elements."""
    s, kind = schedule, dtype(element)
    across = vm.cdiv(stride, s.columns) if group else vm.constant(1)
    vm.launch(grid=[vm.cdiv(rows, s.rows), across], warps=s.num_warps)
    vm.assume(columns % vector == 0)
    vm.assume(stride % RUN == 0)
    source = vm.global_view(x, [rows, columns], alignment=vector * kind.bits // 8)
    target = vm.global_view(codes, [rows, stride])
    row, at = vm.block_index() * s.rows, vm.block_index(1) * s.columns
    if group:
        width = vm.cdiv(columns, group)
        found = vm.global_view(scales, [rows, width], alignment=4)
        values = vm.load(source, [row, at], s.shape, s.layout)
        _leave(target, found, [row, at], values, _largest(values, group), group)
        return
    found = vm.global_view(scales, [rows, 1], alignment=4)
    if not s.loops:
        values = vm.load(source, [row, 0], s.shape, s.layout)
        _leave(target, found, [row, 0], values, _largest(values, s.columns), 0)
        return
    largest = _largest_in_turns(source, row, columns, s)
    for start in vm.range(0, stride, s.columns):
        values = vm.load(source, [row, start], s.shape, s.layout)
        _leave(target, found, [row, start], values, largest, 0)


def _largest(values: Tile, group: int) -> Tile:
    """[rows, groups, 1] in f32, of values [rows, columns]."""
    rows, columns = values.shape
    grouped = vm.reshape(abs(values), (rows, columns // group, group))
    return vm.cast(vm.reduce(grouped, "max", 2), vm.f32)


def _largest_in_turns(
    source: MemoryTile, row: Scalar, columns: Scalar, s: ActivationSchedule
) -> Tile:
    """The same of whole rows, a tile of their columns at a time."""
    best = vm.full(source.dtype, s.shape, 0.0, s.layout)
    for at in vm.range(0, columns, s.columns):
        best.set(vm.maximum(best, abs(vm.load(source, [row, at], s.shape, s.layout))))
    return _largest(best, s.columns)


def _leave(
    target: MemoryTile,
    scales: MemoryTile,
    place: list[ScalarLike],
    values: Tile,
    largest: Tile,
    group: int,
) -> None:
    """Writes the codes of a tile and its scales."""
    most = LARGEST[target.dtype.name]
    rows, groups, _ = largest.shape
    largest = vm.maximum(largest, SMALLEST)
    grouped = vm.reshape(vm.cast(values, vm.f32), (rows, groups, values.shape[1] // groups))
    codes = vm.cast(grouped * (most / largest), target.dtype)
    vm.store(target, place, vm.reshape(codes, values.shape))
    first = place[1] // group if group else 0
    vm.store(scales, [place[0], first], vm.reshape(largest / most, (rows, groups)))


def quantize_rows_reference(
    x: NDArray[Any], out: str, group: int = 0
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Codes [rows, columns] (of e4m3 as uint8) and scales of rows of finite values: the program's,
    bit by bit."""
    rows, columns = x.shape
    most = np.float32(LARGEST[out])
    width = group or max(columns, 1)
    padded = np.zeros((rows, -(-columns // width) * width), np.float32)
    padded[:, :columns] = x
    grouped = padded.reshape(rows, -1, width)
    largest = np.maximum(np.abs(grouped).max(axis=2, initial=0.0), np.float32(SMALLEST))
    steps = (grouped * (most / largest)[:, :, None]).reshape(rows, -1)[:, :columns]
    codes = dtype(out).encode(steps.astype(np.float64))
    return np.asarray(codes).astype(np.uint8), largest / most
