"""Barriers, fences and semaphores, in a traced kernel."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isfunction

from ..diagnostics import user_errors
from ..instructions import sync
from .arguments import as_offsets
from .trace import emit
from .values import MemoryTile, ScalarLike, as_expr, operand


def barrier() -> None:
    """All threads of the block meet."""
    emit(sync.Barrier)


def warp_barrier() -> None:
    """The threads of each warp meet."""
    emit(sync.WarpBarrier)


def fence(scope: str = "gpu") -> None:
    """Orders memory accesses before and after, for threads of `scope`."""
    emit(sync.Fence, scope=scope)


def fence_proxy_async() -> None:
    """Lets the asynchronous proxy see what ordinary stores wrote to shared memory."""
    emit(sync.FenceProxyAsync)


def lock(semaphore: MemoryTile, offsets: Sequence[ScalarLike], value: ScalarLike) -> None:
    """Waits until the semaphore equals `value`."""
    offset = as_offsets(offsets)
    emit(sync.Lock, semaphore=operand(semaphore), offsets=offset, value=as_expr(value))


def release(semaphore: MemoryTile, offsets: Sequence[ScalarLike], value: ScalarLike) -> None:
    """Sets the semaphore after everything the block wrote."""
    offset = as_offsets(offsets)
    emit(sync.Release, semaphore=operand(semaphore), offsets=offset, value=as_expr(value))


# A call outside a kernel has no `Kernel.trace` around it that cuts our frames off the traceback.
for _name, _function in list(globals().items()):
    if isfunction(_function) and _function.__module__ == __name__ and not _name.startswith("_"):
        globals()[_name] = user_errors()(_function)
