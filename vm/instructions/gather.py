"""Reading and writing memory at places that a tile of indices gives."""

from __future__ import annotations

from ..diagnostics import ShapeError
from ..instruction import Effect, Indices, Instruction, Operand, instruction
from ..types import GlobalType, RegType, SharedType, Type
from .checks import (
    count_indices,
    fail,
    memory,
    reg,
    register_annotation,
    tile_dims,
)


@instruction
class Gather(Instruction, name="gather", effect=Effect.READS_MEMORY, needs_type=True):
    """A register tile read from memory, with one coordinate from a tile of indices.

    Element i of the result comes from `offsets[d] + index[i]` along memory dimension `dim`, and
    from `offsets[d] + i[t]` along every other dimension d that tile dimension t runs along
    (`dims`, default: the last ones). The index tile broadcasts to the result. An element outside
    the memory's extents (a negative index too) is zero; `in_bounds` promises that there is none.
    """

    source: Operand
    offsets: Indices
    index: Operand
    dim: int = 0
    dims: tuple[int, ...] | None = None
    in_bounds: bool = False

    def result_type(self, annotation: Type | None) -> RegType:
        source = memory(self, self.source)
        type_ = register_annotation(self, annotation)
        count_indices(self, self.offsets, source.rank)
        _check_places(self, source, type_)
        if type_.dtype != source.dtype:
            fail(
                self,
                f"the tile is `{type_.dtype.name}` but the memory is `{source.dtype.name}`",
                self.source,
            )
        return type_


@instruction
class Scatter(Instruction, name="scatter", effect=Effect.WRITES_MEMORY, result=False):
    """Writes a register tile to memory, with one coordinate from a tile of indices.

    Places are found as in `gather`; elements outside the extents are dropped. No two elements of
    different values may go to one place: use `atomic` to combine them.
    """

    target: Operand
    offsets: Indices
    index: Operand
    value: Operand
    dim: int = 0
    dims: tuple[int, ...] | None = None
    in_bounds: bool = False

    def result_type(self, annotation: Type | None) -> None:
        target, value = memory(self, self.target), reg(self, self.value, "the value")
        count_indices(self, self.offsets, target.rank)
        _check_places(self, target, value)
        if value.dtype != target.dtype:
            fail(
                self,
                f"the value is `{value.dtype.name}` but the memory is `{target.dtype.name}`",
                self.value,
                self.target,
            )
        if value.dtype.bits % 8:
            fail(
                self,
                f"elements of `{value.dtype.name}` share bytes: two threads may write one",
                self.value,
                hint="`cast` or `view` them as a dtype of whole bytes",
            )


def _check_places(
    instruction: Gather | Scatter, place: GlobalType | SharedType, tile: RegType
) -> None:
    index = reg(instruction, instruction.index, "the index")
    if index.dtype.kind not in ("int", "uint") or index.dtype.bits not in (8, 16, 32, 64):
        fail(
            instruction,
            f"the index is `{index.dtype.name}`, not an integer of whole bytes",
            instruction.index,
        )
    if not 0 <= instruction.dim < place.rank:
        fail(
            instruction,
            f"`dim` {instruction.dim} of memory of rank {place.rank}",
            error=ShapeError,
        )
    tile_dims(instruction, instruction.dims, tile.rank, place.rank)
    extents = tile.shape[tile.rank - index.rank :] if index.rank <= tile.rank else ()
    if len(extents) != index.rank or any(
        a not in (1, b) for a, b in zip(index.shape, extents, strict=True)
    ):
        fail(
            instruction,
            f"an index of shape {list(index.shape)} can't be broadcast to {list(tile.shape)}",
            instruction.index,
            error=ShapeError,
            hint="the index has the tile's extents, or 1",
        )
