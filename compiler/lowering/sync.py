"""Lowering of barriers, fences and semaphores."""

from __future__ import annotations

from tileloom.vm.diagnostics import TargetError
from tileloom.vm.instructions.sync import (
    Barrier,
    Fence,
    FenceProxyAsync,
    Lock,
    Release,
    WarpBarrier,
)

from ..emit.context import Context
from ..emit.linear import Linear
from ..ptx import Register, RegisterKind
from .registry import lowering
from .scalars import scalar_access

PRED, B32 = RegisterKind.PRED, RegisterKind.B32
_SCOPES = {"block": "cta", "gpu": "gpu", "system": "sys"}


@lowering(Barrier)
def lower_barrier(context: Context, instruction: Barrier) -> None:
    context.barrier()


@lowering(WarpBarrier)
def lower_warp_barrier(context: Context, instruction: WarpBarrier) -> None:
    context.builder.emit("bar.warp.sync", (), (0xFFFFFFFF,))


@lowering(Fence)
def lower_fence(context: Context, instruction: Fence) -> None:
    context.builder.emit(f"fence.acq_rel.{_SCOPES[instruction.scope]}")


@lowering(FenceProxyAsync)
def lower_fence_proxy_async(context: Context, instruction: FenceProxyAsync) -> None:
    if not context.target.has("fence.proxy.async"):
        raise TargetError(
            f"`{context.target.name}` has no asynchronous proxy",
            instruction.location,
            hint="proxy fences need sm_90a",
        )
    context.builder.emit("fence.proxy.async.shared::cta")


def first_thread(context: Context) -> Register:
    """True in thread 0."""
    return context.builder.pure("setp.eq.s32", PRED, context.thread(), 0)


@lowering(Lock)
def lower_lock(context: Context, instruction: Lock) -> None:
    builder = context.builder
    _, address = scalar_access(context, instruction.semaphore, instruction.offsets)
    wanted = context.scalars.narrow(context.scalars.integer(instruction.value))
    first_warp = context.scalars.compare("<", Linear.of(context.thread()), Linear({}, 32))
    # The whole first warp spins together: `bar.sync` below wants whole warps.
    with context.guarded(first_warp):
        spin = builder.fresh_label("lock")
        seen, differs, again = builder.storage(), builder.storage(PRED), builder.storage(PRED)
        builder.place(spin)
        builder.emit("ld.acquire.gpu.global.b32", (seen,), (address,))
        builder.emit("setp.ne.s32", (differs,), (seen, wanted))
        builder.emit("vote.sync.any.pred", (again,), (differs, 0xFFFFFFFF))
        builder.branch(spin, again)
    context.barrier()


@lowering(Release)
def lower_release(context: Context, instruction: Release) -> None:
    builder = context.builder
    _, address = scalar_access(context, instruction.semaphore, instruction.offsets)
    value = context.scalars.narrow_register(context.scalars.integer(instruction.value))
    first = first_thread(context)
    context.barrier()
    with context.guarded(first):
        builder.emit("fence.acq_rel.gpu")
        builder.emit("st.release.gpu.global.b32", (), (address, value))
