"""Lowering of barriers that count arrivals and bytes."""

from __future__ import annotations

from math import prod

from tileloom.vm.diagnostics import TargetError
from tileloom.vm.expr import Expr
from tileloom.vm.instruction import Instruction, Operand
from tileloom.vm.instructions.mbarrier import (
    AllocMbarrier,
    MbarrierArrive,
    MbarrierExpect,
    MbarrierTest,
    MbarrierWait,
)
from tileloom.vm.ir import Value
from tileloom.vm.types import BarrierType

from ..emit.context import Context
from ..emit.linear import Linear
from ..ptx import Address, Register, RegisterKind, Symbol
from ..ptx import Operand as PtxOperand
from .registry import lowering
from .sync import first_thread

PRED, B32 = RegisterKind.PRED, RegisterKind.B32
BARRIER_BYTES = 8
_SINK = Symbol("_")


def require_hopper(context: Context, instruction: Instruction) -> None:
    """Raises TargetError where the target has no bulk copies and counting barriers."""
    if not context.target.has("tma"):
        raise TargetError(
            f"`{instruction.name}` doesn't exist on `{context.target.name}`",
            instruction.location,
            hint="it needs sm_90a",
        )


def barrier_address(
    context: Context, operand: Operand, index: tuple[Expr, ...], rank: Operand | None = None
) -> Address:
    """A barrier as an address in the block's shared memory, or, with a rank, the cluster's."""
    assert isinstance(operand, Value) and isinstance(operand.type, BarrierType)
    place, extents = Linear({}, 0), operand.type.shape
    for number, expr in enumerate(index):
        place = place + context.scalars.integer(expr) * prod(extents[number + 1 :])
    place = place * BARRIER_BYTES + context.shared_plan.offsets[operand]
    base = context.shared_base()
    if rank is not None and context.cluster_size > 1:
        assert not isinstance(rank, Value)
        number_of = context.scalars.register(context.scalars.integer(rank))
        base = context.builder.pure("mapa.shared::cluster.u32", B32, base, number_of)
    register = context.scalars.in_register(Linear.of(base) + place.without_const())
    return Address(register, place.const)


def _scope(context: Context, barrier: Operand) -> str:
    """Who may have arrived at a barrier. To acquire from the cluster is to drop the L1 cache."""
    remote = context.cluster_size > 1 and barrier in context.remote_barriers
    return "cluster" if remote else "cta"


@lowering(AllocMbarrier)
def lower_alloc_mbarrier(context: Context, instruction: AllocMbarrier) -> None:
    require_hopper(context, instruction)
    result = instruction.result
    assert result is not None and isinstance(result.type, BarrierType)
    builder, first = context.builder, first_thread(context)
    offset, base = context.shared_plan.offsets[result], context.shared_base()
    for number in range(prod(result.type.shape)):
        address = Address(base, offset + BARRIER_BYTES * number)
        builder.emit("mbarrier.init.shared::cta.b64", (), (address, instruction.count), first)
    # Barriers that are made together are told of together.
    if not isinstance(_next(context, instruction), AllocMbarrier):
        # To the other blocks of a cluster and to copy engines they must be seen as initialised.
        builder.emit("fence.mbarrier_init.release.cluster", (), (), first)
        context.barrier()


def _next(context: Context, instruction: AllocMbarrier) -> object:
    """What follows in the function's outermost block, where barriers are made."""
    statements = iter(context.function.body)
    for statement in statements:
        if statement is instruction:
            return next(statements, None)
    return None


@lowering(MbarrierArrive)
def lower_arrive(context: Context, instruction: MbarrierArrive) -> None:
    require_hopper(context, instruction)
    builder = context.builder
    address = barrier_address(context, instruction.barrier, instruction.index, instruction.rank)
    predicate = None
    if instruction.per == "warp" and context.num_threads > 1:
        lane = context.builder.pure("and.b32", B32, context.thread(), 31)
        predicate = builder.pure("setp.eq.s32", PRED, lane, 0)
        builder.emit("bar.warp.sync", (), (0xFFFFFFFF,))
    operands: tuple[PtxOperand, ...] = (address,)
    if instruction.count > 1:
        operands = (address, instruction.count)
    opcode = f"mbarrier.arrive.release{_space(context, instruction.rank)}"
    builder.emit(opcode, (_SINK,), operands, predicate)


def _space(context: Context, rank: Operand | None) -> str:
    """Scope and space of an arrival. At a barrier of one's own block only its threads wait: a
    release to the cluster, a fence that takes hundreds of cycles, is for others' barriers."""
    space = "cta" if rank is None or context.cluster_size == 1 else "cluster"
    return f".{space}.shared::{space}.b64"


@lowering(MbarrierExpect)
def lower_expect(context: Context, instruction: MbarrierExpect) -> None:
    require_hopper(context, instruction)
    address = barrier_address(context, instruction.barrier, instruction.index, instruction.rank)
    num_bytes = context.scalars.narrow(context.scalars.integer(instruction.num_bytes))
    opcode = f"mbarrier.arrive.expect_tx.release{_space(context, instruction.rank)}"
    context.builder.emit(opcode, (_SINK,), (address, num_bytes), one_thread(context))


def one_thread(context: Context) -> Register | None:
    """The guard of what one thread does for its group."""
    return first_thread(context) if context.num_threads > 1 else None


def _question(
    context: Context, instruction: MbarrierWait | MbarrierTest
) -> tuple[Address, PtxOperand]:
    require_hopper(context, instruction)
    address = barrier_address(context, instruction.barrier, instruction.index)
    parity = context.scalars.modulo(context.scalars.integer(instruction.phase), 2)
    return address, context.scalars.narrow(parity)


@lowering(MbarrierWait)
def lower_wait(context: Context, instruction: MbarrierWait) -> None:
    builder = context.builder
    question = _question(context, instruction)
    again, over = builder.fresh_label("wait"), builder.storage(PRED)
    builder.place(again)
    scope = _scope(context, instruction.barrier)
    opcode = f"mbarrier.try_wait.parity.acquire.{scope}.shared::cta.b64"
    builder.emit(opcode, (over,), question)
    builder.branch(again, over, negated=True)


@lowering(MbarrierTest)
def lower_test(context: Context, instruction: MbarrierTest) -> None:
    builder, result = context.builder, instruction.result
    assert result is not None
    question = _question(context, instruction)
    over = builder.once(PRED)
    scope = _scope(context, instruction.barrier)
    opcode = f"mbarrier.test_wait.parity.acquire.{scope}.shared::cta.b64"
    builder.emit(opcode, (over,), question)
    if context.num_threads > 1:
        agreed = builder.once(PRED)
        builder.emit("vote.sync.all.pred", (agreed,), (over, 0xFFFFFFFF))
        over = agreed
    context.bind_scalar(result, over)
