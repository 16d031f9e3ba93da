"""Global views, shared tiles, and moving tiles between memory and registers."""

from __future__ import annotations

from tileloom.layouts import RegisterLayout

from ..diagnostics import LayoutMismatchError
from ..instruction import Effect, Indices, Instruction, Operand, instruction
from ..types import GlobalType, RegType, SharedType, Type
from .checks import (
    cast_hint,
    check_cache_hint,
    count_indices,
    fail,
    memory,
    pointer,
    reg,
    register_annotation,
    tile_dims,
    type_text,
)


@instruction
class GlobalView(Instruction, name="global_view", needs_type=True):
    """A tensor view of global memory at a pointer.

    The view's dtype may differ from the pointer's: the bits are reinterpreted from the pointer on.
    `alignment` promises that the pointer is a multiple of so many bytes; it is checked at launch.
    """

    pointer: Operand
    alignment: int = 16

    def result_type(self, annotation: Type | None) -> GlobalType:
        pointer(self, self.pointer)
        if not isinstance(annotation, GlobalType):
            fail(self, "the view's type is missing", hint="add `: global<dtype, [shape]>`")
        if self.alignment not in (1, 2, 4, 8, 16, 32, 64, 128):
            fail(self, f"`alignment` {self.alignment} is no power of two up to 128")
        return annotation


@instruction
class AllocShared(Instruction, name="alloc_shared", needs_type=True):
    """A tile in shared memory, without values, until `free_shared` or the function's end."""

    def result_type(self, annotation: Type | None) -> SharedType:
        if not isinstance(annotation, SharedType):
            fail(self, "the tile's type is missing", hint="add `: shared<dtype, [shape]>`")
        return annotation


@instruction
class FreeShared(Instruction, name="free_shared", effect=Effect.WRITES_MEMORY, result=False):
    """Ends a shared tile's life: its memory may be used again."""

    tile: Operand

    def result_type(self, annotation: Type | None) -> None:
        if not isinstance(memory(self, self.tile), SharedType):
            fail(self, "only shared tiles can be freed", self.tile)


@instruction
class Load(Instruction, name="load", effect=Effect.READS_MEMORY, needs_type=True):
    """A register tile read from global or shared memory at `offsets`.

    Tile dimension i runs along memory dimension `dims[i]` (default: the last ones). An element
    outside the memory's extents is zero; `in_bounds` promises that there is none. `cache` is a
    hint: "" (default), "stream" (read once: evict first, no L1 allocation), "keep".

    `alignment`, of a global view, promises that the element at `offsets` (which may lie outside the
    extents) is a multiple of so many bytes after the view's first, whatever the strides are: a
    thread's neighbours then move together where all are inside, one by one where some are not.
    """

    source: Operand
    offsets: Indices
    dims: tuple[int, ...] | None = None
    in_bounds: bool = False
    cache: str = ""
    alignment: int = 0

    def result_type(self, annotation: Type | None) -> RegType:
        source = memory(self, self.source)
        type_ = register_annotation(self, annotation)
        count_indices(self, self.offsets, source.rank)
        tile_dims(self, self.dims, type_.rank, source.rank)
        if type_.dtype != source.dtype:
            fail(
                self,
                f"the tile is `{type_.dtype.name}` but the memory is `{source.dtype.name}`",
                self.source,
                hint=f"load as `{source.dtype.name}`, then `view` or `cast`",
            )
        check_cache_hint(self, self.cache)
        _check_alignment(self, source, self.alignment)
        return type_


@instruction
class Store(Instruction, name="store", effect=Effect.WRITES_MEMORY, result=False):
    """Writes a register tile to memory at `offsets`; elements outside the extents are dropped.

    `alignment`: as with `load`.
    """

    target: Operand
    offsets: Indices
    value: Operand
    dims: tuple[int, ...] | None = None
    in_bounds: bool = False
    alignment: int = 0

    def result_type(self, annotation: Type | None) -> None:
        target, value = memory(self, self.target), reg(self, self.value, "the stored value")
        count_indices(self, self.offsets, target.rank)
        tile_dims(self, self.dims, value.rank, target.rank)
        if value.dtype != target.dtype:
            fail(
                self,
                f"the value is `{value.dtype.name}` but the memory is `{target.dtype.name}`",
                self.value,
                self.target,
                hint=f"cast it: {cast_hint(self.value, target.dtype)}",
            )
        _check_alignment(self, target, self.alignment)


def _check_alignment(
    instruction: Instruction, memory: GlobalType | SharedType, alignment: int
) -> None:
    """A promise of no bytes (0) holds everywhere, others for whole elements of global views."""
    if alignment == 0:
        return
    if alignment not in (1, 2, 4, 8, 16):
        fail(instruction, f"`alignment` {alignment} is no power of two up to 16")
    if not isinstance(memory, GlobalType):
        fail(instruction, "`alignment` is a promise about global views")
    if 8 * alignment % memory.dtype.bits or memory.dtype.bits % 8:
        fail(instruction, f"`alignment` {alignment} holds no whole `{memory.dtype.name}`")


@instruction
class CopyAsync(
    Instruction,
    name="copy_async",
    effect=Effect.READS_MEMORY | Effect.WRITES_MEMORY,
    result=False,
):
    """Starts copying a tile from global to shared memory; it lands at some time before the wait.

    `shape` is the tile's, along the last dimensions of both. Elements outside the global extents
    arrive as zeros. The pieces are grouped by `copy_async_commit`. With a `layout` each thread
    copies the elements it would hold in a register tile of that layout (the lowest of several
    threads does): what it copied itself it may read after the wait, what its warp did after a
    `warp_barrier`. Without one, nothing is known before a `barrier`. `cache` is a hint as `load`'s.
    """

    target: Operand
    target_offsets: Indices
    source: Operand
    source_offsets: Indices
    shape: tuple[int, ...] = ()
    dims: tuple[int, ...] | None = None
    layout: RegisterLayout | None = None
    cache: str = ""

    def result_type(self, annotation: Type | None) -> None:
        target, source = memory(self, self.target), memory(self, self.source)
        if not isinstance(target, SharedType) or not isinstance(source, GlobalType):
            fail(self, "copies from a global view to a shared tile", self.target, self.source)
        if target.dtype != source.dtype:
            fail(
                self,
                f"`{type_text(target)}` can't receive `{type_text(source)}`",
                self.target,
                self.source,
            )
        count_indices(self, self.target_offsets, target.rank)
        count_indices(self, self.source_offsets, source.rank)
        tile_dims(self, self.dims, len(self.shape), source.rank)
        tile_dims(self, None, len(self.shape), target.rank)
        check_cache_hint(self, self.cache)
        if self.layout is not None and self.layout.shape != self.shape:
            fail(
                self,
                f"the layout covers {list(self.layout.shape)}, not {list(self.shape)}",
                error=LayoutMismatchError,
            )


@instruction
class CopyAsyncCommit(
    Instruction, name="copy_async_commit", effect=Effect.SYNCHRONIZES, result=False
):
    """Closes the group of asynchronous copies started since the last commit."""

    def result_type(self, annotation: Type | None) -> None:
        return None


@instruction
class CopyAsyncWait(Instruction, name="copy_async_wait", effect=Effect.SYNCHRONIZES, result=False):
    """Waits until at most `pending` of this thread group's newest copy groups are in flight.

    Each thread waits for its own copies: a `barrier` makes the data visible to the others.
    """

    pending: int = 0

    def result_type(self, annotation: Type | None) -> None:
        if self.pending < 0:
            fail(self, f"`pending` is {self.pending}, less than 0")
