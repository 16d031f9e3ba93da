"""Barriers that count arrivals and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..diagnostics import ExecutionError
from ..expr import Expr
from ..instruction import Operand
from ..instructions.mbarrier import (
    MAX_COUNT,
    AllocMbarrier,
    MbarrierArrive,
    MbarrierExpect,
    MbarrierTest,
    MbarrierWait,
)
from ..interpreter.barriers import BarrierArray, Mbarrier, make_barriers
from ..interpreter.group import Blocked
from ..ir import Value
from ..types import BarrierType
from .registry import semantics

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(AllocMbarrier)
def alloc_mbarrier(group: ThreadGroup, instruction: AllocMbarrier) -> BarrierArray:
    assert instruction.result is not None
    type_ = instruction.result.type
    assert isinstance(type_, BarrierType)
    group.meet()
    clocks = group.stream.clocks
    array = make_barriers(instruction.result.name, type_.shape, instruction.count, clocks)
    group.barriers.append(array)
    return array


def find_barrier(
    group: ThreadGroup, operand: Operand, index: tuple[Expr, ...], rank: Operand | None = None
) -> Mbarrier:
    """The barrier an instruction names, perhaps in the block of a rank in the cluster.

    Raises:
        ExecutionError: the index is outside, or there is no such block or barrier.
    """
    assert isinstance(operand, Value)
    array = group.env[operand]
    assert isinstance(array, BarrierArray)
    if rank is not None:
        assert not isinstance(rank, Value)
        array = _of_rank(group, operand, array, int(group.scalar(rank)))
    barrier = array.at(group.indices(index))
    if array is not group.env[operand]:
        barrier.reached = barrier.phase, group.rank
    return barrier


def _of_rank(group: ThreadGroup, operand: Value, own: BarrierArray, rank: int) -> BarrierArray:
    size = 1 if group.cluster is None else len(group.cluster.groups)
    if not 0 <= rank < size:
        raise ExecutionError(f"there is no rank {rank} in a cluster of {size}")
    if group.cluster is None or rank == group.rank:
        return own
    return group.cluster.barriers(operand, own.name, rank)


@semantics(MbarrierArrive)
def arrive(group: ThreadGroup, instruction: MbarrierArrive) -> None:
    barrier = find_barrier(group, instruction.barrier, instruction.index, instruction.rank)
    threads = group.num_threads
    comers = -(-threads // 32) if instruction.per == "warp" else threads
    barrier.arrive(comers * instruction.count, group.stream.release())
    group.world.writes += 1


@semantics(MbarrierExpect)
def expect(group: ThreadGroup, instruction: MbarrierExpect) -> None:
    barrier = find_barrier(group, instruction.barrier, instruction.index, instruction.rank)
    num_bytes = int(group.scalar(instruction.num_bytes))
    if not 0 <= num_bytes <= MAX_COUNT:
        raise ExecutionError(f"{num_bytes} bytes are announced", hint=f"0 to {MAX_COUNT}")
    barrier.arrive(1, group.stream.knowledge(), num_bytes)
    group.world.writes += 1


@semantics(MbarrierWait)
def wait(group: ThreadGroup, instruction: MbarrierWait) -> Blocked | None:
    barrier = find_barrier(group, instruction.barrier, instruction.index)
    parity = int(group.scalar(instruction.phase)) % 2
    if barrier.is_over(parity):
        group.stream.learn(barrier.told)
        return None
    reason = f"waits for the phase of parity {parity} of {barrier.name}: {barrier.state()}"
    return Blocked(reason, instruction.location, lambda: barrier.could_be_over(parity))


@semantics(MbarrierTest)
def test(group: ThreadGroup, instruction: MbarrierTest) -> bool:
    barrier = find_barrier(group, instruction.barrier, instruction.index)
    over = barrier.is_over(int(group.scalar(instruction.phase)) % 2)
    if over:
        group.stream.learn(barrier.told)
    return over
