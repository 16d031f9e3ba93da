"""Copies of tiles by the copy engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..diagnostics import ExecutionError
from ..instructions.bulk import UNIT
from ..instructions.tensor import CopyTensor, StoreTensor
from ..interpreter.boxes import Box, place
from ..interpreter.engine import BulkStore
from ..interpreter.memory import GlobalTensor
from ..interpreter.shared import SharedTile
from .bulk import receivers, send
from .registry import semantics
from .values import Array, storage

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(CopyTensor)
def copy_tensor(group: ThreadGroup, instruction: CopyTensor) -> None:
    source = group.memory(instruction.source)
    assert isinstance(source, GlobalTensor)
    check_strides(source)
    shape, start = instruction.shape, group.indices(instruction.source_offsets)
    check_start(source, start)
    box = place(start, source.shape, shape, instruction.dims)
    if box.empty:
        data: Array = np.zeros(shape, storage(source.dtype))
    else:
        data = box.expand(source.read(box), shape)
    at, index = group.indices(instruction.target_offsets), group.indices(instruction.index)
    for tile, array in receivers(group, instruction.target, instruction.barrier, instruction.ranks):
        send(group, instruction, tile, _inside(tile, at, shape), data, array.at(index))


def check_strides(view: GlobalTensor) -> None:
    """A tensor map has one dimension of neighbours, and rows at multiples of 16 bytes.

    Raises:
        ExecutionError: the view has others.
    """
    size = view.dtype.bits // 8
    for extent, stride in zip(view.shape, view.strides, strict=True):
        if extent > 1 and stride != 1 and (stride < 1 or stride * size % UNIT):
            raise ExecutionError(
                f"`%{view.name}` has a stride of {stride * size} bytes, no multiple of {UNIT}",
                hint="tensor maps need rows that start at multiples of 16 bytes: pad them, or use "
                "`load` and `store`",
            )


def check_start(view: GlobalTensor, start: tuple[int, ...]) -> None:
    """The engine begins at multiples of 16 bytes of a row, outside the tensor too.

    Raises:
        ExecutionError: a tile that begins elsewhere.
    """
    neighbours = [dim for dim, stride in enumerate(view.strides) if stride == 1]
    several = [dim for dim in neighbours if view.shape[dim] > 1]
    for dim in several or neighbours[-1:]:
        if start[dim] * view.dtype.bits % (8 * UNIT):
            raise ExecutionError(
                f"index {dim} of `%{view.name}` is {start[dim]}, no multiple of "
                f"{8 * UNIT // view.dtype.bits}",
                hint=f"the copy engine begins at multiples of {UNIT} bytes of a row: use `load` "
                "and `store` for other places",
            )


def _inside(tile: SharedTile, at: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    box = place(at, tile.shape, shape, None)
    if not box.whole:
        raise ExecutionError(
            f"the copy of shape {list(shape)} leaves `%{tile.name}` of shape {list(tile.shape)}"
        )
    return box


@semantics(StoreTensor)
def store_tensor(group: ThreadGroup, instruction: StoreTensor) -> None:
    source, target = group.memory(instruction.source), group.memory(instruction.target)
    assert isinstance(source, SharedTile) and isinstance(target, GlobalTensor)
    check_strides(target)
    shape = instruction.shape
    box = _inside(source, group.indices(instruction.source_offsets), shape)
    start = group.indices(instruction.target_offsets)
    check_start(target, start)
    there = place(start, target.shape, shape, instruction.dims)
    data, poison = source.read_async(box, instruction.location, group.checks)
    inside = None if poison is None else there.cut(poison)
    group.refuse_poison(instruction, instruction.source, inside, "is stored to global memory")

    def land() -> None:
        if not there.empty:
            target.write(there, there.cut(data))
        group.world.writes += 1

    store = BulkStore(source, box, land, instruction.location)
    store.start()
    group.bulk.open.append(store)
