"""Blocks of a cluster: their barrier, and access to each other's shared memory.

The blocks of a cluster run at the same time. In a function without `cluster`, each block is a
cluster of its own: its rank is 0, and `cluster_barrier` is `barrier`.
"""

from __future__ import annotations

from ..expr import Expr
from ..instruction import Effect, Indices, Instruction, Operand, Scalar, instruction
from ..types import RegType, SharedType, Type
from .checks import (
    cast_hint,
    count_indices,
    expect_scalar,
    fail,
    memory,
    reg,
    register_annotation,
    tile_dims,
)


@instruction
class ClusterBarrier(Instruction, name="cluster_barrier", effect=Effect.SYNCHRONIZES, result=False):
    """All threads of all blocks of the cluster meet; what each wrote before, to its own memory or
    another block's, is visible to the others after.

    Blocks that have ended count as arrived. A block may not end while others can still access its
    shared memory: a barrier must lie between their last access and its end.
    """

    def result_type(self, annotation: Type | None) -> None:
        return None


@instruction
class LoadRemote(Instruction, name="load_remote", effect=Effect.READS_MEMORY, needs_type=True):
    """`load` from the shared tile of another block: the one of that `rank` in the cluster.

    The other block must have allocated the tile, and written what is read, before a
    `cluster_barrier`; it may neither change nor free it before the next one.
    """

    source: Operand
    offsets: Indices
    rank: Scalar
    dims: tuple[int, ...] | None = None
    in_bounds: bool = False

    def result_type(self, annotation: Type | None) -> RegType:
        source = _shared(self, self.source)
        type_ = register_annotation(self, annotation)
        count_indices(self, self.offsets, source.rank)
        tile_dims(self, self.dims, type_.rank, source.rank)
        _rank(self, self.rank)
        if type_.dtype != source.dtype:
            fail(
                self,
                f"the tile is `{type_.dtype.name}` but the memory is `{source.dtype.name}`",
                self.source,
                hint=f"load as `{source.dtype.name}`, then `view` or `cast`",
            )
        return type_


@instruction
class StoreRemote(Instruction, name="store_remote", effect=Effect.WRITES_MEMORY, result=False):
    """`store` to the shared tile of another block: the one of that `rank` in the cluster.

    The other block must have allocated the tile before a `cluster_barrier`, and sees the values
    after the next one.
    """

    target: Operand
    offsets: Indices
    value: Operand
    rank: Scalar
    dims: tuple[int, ...] | None = None
    in_bounds: bool = False

    def result_type(self, annotation: Type | None) -> None:
        target, value = _shared(self, self.target), reg(self, self.value, "the stored value")
        count_indices(self, self.offsets, target.rank)
        tile_dims(self, self.dims, value.rank, target.rank)
        _rank(self, self.rank)
        if value.dtype != target.dtype:
            fail(
                self,
                f"the value is `{value.dtype.name}` but the memory is `{target.dtype.name}`",
                self.value,
                self.target,
                hint=f"cast it: {cast_hint(self.value, target.dtype)}",
            )


def _shared(instruction: Instruction, operand: Operand) -> SharedType:
    type_ = memory(instruction, operand)
    if not isinstance(type_, SharedType):
        fail(instruction, "only shared tiles lie in other blocks of the cluster", operand)
    return type_


def _rank(instruction: Instruction, rank: Expr) -> None:
    expect_scalar(instruction, rank, "int", "the rank")
