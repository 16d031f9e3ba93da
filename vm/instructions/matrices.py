"""Moving fragments of matrices between shared memory and registers, eight rows at a time."""

from __future__ import annotations

from ..instruction import Effect, Indices, Instruction, Operand, instruction
from ..types import RegType, SharedType, Type
from .checks import count_indices, fail, memory, reg, register_annotation, tile_dims


@instruction
class LoadMatrix(Instruction, name="load_matrix", effect=Effect.READS_MEMORY, needs_type=True):
    """A register tile read from shared memory by `ldmatrix`; it must lie inside the extents.

    It means what `load` does. The compiler picks the plain or the transposed form, and refuses
    layouts that are not whole 8 x 16-byte matrices over the lanes of a warp, or rows that it
    can't prove to begin at multiples of 16 bytes.
    """

    source: Operand
    offsets: Indices
    dims: tuple[int, ...] | None = None

    def result_type(self, annotation: Type | None) -> RegType:
        type_ = register_annotation(self, annotation)
        source = _shared(self, self.source)
        count_indices(self, self.offsets, source.rank)
        _check_tile(self, source, type_)
        return type_


@instruction
class StoreMatrix(Instruction, name="store_matrix", effect=Effect.WRITES_MEMORY, result=False):
    """Writes a register tile to shared memory by `stmatrix` (by plain stores where the target has
    none); it must lie inside the extents. It means what `store` does."""

    target: Operand
    offsets: Indices
    value: Operand
    dims: tuple[int, ...] | None = None

    def result_type(self, annotation: Type | None) -> None:
        target, value = _shared(self, self.target), reg(self, self.value, "the stored value")
        count_indices(self, self.offsets, target.rank)
        _check_tile(self, target, value)


def _shared(instruction: LoadMatrix | StoreMatrix, operand: Operand) -> SharedType:
    type_ = memory(instruction, operand)
    if not isinstance(type_, SharedType):
        fail(instruction, "works on tiles in shared memory", operand, hint="use `load` and `store`")
    return type_


def _check_tile(instruction: LoadMatrix | StoreMatrix, place: SharedType, tile: RegType) -> None:
    tile_dims(instruction, instruction.dims, tile.rank, place.rank)
    if tile.dtype != place.dtype:
        fail(
            instruction,
            f"the tile is `{tile.dtype.name}` but the memory is `{place.dtype.name}`",
            *instruction.operands(),
        )
    if tile.dtype.bits not in (8, 16, 32):
        fail(
            instruction,
            f"moves elements of 8, 16 or 32 bits, not `{tile.dtype.name}`",
            hint="`load` moves any dtype",
        )
