"""Lowering of the lives of shared tiles."""

from __future__ import annotations

from tileloom.layouts import row_major
from tileloom.vm.instructions.memory import AllocShared, FreeShared
from tileloom.vm.types import SharedType

from ..emit.context import Context, SharedBinding
from .registry import lowering


@lowering(AllocShared)
def lower_alloc_shared(context: Context, instruction: AllocShared) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, SharedType)
    layout = result.type.layout or row_major(result.type.shape)
    offset = context.shared_plan.offsets[result]
    if result in context.shared_plan.reusing:
        if context.uses_engine:
            # The copy engine may write where others have written by ordinary means.
            context.builder.emit("fence.proxy.async.shared::cta")
        context.barrier()
    context.shared[result] = SharedBinding(offset, result.type.dtype, layout)


@lowering(FreeShared)
def lower_free_shared(context: Context, instruction: FreeShared) -> None:
    """Memory is planned before lowering; nothing happens at run time."""
