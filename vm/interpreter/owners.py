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


def check_bytes(
    name: str, positions: NDArray[np.int64], bits: int, threads: Threads | None
) -> None:
    """No two threads may write one byte: a store of less than a byte rewrites it all.

    Raises:
        ExecutionError: two do. `threads` None (no layout): nothing is known, nothing checked.
    """
    if threads is None or not bits % 8 or not positions.size:
        return
    start, owner = positions.reshape(-1), threads.reshape(-1)
    ends = [start + place for place in (*range(0, bits, 8), bits - 1)]
    place = np.concatenate([end >> 3 for end in ends])
    owner = np.concatenate([owner] * len(ends))
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
            notes=[f"its elements have {bits} bits, and a thread stores whole bytes"],
            hint="choose a layout in which one thread owns all elements of a byte",
        )
