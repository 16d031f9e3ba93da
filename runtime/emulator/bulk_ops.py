"""The opcodes of bulk copies: runs of bytes, and groups of stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from .access import link_address
from .clusters import OFFSET_MASK
from .cohort import Cohort, FaultError
from .engine import Bytes
from .mbarrier_ops import barrier_keys
from .opcode import Custom, Form, Mods, OpcodeError
from .step import Step, lane_mask
from .syntax import Int, Operand
from .types import B16, U32, U64, Array

if TYPE_CHECKING:
    from .linker import Linker
    from .syntax import Instruction

_UNIT = 16
Read = Callable[[Cohort], Array]


def bulk(mods: Mods) -> Form:
    """`cp.async.bulk` and what belongs to it."""
    mods.flag("bulk")
    if mods.flag("commit_group"):
        return Custom(_build_commit)
    if mods.flag("wait_group"):
        only_read = mods.flag("read")
        return Custom(lambda instruction, linker: _build_wait(instruction, only_read))
    if mods.flag("prefetch"):
        return _prefetch(mods)
    if "tensor" in mods.parts:
        return tensor_form()(mods)
    spaces = [part for part in mods.parts if part in ("global", "shared::cta", "shared::cluster")]
    for space in spaces:
        mods.flag(space)
    multicast, hint = mods.flag("multicast::cluster"), mods.flag("L2::cache_hint")
    match spaces:
        case [("shared::cluster" | "shared::cta"), "global"]:
            _needs(mods, "mbarrier::complete_tx::bytes")
            return Custom(lambda i, linker: _build_load(i, linker, multicast, hint))
        case ["global", "shared::cta"] if not multicast:
            _needs(mods, "bulk_group")
            return Custom(lambda i, linker: _build_store(i, linker, hint))
    raise OpcodeError(f"unknown opcode `{mods.text}`")


def tensor_form() -> Callable[[Mods], Form]:
    """The builder of tensor copies, which share the tools below."""
    from .tensor_ops import tensor

    return tensor


def _needs(mods: Mods, flag: str) -> None:
    if not mods.flag(flag):
        raise OpcodeError(f"`{mods.text}` needs .{flag}")


def active_lanes(c: Cohort, instruction: Instruction) -> Iterator[Array]:
    """The lanes that execute an instruction, one by one, each as a mask [n, 32]."""
    guard = instruction.guard
    on = lane_mask(c, None if guard is None else guard.slot, instruction.negated)
    for warp, lane in np.argwhere(c.mask if on is None else on):
        one = np.zeros(c.mask.shape, bool)
        one[warp, lane] = True
        yield one


def take_hints(
    instruction: Instruction, linker: Linker, count: int, multicast: bool, hint: bool
) -> tuple[list[Operand], int | None, tuple[int, ...]]:
    """The first `count` operands, the slot of the mask of ranks, and the registers read behind."""
    operands = list(instruction.operands)
    if len(operands) != count + multicast + hint:
        raise OpcodeError(f"`{instruction.opcode}` has a wrong number of operands")
    reads: tuple[int, ...] = ()
    if hint:
        reads += (linker.source(operands.pop(), U64),)
    mask = linker.source(operands.pop(), B16) if multicast else None
    reads += () if mask is None else (mask,)
    return operands, mask, tuple(slot for slot in reads if not linker.is_constant(slot))


def value_of(c: Cohort, slot: int, one: Array) -> int:
    """A register's value in one lane."""
    return int(np.broadcast_to(c.regs[slot], c.mask.shape)[one][0])


def destinations(
    c: Cohort, one: Array, address: Read, barrier: Read, ranks: int | None
) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """(slot, offset, barrier) of each block that a load of one lane goes to.

    Raises:
        FaultError: the barrier lies in another block, or a rank is in no block.
    """
    clusters = c.machine.clusters
    slot = int(c.slots[one.any(1)][0, 0])
    place = address(c)[one]
    owner = int(clusters.owners(c, np.array([slot]), place)[0])
    offset = int(place[0]) & OFFSET_MASK
    ((key, _),) = barrier_keys(c, barrier(c), one, True)
    if ranks is None:
        if key[0] != owner:
            raise FaultError("the mbarrier of a copy lies in another block than its destination")
        yield owner, offset, key
        return
    if not 0 < ranks < 1 << clusters.size:
        raise FaultError(f"mask {ranks:#b} names no blocks of a cluster of {clusters.size}")
    first = slot - slot % clusters.size
    for rank in range(clusters.size):
        if ranks >> rank & 1:
            yield first + rank, offset, (first + rank, key[1])


def own_place(c: Cohort, one: Array, address: Read) -> tuple[int, int]:
    """(slot, offset) of a place in the own block's shared memory."""
    slot = c.slots[one.any(1)][0]
    return int(slot[0]), int(c.machine.clusters.own(slot, address(c)[one])[0])


