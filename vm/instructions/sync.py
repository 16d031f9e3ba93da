"""Barriers, fences and semaphores."""

from __future__ import annotations

from ..instruction import Effect, Indices, Instruction, Operand, Scalar, instruction
from ..types import GlobalType, Type
from .checks import count_indices, expect_scalar, fail, memory


@instruction
class Barrier(Instruction, name="barrier", effect=Effect.SYNCHRONIZES, result=False):
    """All threads of the block meet; what each wrote before is visible to the others after.

    In a group of threads, those of the group meet.
    """

    def result_type(self, annotation: Type | None) -> None:
        return None


@instruction
class WarpBarrier(Instruction, name="warp_barrier", effect=Effect.SYNCHRONIZES, result=False):
    """The threads of each warp meet; what each wrote before is visible to its warp after.

    It costs next to nothing beside a `barrier`, and orders nothing between warps.
    """

    def result_type(self, annotation: Type | None) -> None:
        return None


@instruction
class Fence(Instruction, name="fence", effect=Effect.SYNCHRONIZES, result=False):
    """Orders this thread's memory accesses before and after, for threads of the whole `scope`."""

    scope: str = "gpu"

    def result_type(self, annotation: Type | None) -> None:
        if self.scope not in ("block", "gpu", "system"):
            fail(self, f"unknown scope `{self.scope}`", hint="block, gpu or system")


@instruction
class FenceProxyAsync(
    Instruction, name="fence_proxy_async", effect=Effect.SYNCHRONIZES, result=False
):
    """Lets the asynchronous proxy see what ordinary stores wrote to shared memory.

    Tensor cores that read shared operands (`wgmma`), bulk and tensor copies reach shared memory by
    a way of their own. Whatever else wrote what they read (`store`, `store_matrix`, atomics,
    `copy_async` once it has landed) needs this fence in between: each writing thread executes it,
    then a `barrier` lets the reader go on.
    """

    def result_type(self, annotation: Type | None) -> None:
        return None


def _semaphore(instruction: Instruction, operand: Operand, offsets: Indices) -> None:
    view = memory(instruction, operand)
    if not isinstance(view, GlobalType) or view.dtype.name not in ("i32", "u32"):
        fail(instruction, "a semaphore is an i32 or u32 in global memory", operand)
    count_indices(instruction, offsets, view.rank)


@instruction
class Lock(
    Instruction,
    name="lock",
    effect=Effect.READS_MEMORY | Effect.SYNCHRONIZES,
    result=False,
):
    """The block waits until the semaphore equals `value`; what was written before its release is
    visible afterwards (acquire)."""

    semaphore: Operand
    offsets: Indices
    value: Scalar

    def result_type(self, annotation: Type | None) -> None:
        _semaphore(self, self.semaphore, self.offsets)
        expect_scalar(self, self.value, "int", "the value")


@instruction
class Release(
    Instruction,
    name="release",
    effect=Effect.WRITES_MEMORY | Effect.SYNCHRONIZES,
    result=False,
):
    """All threads of the block meet, then the semaphore is set to `value` (release)."""

    semaphore: Operand
    offsets: Indices
    value: Scalar

    def result_type(self, annotation: Type | None) -> None:
        _semaphore(self, self.semaphore, self.offsets)
        expect_scalar(self, self.value, "int", "the value")
