"""Barriers of a block: who has arrived, who waits, when it completes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .cohort import Cohort, FaultError, PlacedError, merge
from .step import Control
from .types import Array

if TYPE_CHECKING:
    from .machine import Machine


@dataclass(slots=True)
class _Barrier:
    """One barrier number, in every resident block: arrays are indexed by block slot.

    `expected` is the number of warps announced by those that arrived, 0 for "all of the block".
    """

    arrived: Array
    expected: Array
    waiting: list[tuple[Cohort, Control]] = field(default_factory=list)


class Barriers:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.table: dict[int, _Barrier] = {}
        self.partial: list[tuple[Cohort, Control]] = []

    def waiting(self) -> list[tuple[Cohort, Control, int]]:
        return [(c, control, n) for n, b in self.table.items() for c, control in b.waiting]

    def arrive(
        self, c: Cohort, numbers: Array, counts: Array | None, waits: bool, control: Control
    ) -> int:
        """Registers the warps of `c`; the next block, or -1 if they must wait."""
        machine = self.machine
        broken = (c.mask != machine.alive[c.rows]).any(1)
        if broken.any():
            return self.wait_for_lanes(c, broken, control)
        if (numbers != numbers[0]).any():
            return self._split(c, numbers, counts, waits, control)
        number = int(numbers[0])
        if not 0 <= number < 16:
            raise FaultError(f"barrier {number} is not in 0 .. 15")
        barrier = self._get(number)
        warps = np.bincount(c.slots[:, 0], minlength=machine.num_slots)
        expected = self._announce(c, barrier, counts)
        if waits and not barrier.waiting and not barrier.arrived.any():
            present = warps > 0
            if (warps == expected)[present].all():
                barrier.expected[:] = 0
                if machine.races is not None:
                    machine.races.meet(c)
                return control.following
        barrier.arrived += warps
        if machine.races is not None:
            machine.races.offer(number, c)
        if waits:
            c.pc = control.following
            barrier.waiting.append((c, control))
        self.settle(number)
        return -1 if waits else control.following

    def wait_for_lanes(self, c: Cohort, broken: Array, control: Control) -> int:
        """Parts of warps wait for their other lanes to come to the same barrier."""
        self.machine.program.blocks[control.block].executions -= c.num_warps
        if not broken.all():
            self.machine.put_back(c.subset(c.mask & ~broken[:, None]), control.block)
            c = c.subset(c.mask & broken[:, None])
        self.partial.append((c, control))
        self.join_lanes()
        return -1

    def join_lanes(self) -> None:
        """Sends warps that are whole again back to their barrier."""
        for control in {id(control): control for _, control in self.partial}.values():
            here = [c for c, other in self.partial if other is control]
            here.sort(key=lambda c: len(c.joins))
            for c in here[1:]:
                self.machine.leave_joins(c)
            whole = merge(here, self.machine.program.liveness.entering(control.block))
            complete = (whole.mask == self.machine.alive[whole.rows]).all(1)
            self.partial = [(c, other) for c, other in self.partial if other is not control]
            if complete.any():
                lanes = whole.mask & complete[:, None]
                self.machine.put_back(whole.subset(lanes), control.block)
            if not complete.all():
                rest = whole.subset(whole.mask & ~complete[:, None])
                self.partial.append((rest, control))

    def check_leaving(self, c: Cohort, lanes: Array) -> None:
        """`lanes` end: an error if others of their warp wait for them at an aligned barrier."""
        for waiting, control in self.partial:
            common = np.isin(c.rows, waiting.rows)
            if control.aligned and common.any() and (lanes & common[:, None]).any():
                name = c.lane_name(lanes & common[:, None])
                raise PlacedError(
                    control.line, f"barrier divergence: {name} ended without reaching this barrier"
                )

    def _get(self, number: int) -> _Barrier:
        slots = self.machine.num_slots
        if number not in self.table:
            self.table[number] = _Barrier(np.zeros(slots, np.int64), np.zeros(slots, np.int64))
        barrier = self.table[number]
        if len(barrier.arrived) < slots:
            more = np.zeros(slots - len(barrier.arrived), np.int64)
            barrier.arrived = np.concatenate((barrier.arrived, more))
            barrier.expected = np.concatenate((barrier.expected, more))
        return barrier

    def _split(
        self, c: Cohort, numbers: Array, counts: Array | None, waits: bool, control: Control
    ) -> int:
        for number in np.unique(numbers):
            rows = numbers == number
            part = c.subset(c.mask & rows[:, None])
            some = None if counts is None else counts[rows]
            following = self.arrive(part, numbers[rows], some, waits, control)
            if following >= 0:
                self.machine.put_back(part, following)
        return -1

    def _announce(self, c: Cohort, barrier: _Barrier, counts: Array | None) -> Array:
        """Notes the announced counts and returns the expected warps of every slot."""
        if counts is not None:
            if (counts % 32).any() or (counts <= 0).any():
                raise FaultError(
                    f"a barrier of {int(counts[0])} threads: no positive multiple of 32"
                )
            slots = c.slots[:, 0]
            known = barrier.expected[slots]
            busy = barrier.arrived[slots] > 0
            if ((known != counts // 32) & busy).any():
                raise FaultError("warps of a block announce different numbers of threads")
            barrier.expected[slots] = counts // 32
            if (barrier.expected[slots] != counts // 32).any():
                raise FaultError("warps of a block announce different numbers of threads")
        return np.where(barrier.expected > 0, barrier.expected, self.machine.live_warps())

    def settle(self, number: int) -> None:
        """Lets go the blocks in which everyone expected has arrived."""
        machine = self.machine
        barrier = self._get(number)
        live = machine.live_warps()
        expected = np.where(barrier.expected > 0, barrier.expected, live)
        if (barrier.arrived > expected).any():
            raise FaultError("more warps arrived at the barrier than it expects")
        done = (barrier.arrived == expected) & (barrier.arrived > 0)
        if not done.any():
            return
        barrier.arrived[done] = 0
        barrier.expected[done] = 0
        kept: list[tuple[Cohort, Control]] = []
        for c, control in barrier.waiting:
            free = done[c.slots[:, 0]]
            if not free.any():
                kept.append((c, control))
                continue
            lanes = c.mask & free[:, None]
            if machine.races is not None:
                machine.races.take(number, c.rows[free], c.slots[free])
            if free.all():
                machine.put_back(c, c.pc)
            else:
                machine.put_back(c.subset(lanes), c.pc)
                kept.append((c.subset(c.mask & ~free[:, None]), control))
        barrier.waiting = kept
        if machine.races is not None:
            machine.races.forget(number, np.flatnonzero(done))

    def settle_all(self) -> None:
        """After lanes have left: those that wait for "all" may be complete now."""
        if self.partial:
            self.join_lanes()
        for number in list(self.table):
            if self.table[number].waiting:
                self.settle(number)
