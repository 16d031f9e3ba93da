"""Copies of tiles by the copy engine, which knows the tensor's extents and the tile's place.

A launch makes a *tensor map* of each view that such copies name: its pointer, extents and strides
must follow from the parameters. Rows in global memory start at multiples of 16 bytes, and tiles at
multiples of 16 bytes of a row, even outside the tensor. The shared tile's layout is one that the
engine writes: boxes that are dense in some order of their dimensions, the first along the view's
neighbours, with a swizzle over whole rows of 32, 64 or 128 bytes, or none.
"""

from __future__ import annotations

from ..diagnostics import LimitError
from ..instruction import Effect, Indices, Instruction, Operand, instruction
from ..types import GlobalType, SharedType, Type
from .bulk import check_cache, check_ranks
from .checks import copied, count_indices, fail, tile_dims, type_text
from .mbarrier import barrier_type

MAX_RANK = 5  # of a view that tensor maps can say


@instruction
class CopyTensor(
    Instruction,
    name="copy_tensor",
    effect=Effect.READS_MEMORY | Effect.WRITES_MEMORY,
    result=False,
):
    """One thread of the group starts copying a tile from global to shared memory.

    `shape` is the tile's, along the last dimensions of the shared tile and dimensions `dims` of the
    view (default: the last). It begins at a multiple of 16 bytes of a row. Elements outside the
    view's extents arrive as zeros, and count among the bytes announced: those of the whole tile.
    When it lands, to which `ranks`, and `cache`: as with `copy_bulk`.
    """

    target: Operand
    target_offsets: Indices
    source: Operand
    source_offsets: Indices
    barrier: Operand
    index: Indices
    ranks: Operand | None = None
    shape: tuple[int, ...] = ()
    dims: tuple[int, ...] | None = None
    cache: str = ""

    def result_type(self, annotation: Type | None) -> None:
        _tile(self, *copied(self, to_shared=True), self.shape, self.dims)
        count_indices(self, self.index, barrier_type(self, self.barrier).rank)
        check_ranks(self, self.ranks)
        check_cache(self, self.cache)


@instruction
class StoreTensor(
    Instruction,
    name="store_tensor",
    effect=Effect.READS_MEMORY | Effect.WRITES_MEMORY,
    result=False,
):
    """One thread of the group starts copying a tile from shared to global memory.

    It begins at a multiple of 16 bytes of a row. Elements outside the view's extents are dropped.
    It belongs to the groups of `bulk_commit` and `bulk_wait`, as `store_bulk` does.
    """

    target: Operand
    target_offsets: Indices
    source: Operand
    source_offsets: Indices
    shape: tuple[int, ...] = ()
    dims: tuple[int, ...] | None = None
    cache: str = ""

    def result_type(self, annotation: Type | None) -> None:
        _tile(self, *copied(self, to_shared=False), self.shape, self.dims)
        check_cache(self, self.cache)


def _tile(
    instruction: Instruction,
    tile: SharedType,
    view: GlobalType,
    shape: tuple[int, ...],
    dims: tuple[int, ...] | None,
) -> None:
    if tile.dtype != view.dtype:
        fail(
            instruction,
            f"the shared tile is `{type_text(tile)}` but the view `{type_text(view)}`",
        )
    if tile.dtype.bits not in (8, 16, 32, 64):
        fail(
            instruction,
            f"the engine has no elements of `{tile.dtype.name}`",
            hint="make views of bytes: `u8`",
        )
    if view.rank > MAX_RANK:
        fail(
            instruction,
            f"a view of rank {view.rank}, the engine knows {MAX_RANK} dimensions",
            error=LimitError,
        )
    tile_dims(instruction, dims, len(shape), view.rank)
    tile_dims(instruction, None, len(shape), tile.rank)
    extents = tile.shape[tile.rank - len(shape) :]
    if not shape or any(not 1 <= n <= most for n, most in zip(shape, extents, strict=True)):
        fail(
            instruction,
            f"a tile of shape {list(shape)} doesn't fit the shared tile's {list(tile.shape)}",
        )
