"""Lowering of copies by the copy engine."""

from __future__ import annotations

from tileloom.vm.expr import Expr
from tileloom.vm.instruction import Instruction, Operand
from tileloom.vm.instructions.bulk import UNIT, BulkCommit, BulkWait, CopyBulk, Prefetch, StoreBulk
from tileloom.vm.ir import Value

from ..emit.caching import cache_policy
from ..emit.context import Context, GlobalBinding, LoweringError
from ..ptx import Address, RegisterKind
from ..ptx import Operand as PtxOperand
from .mbarrier import barrier_address, one_thread, require_hopper
from .memory import memory_binding
from .registry import lowering
from .scalars import scalar_access


def run_address(
    context: Context, instruction: Instruction, operand: Operand, offsets: tuple[Expr, ...]
) -> Address:
    """Where a run starts: at a multiple of 16 bytes.

    Raises:
        LoweringError: that can't be proven.
    """
    binding = memory_binding(context, operand)
    access, address = scalar_access(context, operand, offsets, checked=False)
    element = access.elements[0]
    known = access.alignment(element.key) if access.byte_aligned else 1  # type: ignore[arg-type]
    fixed = element.bit // 8 + (0 if isinstance(binding, GlobalBinding) else binding.offset)
    if known % UNIT or fixed % UNIT:
        assert isinstance(operand, Value)
        raise LoweringError(
            f"`{instruction.name}`: the run in `{operand.label}` may start at no multiple of "
            f"{UNIT} bytes",
            instruction.location,
            hint="`assume` what divides run-time offsets and strides, and give the view its "
            "`alignment`",
        )
    return address


def policy_operands(context: Context, cache: str) -> tuple[str, tuple[PtxOperand, ...]]:
    """The modifier and operand of a hint for the L2."""
    if not cache:
        return "", ()
    return ".L2::cache_hint", (cache_policy(context, cache),)


def mask_operands(context: Context, ranks: Operand | None) -> tuple[str, tuple[PtxOperand, ...]]:
    """The modifier and operand of a mask of blocks."""
    if ranks is None or context.cluster_size == 1:
        return "", ()
    assert not isinstance(ranks, Value)
    mask = context.scalars.register(context.scalars.integer(ranks))
    narrow = context.builder.compute("cvt.u16.u32", RegisterKind.B16, mask)
    return ".multicast::cluster", (narrow,)


@lowering(CopyBulk)
def lower_copy_bulk(context: Context, instruction: CopyBulk) -> None:
    require_hopper(context, instruction)
    target, offsets = instruction.target, instruction.target_offsets
    into = run_address(context, instruction, target, offsets)
    source = run_address(context, instruction, instruction.source, instruction.source_offsets)
    barrier = barrier_address(context, instruction.barrier, instruction.index)
    cast, mask = mask_operands(context, instruction.ranks)
    hint, policy = policy_operands(context, instruction.cache)
    opcode = f"cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes{cast}{hint}"
    size = _num_bytes(context, instruction.target, instruction.count)
    operands = (into, source, size, barrier, *mask, *policy)
    context.builder.emit(opcode, (), operands, one_thread(context))


def _num_bytes(context: Context, operand: Operand, count: int) -> int:
    return count * memory_binding(context, operand).dtype.bits // 8


@lowering(StoreBulk)
def lower_store_bulk(context: Context, instruction: StoreBulk) -> None:
    require_hopper(context, instruction)
    into = run_address(context, instruction, instruction.target, instruction.target_offsets)
    source = run_address(context, instruction, instruction.source, instruction.source_offsets)
    hint, policy = policy_operands(context, instruction.cache)
    opcode = f"cp.async.bulk.global.shared::cta.bulk_group{hint}"
    size = _num_bytes(context, instruction.target, instruction.count)
    context.builder.emit(opcode, (), (into, source, size, *policy), one_thread(context))


@lowering(Prefetch)
def lower_prefetch(context: Context, instruction: Prefetch) -> None:
    if not context.target.has("tma"):
        return
    source = run_address(context, instruction, instruction.source, instruction.offsets)
    hint, policy = policy_operands(context, instruction.cache)
    opcode = f"cp.async.bulk.prefetch.L2.global{hint}"
    size = _num_bytes(context, instruction.source, instruction.count)
    context.builder.emit(opcode, (), (source, size, *policy), one_thread(context))


@lowering(BulkCommit)
def lower_bulk_commit(context: Context, instruction: BulkCommit) -> None:
    require_hopper(context, instruction)
    context.builder.emit("cp.async.bulk.commit_group", (), (), one_thread(context))


@lowering(BulkWait)
def lower_bulk_wait(context: Context, instruction: BulkWait) -> None:
    require_hopper(context, instruction)
    opcode = f"cp.async.bulk.wait_group{'.read' if instruction.read else ''}"
    context.builder.emit(opcode, (), (instruction.pending,), one_thread(context))
