"""Which thread owns each element of a register tile."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tileloom.layouts import RegisterLayout

from ..diagnostics import ExecutionError
from ..types import RegType

Threads = NDArray[np.int32]

NONE: Final = -1  # no thread
MANY: Final = -2  # several threads, or nobody knows which
ATOMIC: Final = -3  # atomic updates
WARP: Final = -(1 << 10)  # WARP - w: threads of warp w, before its last meeting
LANES_OF: Final = -(1 << 20)  # LANES_OF - w: several threads of warp w, which hold the same
_LANES_LOG2: Final = 5


def after_meeting(threads: Threads, first: int = 0, count: int = 1 << 20) -> Threads:
    """Who accessed something, once the threads of each warp have met: of `count` threads from
    `first` on."""
    warp = _warp(threads)
    met = (warp >= first >> _LANES_LOG2) & (warp < -(-(first + count) >> _LANES_LOG2))
    return np.where(met, WARP - warp, threads)


def after(threads: Threads, first: int) -> Threads:
    """Threads of a group as those of a block in which the group's first one is `first`."""
    moved = np.where(threads >= 0, threads + np.int32(first), threads)
    return np.where(threads <= LANES_OF, threads - np.int32(first >> _LANES_LOG2), moved)


def _warp(threads: Threads) -> Threads:
    """The warp of a thread, or of several of it; -1 where there is none such."""
    several = np.where(threads <= LANES_OF, LANES_OF - threads, -1)
    return np.where(threads >= 0, threads >> _LANES_LOG2, several)


def in_order(before: Threads, now: Threads) -> NDArray[np.bool_]:
    """Where accesses by `before` are ordered before one by `now`: it is the same thread, or one of
    a warp that has met in between."""
    warp = _warp(now)
    ordered: NDArray[np.bool_] = (before == now) & (now >= 0)
    ordered |= (warp >= 0) & (WARP - before == warp)
    return ordered


def owners(type_: RegType) -> Threads:
    """The one thread that holds each element; where several do, their warp's `LANES_OF`, or `MANY`
    if they are of several warps. Read-only."""
    return _only_owner(type_.layout, type_.shape)


@lru_cache(maxsize=512)
def _only_owner(layout: RegisterLayout | None, shape: tuple[int, ...]) -> Threads:
    if layout is None:
        return np.broadcast_to(np.int32(MANY), shape)
    if layout.num_replicas == 1:
        return first_owner(layout)
    first, last = (np.full(shape, fill, np.int32) for fill in (np.iinfo(np.int32).max, -1))
    table = layout.table()
    index = tuple(np.moveaxis(table, -1, 0))
    warps = np.broadcast_to(np.arange(len(table), dtype=np.int32)[:, None], table.shape[:-1])
    np.minimum.at(first, index, warps >> _LANES_LOG2)
    np.maximum.at(last, index, warps >> _LANES_LOG2)
    return np.where(first == last, LANES_OF - first, np.int32(MANY)).astype(np.int32)


@lru_cache(maxsize=512)
def first_owner(layout: RegisterLayout) -> Threads:
    """The lowest thread that holds each element. Read-only."""
    thread = layout.locate(all_indices(layout.shape))[0].astype(np.int32)
    thread.flags.writeable = False
    return thread


def all_indices(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Every index of a shape: [*shape, rank]."""
    return np.moveaxis(np.indices(shape, dtype=np.int64), 0, -1)


def touched_bytes(positions: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """The bytes that elements of `bits` bits at bit `positions` [n] lie in: [n, bytes], repeats
    included."""
    return np.stack([positions + at >> 3 for at in (*range(0, bits, 8), bits - 1)], axis=-1)


def check_bytes(name: str, touched: NDArray[np.int64], threads: Threads | None) -> None:
    """No two threads may write one byte: a store of less than a byte rewrites it all.

    `touched` [n, bytes] are the bytes each element lies in; `threads` [n] who stores it, None if
    that is not known.

    Raises:
        ExecutionError: two threads store to one byte.
    """
    if threads is None:
        return
    place = touched.reshape(-1)
    owner = np.repeat(threads.reshape(-1), touched.shape[-1])
    base = int(place.min())
    span = int(place.max()) - base + 1
    low, high = np.full(span, np.iinfo(np.int32).max, np.int32), np.full(span, -1, np.int32)
    np.minimum.at(low, place - base, owner)
    np.maximum.at(high, place - base, owner)
    shared = np.flatnonzero(low < high)
    if shared.size:
        at = int(shared[0])
        raise ExecutionError(
            f"threads {low[at]} and {high[at]} both store to byte {base + at} of `%{name}`",
            notes=["its elements are smaller than a byte, and a thread stores whole bytes"],
            hint="choose a layout in which one thread owns all elements of a byte",
        )
