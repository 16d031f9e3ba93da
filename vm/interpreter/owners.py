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
WARP: Final = -16  # WARP - w: threads of warp w, before its last meeting
_LANES_LOG2: Final = 5


def after_meeting(threads: Threads) -> Threads:
    """Who accessed something, once the threads of each warp have met."""
    return np.where(threads >= 0, WARP - (threads >> _LANES_LOG2), threads)


def in_order(before: Threads, now: Threads) -> NDArray[np.bool_]:
    """Where accesses by `before` are ordered before one by `now`: it is the same thread, or one of
    a warp that has met in between."""
    same = (before == now) & (now != MANY)
    return same | ((before <= WARP) & (now >= 0) & (WARP - before == now >> _LANES_LOG2))


def owners(type_: RegType) -> Threads:
    """The one thread that holds each element, `MANY` where there are several. Read-only."""
    return _only_owner(type_.layout, type_.shape)


@lru_cache(maxsize=512)
def _only_owner(layout: RegisterLayout | None, shape: tuple[int, ...]) -> Threads:
    if layout is None or layout.num_replicas > 1:
        return np.broadcast_to(np.int32(MANY), shape)
    return first_owner(layout)


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
