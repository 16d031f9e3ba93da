"""Copies by the copy engine: runs of bytes, started by one thread.

A run is `count` elements along the last dimension of both memories: whole, inside both, starting at
multiples of 16 bytes and of a multiple of 16 bytes. The engine reaches shared memory through the
asynchronous proxy: what it reads or overwrites there must be behind a `fence_proxy_async` of those
who wrote it by ordinary means.
"""

from __future__ import annotations

from ..diagnostics import ShapeError
from ..expr import Const
from ..instruction import Effect, Indices, Instruction, Operand, instruction
from ..ir import Value
from ..types import GlobalType, SharedType, Type
from .checks import copied, count_indices, expect_scalar, fail, memory, type_text
from .mbarrier import barrier_type

UNIT = 16  # bytes: what starts and sizes of runs are multiples of


@instruction
class CopyBulk(
    Instruction,
    name="copy_bulk",
    effect=Effect.READS_MEMORY | Effect.WRITES_MEMORY,
    result=False,
):
    """One thread of the group starts copying a run from global to shared memory.

    It lands at some time before the phase of the barrier ends in which its bytes are announced
    (`mbarrier_expect`); who waits for the phase sees it. With a mask `ranks` (bit r: the block of
    rank r in the cluster), it lands in those blocks, each time at the same place and barrier.
    `cache` is a hint for the L2: "", "stream" (evict first), "keep".
    """

    target: Operand
    target_offsets: Indices
    source: Operand
    source_offsets: Indices
    barrier: Operand
    index: Indices
    ranks: Operand | None = None
    count: int = 0
    cache: str = ""

    def result_type(self, annotation: Type | None) -> None:
        shared, view = copied(self, to_shared=True)
        _same_dtype(self, self.target, shared, self.source, view)
        check_run(self, shared, view, self.count)
        count_indices(self, self.index, barrier_type(self, self.barrier).rank)
        check_ranks(self, self.ranks)
        check_cache(self, self.cache)


@instruction
class StoreBulk(
    Instruction,
    name="store_bulk",
    effect=Effect.READS_MEMORY | Effect.WRITES_MEMORY,
    result=False,
):
    """One thread of the group starts copying a run from shared to global memory.

    Its shared memory may be written again after a `bulk_wait` of that thread; before the block
    ends there must be one.
    """

    target: Operand
    target_offsets: Indices
    source: Operand
    source_offsets: Indices
    count: int = 0
    cache: str = ""

    def result_type(self, annotation: Type | None) -> None:
        shared, view = copied(self, to_shared=False)
        _same_dtype(self, self.target, view, self.source, shared)
        check_run(self, shared, view, self.count)
        check_cache(self, self.cache)


@instruction
class Prefetch(Instruction, name="prefetch", effect=Effect.READS_MEMORY, result=False):
    """One thread of the group asks for a run of global memory to be brought to the L2.

    It is a hint, for what copies and loads will read soon: nothing waits for it, and targets
    without bulk copies leave it out.
    """

    source: Operand
    offsets: Indices
    count: int = 0
    cache: str = ""

    def result_type(self, annotation: Type | None) -> None:
        source = memory(self, self.source)
        if not isinstance(source, GlobalType):
            fail(self, "only global memory goes through the L2", self.source)
        count_indices(self, self.offsets, source.rank)
        if self.count < 1:
            fail(self, f"`count` is {self.count}", error=ShapeError)
        check_units(self, source, self.count)
        check_cache(self, self.cache)


@instruction
class BulkCommit(Instruction, name="bulk_commit", effect=Effect.SYNCHRONIZES, result=False):
    """One thread of the group closes the group of bulk stores that it started since the last."""

    def result_type(self, annotation: Type | None) -> None:
        return None


@instruction
class BulkWait(Instruction, name="bulk_wait", effect=Effect.SYNCHRONIZES, result=False):
    """One thread of the group waits until at most `pending` of its newest groups of bulk stores
    are in flight: until they are done, or with `read` until their shared memory has been read.
    """

    pending: int = 0
    read: bool = False

    def result_type(self, annotation: Type | None) -> None:
        if self.pending < 0:
            fail(self, f"`pending` is {self.pending}, less than 0")


def _same_dtype(
    instruction: Instruction,
    target: Operand,
    target_type: GlobalType | SharedType,
    source: Operand,
    source_type: GlobalType | SharedType,
) -> None:
    if target_type.dtype != source_type.dtype:
        fail(
            instruction,
            f"`{type_text(target_type)}` can't receive `{type_text(source_type)}`",
            target,
            source,
        )


def check_run(instruction: Instruction, tile: SharedType, view: GlobalType, count: int) -> None:
    """`count` elements along the last dimensions are one run of whole units in both memories."""
    if not tile.rank or not view.rank or not 1 <= count <= tile.shape[-1]:
        fail(
            instruction,
            f"`count` is {count}, the last extent {tile.shape[-1] if tile.rank else 1}",
            error=ShapeError,
        )
    check_units(instruction, view, count)
    layout = tile.layout
    if layout is not None and (
        layout.swizzle is not None or [digit[2] for digit in layout.digits_of(tile.rank - 1)] != [1]
    ):
        fail(instruction, "elements along the last dimension must be neighbours in shared memory")


def check_units(instruction: Instruction, view: GlobalType, count: int) -> None:
    """`count` elements along the view's last dimension are whole units, one behind the other."""
    bits = view.dtype.bits
    if not view.rank or view.strides[-1] != Const(1):
        fail(instruction, "elements along the last dimension must be neighbours in global memory")
    if count * bits % (8 * UNIT):
        fail(
            instruction,
            f"{count} elements of `{view.dtype.name}` are no multiple of {UNIT} bytes",
            hint=f"a multiple of {8 * UNIT // _power_of_two(bits)} elements",
        )


def _power_of_two(bits: int) -> int:
    return min(bits & -bits, 8 * UNIT)


def check_ranks(instruction: Instruction, ranks: Operand | None) -> None:
    """A mask of blocks of the cluster is a scalar."""
    if ranks is None:
        return
    if isinstance(ranks, Value):
        fail(instruction, "the mask of ranks must be a scalar", ranks)
    expect_scalar(instruction, ranks, "int", "the mask of ranks")


def check_cache(instruction: Instruction, cache: str) -> None:
    """A hint that is known."""
    if cache not in ("", "stream", "keep"):
        fail(instruction, f"unknown cache hint `{cache}`", hint='"", "stream" or "keep"')
