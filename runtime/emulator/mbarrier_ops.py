"""The opcodes of `mbarrier`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from .access import Address, link_address
from .clusters import OFFSET_MASK
from .cohort import Cohort, FaultError
from .linker import expect
from .mbarriers import SIZE, Key, Waiter
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .step import Step, lane_mask
from .storage import Access
from .syntax import Int, Operand, Sink
from .types import PRED, U32, U64, Array

if TYPE_CHECKING:
    from .linker import Linker
    from .syntax import Instruction

_BYTES = Access(SIZE, 1)


@opcode("mbarrier")
def mbarrier(mods: Mods) -> Form:
    action = mods.choice("init", "inval", "arrive", "test_wait", "try_wait", "expect_tx")
    if action == "expect_tx" or (action == "arrive" and "expect_tx" in mods.parts):
        mods.flag("expect_tx")
        action = "arrive.expect_tx" if action == "arrive" else action
    parity = mods.flag("parity")
    mods.flags("release", "acquire", "relaxed", "cta", "cluster")
    space = mods.choice("shared::cta", "shared::cluster", "shared")
    mods.type("b64")
    in_cluster = space == "shared::cluster"
    if in_cluster and not action.startswith("arrive"):
        raise OpcodeError(f"`{mods.text}`: only arrivals reach other blocks")
    builders: dict[str, Callable[[Instruction, Linker], Step]] = {
        "init": _build_init,
        "inval": _build_inval,
        "expect_tx": lambda i, linker: _build_arrive(i, linker, in_cluster, False, True),
        "arrive": lambda i, linker: _build_arrive(i, linker, in_cluster, True, False),
        "arrive.expect_tx": lambda i, linker: _build_arrive(i, linker, in_cluster, True, True),
        "test_wait": lambda i, linker: _build_wait(i, linker, parity, True),
        "try_wait": lambda i, linker: _build_wait(i, linker, parity, False),
    }
    return Custom(builders[action])


def _guard(instruction: Instruction) -> tuple[int | None, bool]:
    guard = instruction.guard
    return (None if guard is None else guard.slot), instruction.negated


def barrier_keys(
    c: Cohort, address: Array, lanes: Array, in_cluster: bool
) -> Iterator[tuple[Key, Array]]:
    """The barriers that `lanes` [n, 32] name, each with those of its lanes.

    Raises:
        FaultError: an address that is out of bounds or not a multiple of 8.
    """
    if not lanes.any():
        return
    slots = np.broadcast_to(c.slots, c.mask.shape)[lanes]
    flat = address[lanes]
    if in_cluster:
        slots = c.machine.clusters.owners(c, slots, flat)
        flat = flat & np.uint64(OFFSET_MASK)
    else:
        flat = c.machine.clusters.own(slots, flat)
    wrong = (flat % np.uint64(SIZE) != 0) | (flat > np.uint64(c.machine.memory.shared_size - SIZE))
    if wrong.any():
        raise FaultError(f"shared address {int(flat[wrong][0])} is no place for an mbarrier")
    pairs = slots.astype(np.uint64) << np.uint64(32) | flat
    for pair in np.unique(pairs):
        chosen = np.zeros_like(lanes)
        chosen[lanes] = pairs == pair
        yield (int(pair) >> 32, int(pair) & 0xFFFFFFFF), chosen


def knowledge(c: Cohort, lanes: Array) -> Array | None:
    """What the warps of some lanes know together."""
    races = c.machine.races
    if races is None:
        return None
    clocks: Array = races.clocks[c.rows[lanes.any(1)]].max(0)
    return clocks


def _least(c: Cohort, lanes: Array) -> Array | None:
    """What each of these warps knows."""
    races = c.machine.races
    if races is None:
        return None
    clocks: Array = races.clocks[c.rows[lanes.any(1)]].min(0)
    return clocks


def _active(c: Cohort, guard: int | None, negated: bool) -> Array:
    on = lane_mask(c, guard, negated)
    return c.mask if on is None else on


def _one(values: Array, lanes: Array, what: str) -> int:
    """The value that all `lanes` share."""
    found = np.broadcast_to(values, lanes.shape)[lanes]
    if (found != found[0]).any():
        raise FaultError(f"{what} differs among the threads that name one mbarrier")
    return int(found[0])


def _build_init(instruction: Instruction, linker: Linker) -> Step:
    expect(instruction, 2)
    address, reads = link_address(instruction.operands[0], linker)
    count = linker.source(instruction.operands[1], U32)
    guard, negated = _guard(instruction)
    line = instruction.line

    def run(c: Cohort) -> None:
        lanes = _active(c, guard, negated)
        machine = c.machine
        for key, some in barrier_keys(c, address(c), lanes, False):
            if some.sum() > 1:
                raise FaultError(f"several threads initialise the mbarrier at {key[1]}")
            made = None
            row = c.rows[some.any(1)]
            if machine.races is not None:
                made = np.zeros_like(machine.races.clocks[0])
                agent = int(row[0]) % machine.races.agents
                made[agent] = machine.races.clocks[int(row[0]), agent]
            machine.mbarriers.init(key, _one(c.regs[count], some, "the count"), made)
            # Its bytes are no data: who reads them computes with undefined values.
            pieces = machine.memory.resolve(c, "shared", address(c)[some], some, _BYTES, True)
            for piece in pieces:
                if machine.races is not None:
                    machine.races.store(c, line, piece.place, _BYTES, some, None)
                piece.storage.shadow(_BYTES)[piece.place] = 0

    used = reads + (() if linker.is_constant(count) else (count,))
    return Step(run, used, (), strict=True)


def _build_inval(instruction: Instruction, linker: Linker) -> Step:
    expect(instruction, 1)
    address, reads = link_address(instruction.operands[0], linker)
    guard, negated = _guard(instruction)

    def run(c: Cohort) -> None:
        for key, _ in barrier_keys(c, address(c), _active(c, guard, negated), False):
            c.machine.mbarriers.invalidate(key)

    return Step(run, reads, (), strict=True)


def _build_arrive(
    instruction: Instruction, linker: Linker, in_cluster: bool, arrives: bool, announces: bool
) -> Step:
    operands = list(instruction.operands)
    out = _state_slot(operands, linker, in_cluster) if arrives else None
    if len(operands) not in ((2,) if announces else (1, 2)):
        raise OpcodeError(f"`{instruction.opcode}` has a wrong number of operands")
    address, reads = link_address(operands[0], linker)
    number = linker.source(operands[1], U32) if len(operands) > 1 else None
    guard, negated = _guard(instruction)

    def run(c: Cohort) -> None:
        lanes = _active(c, guard, negated)
        states = np.zeros(c.mask.shape, np.uint64)
        for key, some in barrier_keys(c, address(c), lanes, in_cluster):
            values = np.ones(int(some.sum()), np.int64)
            if number is not None:
                values = np.broadcast_to(c.regs[number], c.mask.shape)[some].astype(np.int64)
            states[some] = c.machine.mbarriers.get(key, _least(c, some)).phase
            if announces:
                c.machine.mbarriers.expect(key, int(values.sum()))
            if arrives:
                count = len(values) if announces else int(values.sum())
                c.machine.mbarriers.arrive(key, count, knowledge(c, some))
        if arrives and c.machine.races is not None:
            c.machine.races.advance(c.rows[lanes.any(1)])
        if out is not None:
            c.write(out, states, None if lanes is c.mask and c.full else lanes)

    used = reads + (() if number is None or linker.is_constant(number) else (number,))
    return Step(run, used, () if out is None else (out,), strict=True, own=True)


def _state_slot(operands: list[Operand], linker: Linker, in_cluster: bool) -> int | None:
    """The slot of the phase's state, the first operand, if anybody wants it."""
    target = operands.pop(0)
    if isinstance(target, Sink):
        return None
    if in_cluster:
        raise OpcodeError("an arrival in the cluster gives no state: write `_`")
    return linker.dest(target, U64)


