"""Copies by the copy engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..diagnostics import ExecutionError
from ..expr import Expr
from ..instruction import Operand
from ..instructions.bulk import UNIT, BulkCommit, BulkWait, CopyBulk, Prefetch, StoreBulk
from ..instructions.tensor import CopyTensor
from ..interpreter.barriers import BarrierArray, Delivery, Mbarrier
from ..interpreter.boxes import Box, place
from ..interpreter.clocked import ClockedTile
from ..interpreter.engine import BulkStore
from ..interpreter.memory import GlobalTensor
from ..interpreter.shared import PendingCopy, SharedTile
from ..ir import Value
from .registry import semantics
from .values import Array

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


_HINT = "`mbarrier_wait` for the phase in which its bytes were announced"


@semantics(CopyBulk)
def copy_bulk(group: ThreadGroup, instruction: CopyBulk) -> None:
    source = group.memory(instruction.source)
    assert isinstance(source, GlobalTensor)
    shape = (instruction.count,)
    box = _run(group, source, instruction.source_offsets, shape)
    at = group.indices(instruction.target_offsets)
    index = group.indices(instruction.index)
    data = source.read(box)
    for tile, array in receivers(group, instruction.target, instruction.barrier, instruction.ranks):
        there = _inside(tile, at, shape)
        _check_start(tile, tile.start_bit(at))
        send(group, instruction, tile, there, data, array.at(index))


def receivers(
    group: ThreadGroup, target: Operand, barrier: Operand, ranks: Operand | None
) -> list[tuple[SharedTile, BarrierArray]]:
    """The tile and the barriers in each block that a copy goes to.

    Raises:
        ExecutionError: the mask names no block, or one that isn't ready.
    """
    tile = group.memory(target)
    assert isinstance(tile, SharedTile) and isinstance(barrier, Value)
    array = group.env[barrier]
    assert isinstance(array, BarrierArray)
    if ranks is None:
        return [(tile, array)]
    assert not isinstance(ranks, Value)
    mask, size = int(group.scalar(ranks)), group.cluster_size
    if not 0 < mask < 1 << size:
        raise ExecutionError(
            f"the mask of ranks is {mask:#b} in a cluster of {size}", hint="bit r is rank r"
        )
    found = []
    for rank in range(size):
        if mask >> rank & 1:
            own = group.cluster is None or rank == group.rank
            found.append(
                (tile, array)
                if own or group.cluster is None
                else (
                    group.cluster.tile(target, tile.name, rank),
                    group.cluster.barriers(barrier, array.name, rank),
                )
            )
    return found


def send(
    group: ThreadGroup,
    instruction: CopyBulk | CopyTensor,
    tile: SharedTile,
    box: Box,
    data: Array,
    barrier: Mbarrier,
) -> None:
    """Data start on their way to a tile, to be told to a barrier there."""
    assert isinstance(tile, ClockedTile)
    threads = np.zeros(box.size, np.int32)  # the group's first thread starts it
    copy = PendingCopy(tile, box, data, threads, instruction.location, _HINT)
    if group.checks:
        tile.refuse_unfenced(box, "written")
    tile.start_copy(copy, group.checks)

    def land(clock: int, time: int) -> None:
        tile.land_by_engine(copy, clock, time)

    num_bytes = data.size * tile.type.dtype.bits // 8
    barrier.deliver(Delivery(num_bytes, land, instruction.location))
    group.world.writes += 1


def _run(
    group: ThreadGroup, tensor: GlobalTensor, offsets: tuple[Expr, ...], shape: tuple[int, ...]
) -> Box:
    """A run in global memory, which must lie inside the tensor and start at a unit."""
    box = _inside(tensor, group.indices(offsets), shape)
    _check_start(tensor, int(tensor.positions(box).reshape(-1)[0]))
    return box


def _inside(memory: GlobalTensor | SharedTile, at: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    box = place(at, memory.shape, shape, None)
    if not box.whole:
        raise ExecutionError(
            f"the run of {shape[-1]} elements at {list(at)} leaves `%{memory.name}` of shape "
            f"{list(memory.shape)}",
            hint="bulk copies have no bounds: copy the last part with `load` and `store`",
        )
    return box


def _check_start(memory: GlobalTensor | SharedTile, bit: int) -> None:
    if bit % (8 * UNIT):
        raise ExecutionError(
            f"the run starts {bit / 8:g} bytes into `%{memory.name}`, no multiple of {UNIT}"
        )


@semantics(StoreBulk)
def store_bulk(group: ThreadGroup, instruction: StoreBulk) -> None:
    source, target = group.memory(instruction.source), group.memory(instruction.target)
    assert isinstance(source, SharedTile) and isinstance(target, GlobalTensor)
    shape = (instruction.count,)
    at = group.indices(instruction.source_offsets)
    box = _inside(source, at, shape)
    _check_start(source, source.start_bit(at))
    there = _run(group, target, instruction.target_offsets, shape)
    data, poison = source.read_async(box, instruction.location, group.checks)
    group.refuse_poison(instruction, instruction.source, poison, "is stored to global memory")

    def land() -> None:
        target.write(there, data)
        group.world.writes += 1

    store = BulkStore(source, box, land, instruction.location)
    store.start()
    group.bulk.open.append(store)


@semantics(Prefetch)
def prefetch(group: ThreadGroup, instruction: Prefetch) -> None:
    """Changes nothing; the run must be one that a copy may read."""
    source = group.memory(instruction.source)
    assert isinstance(source, GlobalTensor)
    _run(group, source, instruction.offsets, (instruction.count,))


@semantics(BulkCommit)
def bulk_commit(group: ThreadGroup, instruction: BulkCommit) -> None:
    group.bulk.commit()


@semantics(BulkWait)
def bulk_wait(group: ThreadGroup, instruction: BulkWait) -> None:
    """Stores land as late as allowed: here, and only those the wait is for."""
    group.bulk.wait(instruction.pending, instruction.read)
