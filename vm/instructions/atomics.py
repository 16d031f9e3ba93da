"""Atomic updates of memory."""

from __future__ import annotations

from ..instruction import Effect, Indices, Instruction, Operand, Scalar, instruction
from ..types import GlobalType, ScalarType, Type
from .checks import count_indices, expect_scalar, fail, memory, reg, tile_dims

OPERATIONS = ("add", "min", "max", "and", "or", "xor", "exchange", "cas")
_BOTH = Effect.READS_MEMORY | Effect.WRITES_MEMORY


@instruction
class Atomic(Instruction, name="atomic", effect=_BOTH, result=None):
    """Combines each element of a tile into memory at `offsets`, once an element (replicas count as
    one), in an unspecified order. The result, if asked for, holds the old values.

    `cas` puts the value where memory holds what `compare` does, bit by bit. Elements outside the
    extents are dropped; their old value is zero.
    """

    target: Operand
    offsets: Indices
    value: Operand
    compare: Operand | None = None
    op: str = "add"
    dims: tuple[int, ...] | None = None

    def result_type(self, annotation: Type | None) -> Type | None:
        target, value = memory(self, self.target), reg(self, self.value, "the value")
        count_indices(self, self.offsets, target.rank)
        tile_dims(self, self.dims, value.rank, target.rank)
        if target.dtype != value.dtype:
            fail(
                self,
                f"the value is `{value.dtype.name}`, the memory `{target.dtype.name}`",
                self.value,
                self.target,
            )
        _check_operation(self)
        if value.dtype.kind == "float" and self.op != "add":
            fail(self, f"`{self.op}` has no floating form", self.value)
        if self.compare is not None:
            expected = reg(self, self.compare, "the expected value")
            if (expected.dtype, expected.shape) != (value.dtype, value.shape):
                fail(
                    self,
                    "the expected and the new value need one dtype and shape",
                    self.compare,
                    self.value,
                )
        return value


def _check_operation(instruction: Atomic | AtomicScalar) -> None:
    op = instruction.op
    if op not in OPERATIONS:
        fail(instruction, f"unknown operation `{op}`", hint=", ".join(OPERATIONS))
    if (op == "cas") != (instruction.compare is not None):
        fail(
            instruction,
            "`cas` needs the value to compare with" if op == "cas" else f"`{op}` compares nothing",
            hint="written `atomic %target[...], %new, %expected {op = cas}`",
        )


@instruction
class AtomicScalar(
    Instruction, name="atomic_scalar", effect=_BOTH | Effect.SYNCHRONIZES, result=None
):
    """One atomic update by the whole block; every thread gets the old value.

    All threads meet before and after it, and it is ordered with the memory accesses of the block
    at GPU scope (acquire and release): the way to count finished blocks.
    """

    target: Operand
    offsets: Indices
    value: Scalar
    compare: Scalar | None = None
    op: str = "add"

    def result_type(self, annotation: Type | None) -> Type:
        target = memory(self, self.target)
        count_indices(self, self.offsets, target.rank)
        if not isinstance(target, GlobalType) or target.dtype.name not in ("i32", "u32"):
            fail(self, "works on an i32 or u32 in global memory", self.target)
        _check_operation(self)
        expect_scalar(self, self.value, "int", "the value")
        if self.compare is not None:
            expect_scalar(self, self.compare, "int", "the expected value")
        return ScalarType(target.dtype)
