"""Global views, shared tiles, and moving tiles between memory and registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..diagnostics import ExecutionError
from ..instruction import Instruction
from ..instructions.cluster import LoadRemote, StoreRemote
from ..instructions.memory import (
    AllocShared,
    CopyAsync,
    CopyAsyncCommit,
    CopyAsyncWait,
    FreeShared,
    GlobalView,
    Load,
    Store,
)
from ..interpreter.boxes import Box, place
from ..interpreter.memory import Buffer, GlobalTensor
from ..interpreter.owners import MANY, check_bytes, first_owner, owners, touched_bytes
from ..interpreter.shared import PendingCopy, SharedTile
from ..ir import Value
from ..types import GlobalType, RegType, SharedType
from .create import result_type
from .registry import semantics
from .values import Array, Tile, storage

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(GlobalView)
def global_view(group: ThreadGroup, instruction: GlobalView) -> GlobalTensor:
    assert instruction.result is not None
    assert isinstance(instruction.pointer, Value)
    name, type_ = instruction.result.name, instruction.result.type
    assert isinstance(type_, GlobalType)
    buffer = group.env[instruction.pointer]
    assert isinstance(buffer, Buffer)
    shape, strides = group.indices(type_.shape), group.indices(type_.strides)
    if any(extent < 0 for extent in shape):
        raise ExecutionError(f"`%{name}` has a negative extent: shape {list(shape)}")
    return GlobalTensor(name, buffer, type_.dtype, shape, strides)


@semantics(AllocShared)
def alloc_shared(group: ThreadGroup, instruction: AllocShared) -> SharedTile:
    assert instruction.result is not None
    type_ = instruction.result.type
    assert isinstance(type_, SharedType)
    tile = group.new_tile(instruction.result.name, type_, instruction.location)
    group.own(instruction.result, tile)
    return tile


@semantics(FreeShared)
def free_shared(group: ThreadGroup, instruction: FreeShared) -> None:
    tile = group.memory(instruction.tile)
    assert isinstance(tile, SharedTile)
    if group.checks and (tile.freed or tile.pending or tile.readers):
        why = "it was freed before" if tile.freed else "an asynchronous copy into it is in flight"
        if tile.readers:
            why = "a product that reads it is in flight"
        raise ExecutionError(f"`%{tile.name}` can't be freed: {why}")
    if tile.blocks is not None:
        tile.blocks.end(f"`%{tile.name}` is freed")
    tile.freed = True
    group.shared = [each for each in group.shared if each is not tile]


@semantics(Load)
def load(group: ThreadGroup, instruction: Load) -> Tile:
    source, type_ = group.memory(instruction.source), result_type(instruction)
    at = group.indices(instruction.offsets)
    box = place(at, source.shape, type_.shape, instruction.dims)
    check_promise(group, instruction, source, box)
    _check_alignment(group, instruction, source, at)
    if box.empty:
        return Tile(type_.dtype, np.zeros(type_.shape, storage(type_.dtype)))
    if isinstance(source, GlobalTensor):
        return Tile(type_.dtype, box.expand(source.read(box), type_.shape))
    threads = box.cut(owners(type_))
    data, poison = source.read(box, threads, instruction.location, group.checks)
    mask = None if poison is None else box.expand(poison, type_.shape, False)
    return Tile(type_.dtype, box.expand(data, type_.shape), mask)


@semantics(Store)
def store(group: ThreadGroup, instruction: Store) -> None:
    target, value = group.memory(instruction.target), group.tile(instruction.value)
    assert isinstance(instruction.value, Value)
    type_ = instruction.value.type
    assert isinstance(type_, RegType)
    at = group.indices(instruction.offsets)
    box = place(at, target.shape, value.shape, instruction.dims)
    check_promise(group, instruction, target, box)
    _check_alignment(group, instruction, target, at)
    if box.empty:
        return
    data, poison = box.cut(value.data), None if value.poison is None else box.cut(value.poison)
    if isinstance(target, GlobalTensor):
        group.refuse_poison(instruction, instruction.value, poison, "is stored to global memory")
        _check_global_bytes(group, target, box, type_)
        target.write(box, data)
        group.world.writes += 1
        return
    check_shared_bytes(group, target, box, type_)
    threads = box.cut(owners(type_))
    target.write(box, data, poison, threads, instruction.location, group.checks)


def check_promise(
    group: ThreadGroup,
    instruction: Load | Store | LoadRemote | StoreRemote,
    memory: GlobalTensor | SharedTile,
    box: Box,
) -> None:
    """A tile that was promised to lie inside must do so. Raises ExecutionError."""
    if instruction.in_bounds and not box.whole and group.checks:
        raise ExecutionError(
            f"the tile leaves `%{memory.name}` of shape {list(memory.shape)}, "
            "but `in_bounds` promises that it does not",
            hint="drop `in_bounds`",
        )


def _check_alignment(
    group: ThreadGroup,
    instruction: Load | Store,
    memory: GlobalTensor | SharedTile,
    at: tuple[int, ...],
) -> None:
    """A tile that was promised to begin at a multiple of some bytes must. Raises ExecutionError."""
    if not instruction.alignment or not group.checks:
        return
    assert isinstance(memory, GlobalTensor)
    first = sum(i * s for i, s in zip(at, memory.strides, strict=True)) * memory.dtype.bits // 8
    if first % instruction.alignment:
        raise ExecutionError(
            f"the tile begins {first} bytes after `%{memory.name}`, but `alignment` promises a "
            f"multiple of {instruction.alignment}",
            hint="drop `alignment`",
        )


def _box_owner(box: Box, type_: RegType) -> Array | None:
    return None if type_.layout is None else box.cut(first_owner(type_.layout))


def _check_global_bytes(group: ThreadGroup, target: GlobalTensor, box: Box, type_: RegType) -> None:
    bits = type_.dtype.bits
    if group.checks and bits % 8:
        touched = touched_bytes(target.positions(box).reshape(-1), bits)
        check_bytes(target.name, touched, _box_owner(box, type_))
        group.world.claim(target.buffer, touched, group.block)


def check_shared_bytes(group: ThreadGroup, target: SharedTile, box: Box, type_: RegType) -> None:
    """No two threads may store to one byte of shared memory. Raises ExecutionError."""
    bits = type_.dtype.bits
    if not group.checks or not bits % 8:
        return
    index = np.moveaxis(np.indices(target.shape, dtype=np.int64), 0, -1)
    if target.type.layout is not None:
        offsets = target.type.layout.offsets(index)
    else:
        offsets = np.arange(index[..., 0].size, dtype=np.int64).reshape(target.shape)
    touched = touched_bytes(box.select(offsets).reshape(-1) * bits, bits)
    check_bytes(target.name, touched, _box_owner(box, type_))


@semantics(CopyAsync)
def copy_async(group: ThreadGroup, instruction: CopyAsync) -> None:
    target, source = group.memory(instruction.target), group.memory(instruction.source)
    assert isinstance(target, SharedTile)
    assert isinstance(source, GlobalTensor)
    shape = instruction.shape
    box = place(group.indices(instruction.source_offsets), source.shape, shape, instruction.dims)
    there = place(group.indices(instruction.target_offsets), target.shape, shape, None)
    if not there.whole:
        raise ExecutionError(
            f"the copy of shape {list(shape)} leaves `%{target.name}` of shape {list(target.shape)}"
        )
    if box.empty:
        data: Array = np.zeros(shape, storage(source.dtype))
    else:
        data = box.expand(source.read(box), shape)
    layout = instruction.layout
    threads = np.broadcast_to(np.int32(MANY), shape) if layout is None else first_owner(layout)
    copy = PendingCopy(target, there, data, threads, instruction.location)
    target.start_copy(copy, group.checks)
    group.copies.append(copy)


@semantics(CopyAsyncCommit)
def copy_async_commit(group: ThreadGroup, instruction: Instruction) -> None:
    group.copy_groups.append(group.copies)
    group.copies = []


@semantics(CopyAsyncWait)
def copy_async_wait(group: ThreadGroup, instruction: CopyAsyncWait) -> None:
    """Copies land as late as allowed: here, and only those the wait is for."""
    while len(group.copy_groups) > instruction.pending:
        for copy in group.copy_groups.popleft():
            copy.target.land(copy)
