"""Opcodes of clusters: their barrier, and addresses in other blocks' shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .clusters import OFFSET_MASK
from .cohort import Cohort
from .linker import expect
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .step import Control, Step, lane_mask
from .types import U32, Array

if TYPE_CHECKING:
    from .linker import Linker
    from .machine import Machine
    from .syntax import Instruction


def cluster_barrier(mods: Mods) -> Form:
    """`barrier.cluster`: memory is sequentially consistent here, so only who arrives counts."""
    action = mods.choice("arrive", "wait")
    mods.flags(*(("release", "relaxed") if action == "arrive" else ("acquire",)))
    aligned = mods.flag("aligned")
    waits = action == "wait"
    return Custom(lambda instruction, linker: _build_barrier(instruction, waits, aligned))


def _build_barrier(instruction: Instruction, waits: bool, aligned: bool) -> Control:
    expect(instruction, 0)

    def run(machine: Machine, c: Cohort, lanes: Array, control: Control) -> int:
        off = c.mask & ~lanes
        if off.any():
            machine.put_back(c.subset(off), control.following)
            if lanes.any():
                machine.put_back(c.subset(lanes), control.block)
            return -1
        broken = (c.mask != machine.alive[c.rows]).any(1)
        if aligned and broken.any():
            return machine.barriers.wait_for_lanes(c, broken, control)
        if waits:
            return machine.clusters.wait(c, c.mask, control)
        machine.clusters.arrive(c, c.mask)
        return control.following

    return Control("barrier", run, aligned=aligned)


@opcode("mapa")
def mapa(mods: Mods) -> Form:
    _only_shared(mods)
    return Custom(_build_mapa)


def _only_shared(mods: Mods) -> None:
    if not mods.flag("shared::cluster"):
        raise OpcodeError(f"`{mods.text}`: generic addresses are not supported")
    mods.type("u32")


def _build_mapa(instruction: Instruction, linker: Linker) -> Step:
    expect(instruction, 3)
    out = linker.dest(instruction.operands[0], U32)
    ins = tuple(linker.source(operand, U32) for operand in instruction.operands[1:])
    guard = None if instruction.guard is None else instruction.guard.slot
    negated = instruction.negated

    def run(c: Cohort) -> None:
        on = lane_mask(c, guard, negated)
        address, rank = (c.regs[slot] for slot in ins)
        c.regs[out] = c.machine.clusters.map(c, address, rank, c.mask if on is None else on)

    return Step(run, tuple(s for s in ins if not linker.is_constant(s)), (out,))


@opcode("getctarank")
def getctarank(mods: Mods) -> Form:
    _only_shared(mods)
    return Custom(_build_getctarank)


def _build_getctarank(instruction: Instruction, linker: Linker) -> Step:
    expect(instruction, 2)
    out = linker.dest(instruction.operands[0], U32)
    source = linker.source(instruction.operands[1], U32)

    def run(c: Cohort) -> None:
        field = np.broadcast_to(c.regs[source], c.mask.shape) // np.uint32(OFFSET_MASK + 1)
        own = c.machine.clusters.ranks(c.slots)
        c.regs[out] = np.where(field == 0, own, field.astype(np.int64) - 1).astype(np.uint32)

    return Step(run, () if linker.is_constant(source) else (source,), (out,))