def _build_wait(instruction: Instruction, linker: Linker, parity: bool, tests: bool) -> Step:
    operands = list(instruction.operands)
    if len(operands) == 4 and isinstance(operands[3], Int):
        operands.pop()  # a hint how long to wait
    if len(operands) != 3:
        raise OpcodeError(f"`{instruction.opcode}` has a wrong number of operands")
    out = linker.dest(operands[0], PRED)
    address, reads = link_address(operands[1], linker)
    phase = linker.source(operands[2], U32 if parity else U64)
    guard, negated = _guard(instruction)
    line = instruction.line

    def run(c: Cohort) -> None:
        lanes = _active(c, guard, negated)
        over = np.zeros(c.mask.shape, bool)
        phases = np.broadcast_to(c.regs[phase], c.mask.shape)
        if parity and (phases[lanes] > 1).any():
            raise FaultError("a phase's parity is 0 or 1")
        c.stuck = None
        for key, some in barrier_keys(c, address(c), lanes, False):
            looking = _who_may_see(c, key, some) if tests else some
            if looking.any():
                _look(c, line, key, looking, phases, over, parity)
        c.spinning = c.spinning or bool((lanes & ~over).any())
        c.write(out, over, None if lanes is c.mask and c.full else lanes)

    used = reads + (() if linker.is_constant(phase) else (phase,))
    return Step(run, used, (out,), strict=True, own=True)


def _who_may_see(c: Cohort, key: Key, some: Array) -> Array:
    """The lanes that look at once; the others looked just before, and had to see nothing yet.

    Only a phase that nobody has waited for can have ended in between, and not for warps that know
    of all its arrivals.
    """
    machine = c.machine
    barrier = machine.mbarriers.get(key, _least(c, some))
    if machine.random is None or machine.races is None or barrier.told is None:
        return some
    knows: Array = np.all(barrier.told <= machine.races.clocks[c.rows], axis=1)
    if barrier.seen >= barrier.phase or knows.all() or machine.random.random() < 0.5:
        return some
    late = np.array([machine.random.random() < 0.5 for _ in range(32)])
    found: Array = some & (late[None, :] | knows[:, None])
    return found


def _look(
    c: Cohort, line: int, key: Key, some: Array, phases: Array, over: Array, parity: bool
) -> None:
    """Whether the phases of a barrier are over that `some` lanes ask for."""
    machine = c.machine
    barrier = machine.mbarriers.get(key, _least(c, some))
    done = phases % 2 != barrier.phase % 2 if parity else phases < barrier.phase
    over |= done & some
    if (done & some).any():
        barrier.seen = barrier.phase
    passed = (done & some).any(1)
    if passed.any() and machine.races is not None and barrier.told is not None:
        rows = c.rows[passed]
        machine.races.clocks[rows] = np.maximum(machine.races.clocks[rows], barrier.told)
    if (some & ~done).any():
        rows = c.rows[(some & ~done).any(1)]
        c.stuck = Waiter(rows, line, key, machine.mbarriers.changes)


__all__ = ["Address", "barrier_keys", "knowledge", "mbarrier"]