def shared_run(c: Cohort, slot: int, offset: int, size: int) -> Array:
    """The bytes of a run in the shared memory of a block.

    Raises:
        FaultError: it leaves the memory, or starts at no multiple of 16.
    """
    memory = c.machine.memory
    if offset % _UNIT or offset + size > memory.shared_size:
        raise FaultError(
            f"{size} bytes at shared address {offset}: no multiple of {_UNIT}, or out of bounds"
        )
    return np.arange(size) + (offset + slot * memory.shared_stride)


def _check_size(size: int) -> None:
    if size <= 0 or size % _UNIT:
        raise FaultError(f"a bulk copy of {size} bytes: no positive multiple of {_UNIT}")


def _global_run(c: Cohort, address: int, size: int, writes: bool) -> Bytes:
    if address % _UNIT:
        raise FaultError(f"global address {address:#x} is no multiple of {_UNIT}")
    storage, start = c.machine.memory.span(address, size, writes)
    return Bytes(storage, np.arange(start, start + size))


def _build_load(instruction: Instruction, linker: Linker, multicast: bool, hint: bool) -> Step:
    operands, mask, used = take_hints(instruction, linker, 4, multicast, hint)
    into, reads_into = link_address(operands[0], linker)
    source, reads_source = link_address(operands[1], linker)
    size_slot = linker.source(operands[2], U32)
    barrier, reads_barrier = link_address(operands[3], linker)
    line = instruction.line

    def run(c: Cohort) -> None:
        for one in active_lanes(c, instruction):
            size = value_of(c, size_slot, one)
            _check_size(size)
            data = _global_run(c, int(source(c)[one][0]), size, False)
            ranks = None if mask is None else value_of(c, mask, one)
            for slot, offset, key in destinations(c, one, into, barrier, ranks):
                c.machine.engine.load(c, one, line, shared_run(c, slot, offset, size), data, key)

    reads = (*reads_into, *reads_source, *reads_barrier, *used)
    if not linker.is_constant(size_slot):
        reads = (*reads, size_slot)
    linker.note_access("shared", 4)
    return Step(run, reads, (), strict=True)


def _prefetch(mods: Mods) -> Form:
    """`cp.async.bulk.prefetch`: a hint for the cache, whose run must be one."""
    _needs(mods, "L2")
    _needs(mods, "global")
    hint = mods.flag("L2::cache_hint")
    return Custom(lambda instruction, linker: _build_prefetch(instruction, linker, hint))


def _build_prefetch(instruction: Instruction, linker: Linker, hint: bool) -> Step:
    operands, _, used = take_hints(instruction, linker, 2, False, hint)
    source, reads = link_address(operands[0], linker)
    size_slot = linker.source(operands[1], U32)

    def run(c: Cohort) -> None:
        for one in active_lanes(c, instruction):
            size = value_of(c, size_slot, one)
            _check_size(size)
            _global_run(c, int(source(c)[one][0]), size, False)

    if not linker.is_constant(size_slot):
        used = (*used, size_slot)
    return Step(run, (*reads, *used), (), strict=True)


def _build_store(instruction: Instruction, linker: Linker, hint: bool) -> Step:
    operands, _, used = take_hints(instruction, linker, 3, False, hint)
    into, reads_into = link_address(operands[0], linker)
    source, reads_source = link_address(operands[1], linker)
    size_slot = linker.source(operands[2], U32)
    line = instruction.line

    def run(c: Cohort) -> None:
        for one in active_lanes(c, instruction):
            size = value_of(c, size_slot, one)
            _check_size(size)
            slot, offset = own_place(c, one, source)
            places = shared_run(c, slot, offset, size)
            target = _global_run(c, int(into(c)[one][0]), size, True)
            c.machine.engine.store(c, one, line, places, target)

    reads = (*reads_into, *reads_source, *used)
    if not linker.is_constant(size_slot):
        reads = (*reads, size_slot)
    return Step(run, reads, (), strict=True)


def _threads(c: Cohort, instruction: Instruction) -> Iterator[tuple[int, int]]:
    for one in active_lanes(c, instruction):
        warp, lane = np.argwhere(one)[0]
        yield int(c.rows[warp]), int(lane)


def _build_commit(instruction: Instruction, linker: Linker) -> Step:
    def run(c: Cohort) -> None:
        for row, lane in _threads(c, instruction):
            c.machine.engine.commit(row, lane)

    return Step(run, (), (), strict=True)


def _build_wait(instruction: Instruction, only_read: bool) -> Step:
    if len(instruction.operands) != 1 or not isinstance(instruction.operands[0], Int):
        raise OpcodeError("`cp.async.bulk.wait_group` takes a constant")
    pending = instruction.operands[0].value

    def run(c: Cohort) -> None:
        for row, lane in _threads(c, instruction):
            c.machine.engine.wait(row, lane, pending, only_read)

    return Step(run, (), (), strict=True)
