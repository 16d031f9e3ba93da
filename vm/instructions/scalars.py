"""Scalars: mutable variables, loads, and single elements of tiles."""

from __future__ import annotations

from ..instruction import Effect, Indices, Instruction, Mutated, Operand, Scalar, instruction
from ..ir import Value
from ..types import RegType, ScalarType, Type
from .checks import count_indices, fail, memory, reg, scalar_operand


@instruction
class Var(Instruction, name="var", needs_type=True):
    """A mutable scalar with its first value."""

    value: Scalar

    def result_type(self, annotation: Type | None) -> ScalarType:
        if not isinstance(annotation, ScalarType):
            fail(self, "the scalar's type is missing", hint="add `: i32`")
        scalar_operand(self, self.value, annotation.dtype, "the value")
        return annotation


@instruction
class Assign(Instruction, name="assign", result=False):
    """Writes a new value to a `var` scalar, or to every element of a register tile."""

    target: Mutated
    value: Operand

    def result_type(self, annotation: Type | None) -> None:
        if isinstance(self.target.type, ScalarType):
            if isinstance(self.value, Value):
                fail(self, "the value must be a scalar", self.target, self.value)
            scalar_operand(self, self.value, self.target.type.dtype, "the value")
            return
        target, value = reg(self, self.target, "the target"), reg(self, self.value, "the value")
        if target.dtype != value.dtype or target.shape != value.shape:
            fail(self, "target and value need one dtype and shape", self.target, self.value)


@instruction
class LoadScalar(Instruction, name="load_scalar", effect=Effect.READS_MEMORY):
    """One element of memory as a uniform scalar; outside the extents it is zero."""

    source: Operand
    offsets: Indices

    def result_type(self, annotation: Type | None) -> ScalarType:
        source = memory(self, self.source)
        count_indices(self, self.offsets, source.rank)
        if source.dtype.bits not in (8, 16, 32, 64):
            fail(self, f"`{source.dtype.name}` is no scalar type", self.source)
        return ScalarType(source.dtype)


@instruction
class Item(Instruction, name="item", effect=Effect.SYNCHRONIZES):
    """The single element of a tile of one element, as a uniform scalar of the block."""

    value: Operand

    def result_type(self, annotation: Type | None) -> ScalarType:
        source: RegType = reg(self, self.value, "the value")
        if any(extent != 1 for extent in source.shape):
            fail(self, f"the tile has shape {list(source.shape)}, not one element", self.value)
        return ScalarType(source.dtype)
