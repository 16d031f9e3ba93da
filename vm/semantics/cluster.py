"""Cluster barriers, and access to the shared memory of other blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..diagnostics import ExecutionError
from ..expr import Expr
from ..instruction import Operand
from ..instructions.cluster import ClusterBarrier, LoadRemote, StoreRemote
from ..interpreter.boxes import place
from ..interpreter.group import Blocked
from ..interpreter.owners import owners
from ..interpreter.shared import SharedTile
from ..ir import Value
from ..types import RegType
from .create import result_type
from .memory import check_promise, check_shared_bytes
from .registry import semantics
from .values import Tile, storage

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(ClusterBarrier)
def cluster_barrier(group: ThreadGroup, instruction: ClusterBarrier) -> Blocked | None:
    cluster, rank = group.cluster, group.rank
    if cluster is None:
        group.meet()
        return None
    if cluster.pass_barrier(rank):
        return None
    reason = "waits at a `cluster_barrier` for the other blocks of its cluster"
    return Blocked(reason, instruction.location, lambda: cluster.can_pass(rank))


def _find(group: ThreadGroup, operand: Operand, rank_expr: Expr) -> tuple[SharedTile, bool]:
    """The tile of a rank, and whether it is another block's."""
    rank = int(group.scalar(rank_expr))
    size = 1 if group.cluster is None else len(group.cluster.groups)
    if not 0 <= rank < size:
        blocks = "1 block" if size == 1 else f"{size} blocks"
        raise ExecutionError(f"there is no rank {rank} in a cluster of {blocks}")
    own = group.memory(operand)
    assert isinstance(own, SharedTile)
    if rank == group.rank or group.cluster is None:
        return own, False
    return group.cluster.tile(operand, own.name, rank), True


@semantics(LoadRemote)
def load_remote(group: ThreadGroup, instruction: LoadRemote) -> Tile:
    source, is_remote = _find(group, instruction.source, instruction.rank)
    type_ = result_type(instruction)
    at = group.indices(instruction.offsets)
    box = place(at, source.shape, type_.shape, instruction.dims)
    check_promise(group, instruction, source, box)
    if box.empty:
        return Tile(type_.dtype, np.zeros(type_.shape, storage(type_.dtype)))
    where = instruction.location
    if is_remote:
        data, poison = source.read_remote(box, group.rank, where, group.checks)
    else:
        data, poison = source.read(box, box.cut(owners(type_)), where, group.checks)
    mask = None if poison is None else box.expand(poison, type_.shape, False)
    return Tile(type_.dtype, box.expand(data, type_.shape), mask)


@semantics(StoreRemote)
def store_remote(group: ThreadGroup, instruction: StoreRemote) -> None:
    target, is_remote = _find(group, instruction.target, instruction.rank)
    value = group.tile(instruction.value)
    assert isinstance(instruction.value, Value)
    type_ = instruction.value.type
    assert isinstance(type_, RegType)
    at = group.indices(instruction.offsets)
    box = place(at, target.shape, value.shape, instruction.dims)
    check_promise(group, instruction, target, box)
    if box.empty:
        return
    data, poison = box.cut(value.data), None if value.poison is None else box.cut(value.poison)
    check_shared_bytes(group, target, box, type_)
    where = instruction.location
    if is_remote:
        target.write_remote(box, data, poison, group.rank, where, group.checks)
    else:
        target.write(box, data, poison, box.cut(owners(type_)), where, group.checks)
