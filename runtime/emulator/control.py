"""Branches, exits, barriers and fences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .cluster_ops import cluster_barrier
from .cohort import Cohort, FaultError
from .linker import expect
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .step import Control, Step, lane_mask
from .syntax import Int, Symbol
from .types import U32, Array, any_along

if TYPE_CHECKING:
    from .linker import Linker
    from .machine import Machine
    from .syntax import Instruction


@opcode("bra")
def bra(mods: Mods) -> Form:
    mods.flag("uni")
    return Custom(_build_bra)


def _build_bra(instruction: Instruction, linker: Linker) -> Control:
    expect(instruction, 1)
    (target,) = instruction.operands
    if not isinstance(target, Symbol) or target.name not in linker.body.labels:
        raise OpcodeError("a branch needs a label of this function")
    return Control("branch", _run_bra, label=target.name)


def _run_bra(machine: Machine, c: Cohort, lanes: Array, control: Control) -> int:
    return machine.branch(c, lanes, control)


@opcode("ret", "exit")
def exit_(mods: Mods) -> Form:
    mods.flag("uni")
    return Custom(lambda instruction, linker: Control("exit", _run_exit))


def _run_exit(machine: Machine, c: Cohort, lanes: Array, control: Control) -> int:
    return machine.exit_lanes(c, lanes, control)


@opcode("trap", "brkpt")
def trap(mods: Mods) -> Form:
    name = mods.base
    return Custom(lambda instruction, linker: Step(lambda c: _trap(c, instruction, name), (), ()))


def _trap(c: Cohort, instruction: Instruction, name: str) -> None:
    lanes = c.mask
    if instruction.guard is not None:
        guard = c.regs[instruction.guard.slot]
        lanes = lanes & (~guard if instruction.negated else guard)
    if lanes.any():
        raise FaultError(f"`{name}` was executed in {c.lane_name(lanes)}")


# ---- barriers


@opcode("bar", "barrier")
def bar(mods: Mods) -> Form:
    if mods.flag("warp"):
        mods.flags("sync")
        return Custom(_build_warp_sync)
    if mods.flag("cluster"):
        return cluster_barrier(mods)
    mods.flag("cta")
    action = mods.choice("sync", "arrive")
    # `bar` is short for the aligned form of `barrier`.
    aligned = mods.flag("aligned") or mods.base == "bar"
    waits = action == "sync"
    return Custom(lambda instruction, linker: _build_bar(instruction, linker, waits, aligned))


def _build_bar(instruction: Instruction, linker: Linker, waits: bool, aligned: bool) -> Control:
    expect(instruction, 1, 2)
    if not waits and len(instruction.operands) != 2:
        raise OpcodeError("`bar.arrive` needs a number of threads")
    slots = [linker.source(operand, U32) for operand in instruction.operands]
    for operand in instruction.operands[:1]:
        if isinstance(operand, Int) and not 0 <= operand.value < 16:
            raise OpcodeError(f"barrier {operand.value} is not in 0 .. 15")

    def run(machine: Machine, c: Cohort, lanes: Array, control: Control) -> int:
        if not lanes.any():
            return control.following
        off = c.mask & ~lanes
        if off.any():
            if (off.any(1) & lanes.any(1)).any():
                raise FaultError(f"the barrier is guarded off in {c.lane_name(off)}")
            machine.put_back(c.subset(off), control.following)
            machine.put_back(c.subset(lanes), control.block)
            return -1
        numbers = _uniform(c, slots[0], "the barrier's number")
        counts = _uniform(c, slots[1], "the number of threads") if len(slots) > 1 else None
        return machine.barriers.arrive(c, numbers, counts, waits, control)

    reads = tuple(slot for slot in slots if not linker.is_constant(slot))
    return Control("barrier", run, reads, aligned=aligned)


def _uniform(c: Cohort, slot: int, what: str) -> Array:
    """One value a warp, [n]; lanes that disagree are an error."""
    values = np.broadcast_to(c.regs[slot], c.mask.shape)
    first = values[np.arange(c.num_warps), c.mask.argmax(1)]
    wrong = (values != first[:, None]) & c.mask
    if wrong.any():
        raise FaultError(f"{what} differs within a warp ({c.lane_name(wrong)})")
    result: Array = first.astype(np.int64)
    return result


def _build_warp_sync(instruction: Instruction, linker: Linker) -> Step:
    expect(instruction, 1)
    mask = linker.source(instruction.operands[0], U32)
    guard = None if instruction.guard is None else instruction.guard.slot

    def run(c: Cohort) -> None:
        check_members(c, c.regs[mask], lane_mask(c, guard, instruction.negated))
        if c.machine.races is not None:
            c.machine.races.advance(c.rows)

    return Step(run, () if linker.is_constant(mask) else (mask,), (), strict=True)


def check_members(c: Cohort, members: Array, on: Array | None) -> Array:
    """The lanes named by a member mask, [n, 32]; all must execute this, and each name itself."""
    executing = c.mask if on is None else on
    if c.full and on is None and members.size == 1 and int(members[0, 0]) == 0xFFFFFFFF:
        return c.mask
    lanes = np.arange(32, dtype=np.uint32)
    masks = np.broadcast_to(members, c.mask.shape)
    warp_mask = masks[np.arange(c.num_warps), executing.argmax(1)]
    named: Array = (warp_mask[:, None] >> lanes) & np.uint32(1) != 0
    named = named & any_along(executing, 1)[:, None]
    alive = c.machine.alive[c.rows]
    missing = named & alive & ~executing
    if missing.any():
        raise FaultError(f"the member mask names a lane that is not here: {c.lane_name(missing)}")
    stray = executing & ~named
    if stray.any():
        raise FaultError(f"the member mask leaves out an executing lane: {c.lane_name(stray)}")
    if ((masks != warp_mask[:, None]) & executing).any():
        raise FaultError("the member mask differs within a warp")
    return named


_SHARED = ("cta", "cluster")


@opcode("membar", "fence", "griddepcontrol")
def fence(mods: Mods) -> Form:
    """Memory is sequentially consistent here: fences matter to the check for races only."""
    synchronises = mods.base == "membar" or any(n in mods.parts for n in ("sc", "acq_rel"))
    if mods.parts in (["proxy", "async"], *(["proxy", "async", f"shared::{s}"] for s in _SHARED)):
        mods.flags("proxy", "async", *(f"shared::{space}" for space in _SHARED))
        return Custom(lambda instruction, linker: Step(_run_proxy_fence, (), ()))
    if mods.base == "griddepcontrol":
        mods.choice("launch_dependents", "wait")
    else:
        mods.flags("sc", "acq_rel", "acquire", "release", "cta", "cluster", "gpu", "gl", "sys")
        mods.flags("proxy", "alias", "async", "async::generic", "mbarrier_init")
        mods.flags("tensormap::generic")
        for suffix in ("global", "shared::cta", "shared::cluster"):
            mods.flags(f"async.{suffix}", suffix, f"sync_restrict::{suffix}")
    return Custom(lambda instruction, linker: _build_fence(synchronises))


def _run_proxy_fence(c: Cohort) -> None:
    if c.machine.races is not None:
        c.machine.races.fence_proxy(c.rows)


def _build_fence(synchronises: bool) -> Step:
    def run(c: Cohort) -> None:
        c.order(synchronises, synchronises)

    return Step(run, (), ())
