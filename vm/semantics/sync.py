"""Barriers, fences and semaphores. Memory is sequentially consistent here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..diagnostics import ExecutionError
from ..expr import Expr
from ..instruction import Operand
from ..instructions.sync import Barrier, Fence, FenceProxyAsync, Lock, Release, WarpBarrier
from ..interpreter.boxes import Box, place
from ..interpreter.group import Blocked
from ..interpreter.memory import GlobalTensor
from ..interpreter.scalars import normalize
from .registry import semantics
from .values import from_numbers

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(Barrier)
def barrier(group: ThreadGroup, instruction: Barrier) -> None:
    group.meet()


@semantics(WarpBarrier)
def warp_barrier(group: ThreadGroup, instruction: WarpBarrier) -> None:
    group.meet_in_warps()


@semantics(Fence)
def fence(group: ThreadGroup, instruction: Fence) -> None:
    """Nothing to do: every access is already in order."""


@semantics(FenceProxyAsync)
def fence_proxy_async(group: ThreadGroup, instruction: FenceProxyAsync) -> None:
    for tile in group.shared:
        tile.fence_proxy()


def one_element(
    group: ThreadGroup, operand: Operand, offsets: tuple[Expr, ...]
) -> tuple[GlobalTensor, Box]:
    """A single element of global memory, which must be inside the tensor."""
    tensor = group.memory(operand)
    assert isinstance(tensor, GlobalTensor)
    at = group.indices(offsets)
    box = place(at, tensor.shape, (), None)
    if box.empty:
        raise ExecutionError(
            f"index {list(at)} is outside `%{tensor.name}` of shape {list(tensor.shape)}"
        )
    return tensor, box


@semantics(Lock)
def lock(group: ThreadGroup, instruction: Lock) -> Blocked | None:
    tensor, box = one_element(group, instruction.semaphore, instruction.offsets)
    wanted = normalize(tensor.dtype, group.scalar(instruction.value))
    if int(tensor.read(box)[()]) == wanted:
        group.meet()
        return None
    reason = f"waits for `%{tensor.name}`{list(box.start)} to become {wanted}"
    return Blocked(reason, instruction.location, lambda: int(tensor.read(box)[()]) == wanted)


@semantics(Release)
def release(group: ThreadGroup, instruction: Release) -> None:
    tensor, box = one_element(group, instruction.semaphore, instruction.offsets)
    value = np.asarray(normalize(tensor.dtype, group.scalar(instruction.value)))
    group.meet()
    tensor.write(box, from_numbers(tensor.dtype, value))
    group.world.writes += 1
