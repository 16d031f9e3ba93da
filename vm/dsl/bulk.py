"""Copies by the copy engine, in a traced kernel."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isfunction

from ..diagnostics import user_errors
from ..instructions import bulk, tensor
from .arguments import as_dims, as_offsets, as_shape
from .mbarrier import Mbarriers, Place, as_barriers, as_place
from .trace import emit
from .values import MemoryTile, ScalarLike, as_expr, operand


def copy_bulk(
    target: MemoryTile,
    target_offsets: Sequence[ScalarLike],
    source: MemoryTile,
    source_offsets: Sequence[ScalarLike],
    barriers: Mbarriers,
    index: Place,
    count: int,
    *,
    ranks: ScalarLike | None = None,
    cache: str = "",
) -> None:
    """One thread starts copying `count` elements from global to shared memory, for a phase of a
    barrier; with a mask `ranks` to these blocks of the cluster."""
    emit(
        bulk.CopyBulk,
        target=operand(target),
        target_offsets=as_offsets(target_offsets),
        source=operand(source),
        source_offsets=as_offsets(source_offsets),
        barrier=as_barriers(barriers).value,
        index=as_place(index),
        ranks=None if ranks is None else as_expr(ranks),
        count=count,
        cache=cache,
    )


def store_bulk(
    target: MemoryTile,
    target_offsets: Sequence[ScalarLike],
    source: MemoryTile,
    source_offsets: Sequence[ScalarLike],
    count: int,
    *,
    cache: str = "",
) -> None:
    """One thread starts copying `count` elements from shared to global memory."""
    emit(
        bulk.StoreBulk,
        target=operand(target),
        target_offsets=as_offsets(target_offsets),
        source=operand(source),
        source_offsets=as_offsets(source_offsets),
        count=count,
        cache=cache,
    )


def prefetch(
    source: MemoryTile, offsets: Sequence[ScalarLike], count: int, *, cache: str = ""
) -> None:
    """One thread asks for `count` elements of global memory to be brought to the L2."""
    emit(
        bulk.Prefetch,
        source=operand(source),
        offsets=as_offsets(offsets),
        count=count,
        cache=cache,
    )


def copy_tensor(
    target: MemoryTile,
    target_offsets: Sequence[ScalarLike],
    source: MemoryTile,
    source_offsets: Sequence[ScalarLike],
    barriers: Mbarriers,
    index: Place,
    shape: Sequence[int],
    *,
    dims: Sequence[int] | None = None,
    ranks: ScalarLike | None = None,
    cache: str = "",
) -> None:
    """One thread starts copying a tile from global to shared memory, for a phase of a barrier; with
    a mask `ranks` to these blocks of the cluster."""
    emit(
        tensor.CopyTensor,
        target=operand(target),
        target_offsets=as_offsets(target_offsets),
        source=operand(source),
        source_offsets=as_offsets(source_offsets),
        barrier=as_barriers(barriers).value,
        index=as_place(index),
        ranks=None if ranks is None else as_expr(ranks),
        shape=as_shape(shape),
        dims=as_dims(dims),
        cache=cache,
    )


def store_tensor(
    target: MemoryTile,
    target_offsets: Sequence[ScalarLike],
    source: MemoryTile,
    source_offsets: Sequence[ScalarLike],
    shape: Sequence[int],
    *,
    dims: Sequence[int] | None = None,
    cache: str = "",
) -> None:
    """One thread starts copying a tile from shared to global memory."""
    emit(
        tensor.StoreTensor,
        target=operand(target),
        target_offsets=as_offsets(target_offsets),
        source=operand(source),
        source_offsets=as_offsets(source_offsets),
        shape=as_shape(shape),
        dims=as_dims(dims),
        cache=cache,
    )


def bulk_commit() -> None:
    """One thread closes the group of bulk stores that it started since the last."""
    emit(bulk.BulkCommit)


def bulk_wait(pending: int = 0, *, read: bool = False) -> None:
    """One thread waits for all but its `pending` newest groups of bulk stores, or with `read` until
    their shared memory has been read."""
    emit(bulk.BulkWait, pending=pending, read=read)


# A call outside a kernel has no `Kernel.trace` around it that cuts our frames off the traceback.
for _name, _function in list(globals().items()):
    if isfunction(_function) and _function.__module__ == __name__ and not _name.startswith("_"):
        globals()[_name] = user_errors()(_function)
