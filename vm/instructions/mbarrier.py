"""Barriers in shared memory that count arrivals and bytes: one thread group tells another that it
is done, or waits for what a copy engine writes.

A barrier goes through phases 0, 1, 2, ... A phase ends when `count` arrivals have come and every
announced byte has landed; the next one then begins with the same count. A wait names the parity of
a phase: it ends once the phase of that parity is over, so that a ring's consumer starts with parity
0 and its producer, whose stages are free at first, with parity 1.
"""

from __future__ import annotations

from ..dtypes import dtype
from ..instruction import Effect, Indices, Instruction, Operand, Scalar, instruction
from ..ir import Value
from ..types import BarrierType, ScalarType, Type
from .checks import count_indices, describe, expect_scalar, fail

MAX_COUNT = (1 << 20) - 1  # arrivals, and bytes, of one phase


def barrier_type(instruction: Instruction, operand: Operand) -> BarrierType:
    """The operand's type, which must be an array of barriers."""
    if not isinstance(operand, Value) or not isinstance(operand.type, BarrierType):
        fail(
            instruction,
            f"{describe(operand)} must be an array of barriers",
            operand,
            hint="make one with `alloc_mbarrier`",
        )
    return operand.type


@instruction
class AllocMbarrier(
    Instruction, name="alloc_mbarrier", effect=Effect.SYNCHRONIZES, needs_type=True
):
    """An array of barriers whose phases end after `count` arrivals; the block meets.

    They live until the function's end. Other blocks of the cluster may arrive at them after the
    next `cluster_barrier`.
    """

    count: int = 1

    def result_type(self, annotation: Type | None) -> BarrierType:
        if not isinstance(annotation, BarrierType):
            fail(self, "the type is missing", hint="add `: mbarrier<[4]>`")
        if not 1 <= self.count <= MAX_COUNT:
            fail(self, f"`count` is {self.count}", hint=f"1 to {MAX_COUNT}")
        return annotation


@instruction
class MbarrierArrive(Instruction, name="mbarrier_arrive", effect=Effect.SYNCHRONIZES, result=False):
    """Every thread of the group arrives `count` times, or with `per = warp` every warp once its
    lanes have come.

    What those who arrive have done and seen is visible to whoever waits for the phase (release).
    With a `rank`, the barrier is the one of the block of that rank in the cluster.
    """

    barrier: Operand
    index: Indices
    rank: Operand | None = None
    count: int = 1
    per: str = "thread"

    def result_type(self, annotation: Type | None) -> None:
        _indexed(self, self.barrier, self.index)
        _rank(self, self.rank)
        if not 1 <= self.count <= MAX_COUNT:
            fail(self, f"`count` is {self.count}", hint=f"1 to {MAX_COUNT}")
        if self.per not in ("thread", "warp"):
            fail(self, f"unknown `per` `{self.per}`", hint="thread or warp")


@instruction
class MbarrierExpect(Instruction, name="mbarrier_expect", effect=Effect.SYNCHRONIZES, result=False):
    """One thread of the group announces `num_bytes` more bytes for the phase, and arrives once.

    With a `rank`, the barrier is the one of the block of that rank in the cluster.
    """

    barrier: Operand
    index: Indices
    num_bytes: Scalar
    rank: Operand | None = None

    def result_type(self, annotation: Type | None) -> None:
        _indexed(self, self.barrier, self.index)
        expect_scalar(self, self.num_bytes, "int", "the number of bytes")
        _rank(self, self.rank)


@instruction
class MbarrierWait(Instruction, name="mbarrier_wait", effect=Effect.SYNCHRONIZES, result=False):
    """Every thread of the group waits until the phase of parity `phase` % 2 is over (acquire)."""

    barrier: Operand
    index: Indices
    phase: Scalar

    def result_type(self, annotation: Type | None) -> None:
        _indexed(self, self.barrier, self.index)
        expect_scalar(self, self.phase, "int", "the phase")


@instruction
class MbarrierTest(Instruction, name="mbarrier_test", effect=Effect.SYNCHRONIZES):
    """Whether the phase of parity `phase` % 2 is over (acquire), without waiting for it.

    Threads may see different answers, so it stands in groups of one thread or one warp only, which
    agrees on "no" if a lane says so.
    """

    barrier: Operand
    index: Indices
    phase: Scalar

    def result_type(self, annotation: Type | None) -> ScalarType:
        _indexed(self, self.barrier, self.index)
        expect_scalar(self, self.phase, "int", "the phase")
        return ScalarType(dtype("bool"))


def _indexed(instruction: Instruction, operand: Operand, index: Indices) -> None:
    count_indices(instruction, index, barrier_type(instruction, operand).rank)


def _rank(instruction: Instruction, rank: Operand | None) -> None:
    if rank is None:
        return
    if isinstance(rank, Value):
        fail(instruction, "the rank must be a scalar", rank)
    expect_scalar(instruction, rank, "int", "the rank")
