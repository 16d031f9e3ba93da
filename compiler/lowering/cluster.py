"""Lowering of cluster barriers and of access to other blocks' shared memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from tileloom.vm.expr import Expr
from tileloom.vm.instruction import Effect, Instruction
from tileloom.vm.instructions.cluster import ClusterBarrier, LoadRemote, StoreRemote
from tileloom.vm.instructions.memory import GlobalView, Store
from tileloom.vm.ir import Function, Value, instructions
from tileloom.vm.types import GlobalType, RegType

from ..emit.context import Context, SharedBinding
from ..ptx import RegisterKind
from .memory import (
    check_whole_bytes,
    load_tile,
    memory_binding,
    store_words,
    tile_access,
)
from .registry import lowering


@lowering(ClusterBarrier)
def lower_cluster_barrier(context: Context, instruction: ClusterBarrier) -> None:
    builder = context.builder
    if prod(context.function.cluster_extents) == 1:
        context.barrier()
        return
    arrive = "release"
    if _publishes_own_memory_only(context.function, instruction):
        # A release of everything waits for the whole GPU's memory; this one for the block's own.
        builder.emit("fence.release.sync_restrict::shared::cta.cluster")
        arrive = "relaxed"
    elif _ends_reads(context.function, instruction):
        # Nobody waits for what was written: the reads are done, for their sums were stored.
        arrive = "relaxed"
    builder.emit(f"barrier.cluster.arrive.{arrive}.aligned")
    builder.emit("barrier.cluster.wait.acquire.aligned")


def _publishes_own_memory_only(function: Function, barrier: ClusterBarrier) -> bool:
    """Whether nothing but the block's own shared memory can have been accessed before a barrier
    in a way that matters after it."""
    if any(True for _ in _views_updated(function)):
        return False
    order = list(instructions(function.body))
    before = order[: order.index(barrier)] if barrier in function.body else order
    return not any(_reaches_out(instruction) for instruction in before)


def _ends_reads(function: Function, barrier: ClusterBarrier) -> bool:
    """Whether a barrier is the last instruction, and all it has to end are reads of other blocks'
    memory whose values were stored before: a thread that has stored them has them."""
    body = function.body
    if not body or body[-1] is not barrier:
        return False
    order = list(instructions(body))
    if any(isinstance(instruction, StoreRemote) for instruction in order):
        return False
    # What still waits for each value: the reads it is made of.
    made_of: dict[Value, set[Value]] = {}
    waiting: set[Value] = set()
    for instruction in order:
        if not waiting and not isinstance(instruction, LoadRemote):
            continue  # nothing is made of a read that is still waited for
        operands = {o for o in instruction.operands() if isinstance(o, Value)}
        reads = set().union(*(made_of.get(o, set()) for o in operands))
        result = instruction.result
        if isinstance(instruction, LoadRemote):
            assert result is not None
            waiting.add(result)
            made_of[result] = {result}
        elif isinstance(instruction, Store) and instruction in body:
            assert isinstance(instruction.value, Value)
            waiting -= made_of.get(instruction.value, set())
        elif result is not None and _is_whole(instruction, reads):
            made_of[result] = reads
    return not waiting


def _is_whole(instruction: Instruction, reads: set[Value]) -> bool:
    """Whether every element of the values read goes into the result, which is a value anew."""
    result = instruction.result
    assert result is not None
    if not isinstance(result.type, RegType):
        return False
    size = prod(result.type.shape)
    return all(isinstance(r.type, RegType) and prod(r.type.shape) == size for r in reads)


def _reaches_out(instruction: Instruction) -> bool:
    """Whether an instruction touches another block's memory, or writes global memory."""
    if isinstance(instruction, LoadRemote | StoreRemote):
        return True
    if instruction.effect is Effect.NONE or not instruction.effect & Effect.WRITES_MEMORY:
        return False
    target = getattr(instruction, "target", None)
    operands = [target] if target is not None else instruction.operands()
    return any(isinstance(o, Value) and isinstance(o.type, GlobalType) for o in operands)


def _views_updated(function: Function) -> Iterator[Value]:
    """The pointers whose memory is both read and written."""
    pointers: dict[Value, Value] = {}
    read: set[Value] = set()
    written: set[Value] = set()
    for instruction in instructions(function.body):
        if isinstance(instruction, GlobalView):
            assert instruction.result is not None and isinstance(instruction.pointer, Value)
            pointers[instruction.result] = instruction.pointer
            continue
        target = getattr(instruction, "target", None)
        for operand in instruction.operands():
            if isinstance(operand, Value) and operand in pointers:
                writes = bool(instruction.effect & Effect.WRITES_MEMORY)
                is_written = writes and (target is None or operand is target)
                (written if is_written else read).add(pointers[operand])
    yield from read & written


def _remote(context: Context, operand: Value | Expr, rank: Expr) -> SharedBinding:
    """The tile of an operand in the block of a rank."""
    binding = memory_binding(context, operand)
    assert isinstance(binding, SharedBinding)
    if prod(context.function.cluster_extents) == 1:
        return binding
    number = context.scalars.register(context.scalars.integer(rank))
    opcode = "mapa.shared::cluster.u32"
    base = context.builder.pure(opcode, RegisterKind.B32, context.shared_base(), number)
    return replace(binding, base=base)


@lowering(LoadRemote)
def lower_load_remote(context: Context, instruction: LoadRemote) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    binding = _remote(context, instruction.source, instruction.rank)
    access = tile_access(context, binding, instruction, result.type)
    context.bind(result, load_tile(access, result.type, f"ld.{access.space}"))


@lowering(StoreRemote)
def lower_store_remote(context: Context, instruction: StoreRemote) -> None:
    tile = context.tile(instruction.value)
    binding = _remote(context, instruction.target, instruction.rank)
    access = tile_access(context, binding, instruction, tile.type)
    check_whole_bytes(access, tile, instruction)
    store_words(access, tile)
