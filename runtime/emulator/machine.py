"""Runs the warps of a launch: cohorts, divergence and joins, blocks coming and going.

A cohort runs until it blocks or ends. When a branch divides it, its parts meet again at the
branch's immediate post-dominator: whoever comes there first waits for its siblings, but only as
long as somebody else can run, since a sibling may wait for what follows. A back edge taken after
a volatile, acquire, relaxed or atomic access gives way to others, so that spin loops end.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from .barriers import Barriers
from .clusters import Clusters
from .cohort import (
    Cohort,
    FaultError,
    Join,
    PlacedError,
    check_sources,
    merge,
    run_tracking,
)
from .deadlock import deadlock
from .engine import Engine
from .mbarriers import Mbarriers
from .memory import Memory
from .products import Products
from .program import Program, immediate_post_dominators
from .races import Races
from .register_counts import RegisterCounts
from .specials import special_value
from .step import Block, Control, Step
from .traffic import Traffic
from .types import Array

# Rounds of spinning after which parts of warps go on without their siblings.
_PATIENCE = 256


@dataclass(frozen=True, slots=True)
class Options:
    """How to execute: see `Kernel.launch`. `early`: asynchronous copies land at once."""

    seed: int = 0
    limit: int = 0
    early: bool = False
    check_races: bool = True
    count_traffic: bool = False


class Machine:
    """One launch. `blocks_left` are linear block indices not yet resident."""

    def __init__(
        self,
        program: Program,
        memory: Memory,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        cluster: tuple[int, int, int],
        resident: int,
        options: Options,
    ) -> None:
        self.program = program
        self.options = options
        self.early = options.early
        self.memory = memory
        self.grid, self.block = grid, block
        self.num_threads = block[0] * block[1] * block[2]
        self.warps_per_block = -(-self.num_threads // 32)
        self.num_registers = program.linker.num_registers
        self.random = random.Random(options.seed) if options.seed else None
        self.limit = options.limit
        self.resident = resident
        self.next_block = 0
        self.num_blocks = grid[0] * grid[1] * grid[2]
        self.block_of_slot: Array = np.zeros(0, np.int64)
        self.alive: Array = np.zeros((0, 32), bool)
        self.ready: list[Cohort] = []
        self.yielded: list[Cohort] = []
        self.joins: list[Join] = []
        self.barriers = Barriers(self)
        self.clusters = Clusters(self, cluster)
        self.products = Products(self)
        self.register_counts = RegisterCounts(self)
        self.mbarriers = Mbarriers()
        self.engine = Engine(self)
        self.races: Races | None = None
        self.traffic = Traffic() if options.count_traffic else None
        self._post_dominators: list[int] | None = None
        self._quiet_rounds = self._last_changes = 0
        self._live: Array | None = None

    @property
    def num_slots(self) -> int:
        return len(self.block_of_slot)

    # ---- names for messages

    def warp_name(self, row: int) -> str:
        slot, warp = divmod(row, self.warps_per_block)
        linear = int(self.block_of_slot[slot])
        x, rest = linear % self.grid[0], linear // self.grid[0]
        return f"block ({x}, {rest % self.grid[1]}, {rest // self.grid[1]}), warp {warp}"

    def register_name(self, slot: int) -> str:
        registers = self.program.body.registers
        return registers[slot].name if 0 <= slot < len(registers) else "a literal"

    # ---- blocks

    def run(self) -> None:
        """Executes the whole grid. Raises EmulatorError at the first broken rule."""
        while self.next_block < self.num_blocks:
            self.block_of_slot = np.zeros(0, np.int64)
            self.alive = np.zeros((0, 32), bool)
            self.barriers = Barriers(self)
            self.clusters.reset()
            self.products.reset()
            self.register_counts = RegisterCounts(self)
            self.mbarriers, self.engine = Mbarriers(), Engine(self)
            self.memory.reset_blocks(self.memory.shared_size, self.memory.local_size)
            if self.options.check_races and self.memory.shared_size:
                self.races = Races(self, self.program.linker.shared_unit)
            self.admit()
            try:
                self.schedule()
            except PlacedError as placed:
                error = self.program.source.error(placed.line, placed.message)
                raise error from placed.__cause__
            self.products.check_end()
            self.register_counts.check_end()

    def admit(self) -> None:
        """Makes the next blocks resident, in slots after those in use."""
        count = min(self.resident, self.num_blocks - self.next_block)
        first_slot = self.num_slots
        new = self.clusters.order[self.next_block : self.next_block + count]
        self.next_block += count
        self.block_of_slot = np.concatenate((self.block_of_slot, new))
        self.memory.grow(self.num_slots, self.num_slots * self.warps_per_block)
        per_block = self.warps_per_block
        rows = np.arange(first_slot * per_block, (first_slot + count) * per_block)
        slots = rows[:, None] // per_block
        threads = (rows % per_block)[:, None] * 32 + np.arange(32)
        mask = threads < self.num_threads
        self.alive = np.concatenate((self.alive, mask))
        self._live = None
        self.clusters.grow()
        self.register_counts.grow()
        if self.races is not None:
            self.races.grow()
        regs = self._initial_registers(slots, threads)
        start = Cohort(self, rows, slots, mask, regs)
        self.ready += self._scattered(start)

    def _initial_registers(self, slots: Array, threads: Array) -> list[Array]:
        linker = self.program.linker
        regs: list[Array | None] = [None] * self.num_registers
        blocks = self.block_of_slot[slots]
        for name, reg in self.program.body.specials.items():
            value = special_value(self, name, np.broadcast_to(blocks, threads.shape), threads)
            regs[reg.slot] = np.ascontiguousarray(np.broadcast_to(value, threads.shape)).astype(
                reg.type.raw
            )
        return [*regs, *linker.constants, None]  # type: ignore[list-item]

    def _scattered(self, c: Cohort) -> list[Cohort]:
        """With a seed, warps start in random groups, so that they meet in other orders."""
        if self.random is None or c.num_warps == 1:
            return [c]
        groups = self.random.randint(1, min(4, c.num_warps))
        choice = np.array([self.random.randrange(groups) for _ in range(c.num_warps)])
        parts = [choice == group for group in range(groups)]
        return [c.subset(c.mask & part[:, None]) for part in parts if part.any()]

    def live_warps(self) -> Array:
        """Warps with a live lane, by slot."""
        if self._live is None:
            self._live = self.alive.any(1).reshape(-1, self.warps_per_block).sum(1)
        return self._live

    # ---- scheduling

    def schedule(self) -> None:
        """Runs the resident blocks to their end."""
        while True:
            if self.ready:
                self._run(self._pick())
            elif not self._release_early() and not self._resume_yielded():
                if any(join.arrived for join in self.joins):
                    for join in list(self.joins):
                        self._release(join)
                elif self.next_block < self.num_blocks and (self.yielded or self._anyone_waits()):
                    self.admit()
                elif self.barriers.partial or self.yielded or self._anyone_waits():
                    raise deadlock(self)
                else:
                    self.engine.finish()
                    return

    def _anyone_waits(self) -> bool:
        return bool(self.clusters.waiting or self.barriers.waiting())

    def _release_early(self) -> bool:
        """Lets go whole warps that wait for siblings, as these may wait for them.

        Parts of a warp wait longer: instructions behind the join may need the whole of it.
        """
        patient = self._quiet_rounds < _PATIENCE
        found = [
            join
            for join in self.joins
            if join.arrived and not (patient and any(map(self._is_partial, join.arrived)))
        ]
        for join in found:
            self._release(join)
        return bool(found)

    def _is_partial(self, c: Cohort) -> bool:
        return bool((c.mask != self.alive[c.rows]).any())

    def _resume_yielded(self) -> bool:
        # Nobody is left, or each waits for an mbarrier that nobody has touched since.
        stuck = all(self.mbarriers.is_stuck(c.stuck) for c in self.yielded)
        if stuck and not (self.yielded and self.engine.settle()):
            return False
        if self.mbarriers.changes != self._last_changes:
            self._quiet_rounds, self._last_changes = 0, self.mbarriers.changes
        self._quiet_rounds += 1
        if self._quiet_rounds % _PATIENCE == 0:
            self.engine.settle()  # somebody spins on memory until those go on who wait for a copy
        if self._quiet_rounds % 64 == 0 and self.next_block < self.num_blocks:
            self.admit()
        self.ready, self.yielded = self.ready + self.yielded, []
        return True

    def _pick(self) -> Cohort:
        """The next cohort, merged with all that are at the same place."""
        ready = self.ready
        if self.random is not None:
            chosen = ready[self.random.randrange(len(ready))]
        else:
            chosen = min(ready, key=lambda c: c.pc)
        if len(ready) == 1:
            self.ready = []
            return chosen
        same = [c for c in ready if c.pc == chosen.pc and c.joins == chosen.joins]
        self.ready = [c for c in ready if not (c.pc == chosen.pc and c.joins == chosen.joins)]
        for c in same[1:]:
            self.leave_joins(c)
        return merge(same, self.program.liveness.entering(chosen.pc))

    def put_back(self, c: Cohort, pc: int) -> None:
        c.pc = pc
        self.ready.append(c)

    # ---- executing

    def _run(self, c: Cohort) -> None:
        blocks = self.program.blocks
        pc = c.pc
        while True:
            if c.joins and c.joins[-1].block == pc:
                self._arrive(c, pc)
                return
            block = blocks[pc]
            block.executions += c.num_warps
            self._straight(c, block)
            control = block.control
            if control is None:
                pc += 1
                continue
            try:
                pc = control.run(self, c, self._control_lanes(c, control), control)
            except FaultError as fault:
                raise PlacedError(control.line, str(fault)) from fault
            if pc < 0:
                return

    def _straight(self, c: Cohort, block: Block) -> None:
        undefined = c.undefined
        step_number = 0
        try:
            for step_number, run in enumerate(block.runs):
                if undefined:
                    run_tracking(c, block.steps[step_number])
                else:
                    run(c)
        except FaultError as fault:
            raise PlacedError(block.steps[step_number].line, str(fault)) from fault
        self.limit -= len(block.runs) + 1
        if self.limit < 0:
            last = block.control or block.steps[-1]
            raise PlacedError(last.line, "the instruction limit is reached: does this loop end?")

    def _control_lanes(self, c: Cohort, control: Control) -> Array:
        if control.guard is None:
            return c.mask
        guard = c.regs[control.guard]
        if guard is None:
            raise FaultError(f"register `{self.register_name(control.guard)}` was never written")
        if c.undefined:
            check_sources(
                c, Step(lambda c: None, control.reads, (), guard=control.guard, strict=True)
            )
        return (~guard if control.negated else guard) & c.mask

    def branch(self, c: Cohort, lanes: Array, control: Control) -> int:
        """Follows a branch that `lanes` take; divides the cohort where lanes disagree."""
        target, following = control.target, control.following
        if control.guard is not None:
            taken = int(np.count_nonzero(lanes))
            if taken == 0:
                return following
            if taken < np.count_nonzero(c.mask):
                self._divide(c, lanes, target, following)
                return -1
        if target < following and c.spinning:
            c.spinning = False
            c.pc = target
            self.yielded.append(c)
            return -1
        return target

    def _divide(self, c: Cohort, lanes: Array, target: int, following: int) -> None:
        if self._post_dominators is None:
            self._post_dominators = immediate_post_dominators(self.program.blocks)
        meeting = self._post_dominators[following - 1]
        c.forget_others(self.program.liveness.leaving(following - 1))
        taking, going_on = c.subset(lanes), c.subset(c.mask & ~lanes)
        if meeting >= 0:
            if not (c.joins and c.joins[-1].block == meeting):
                join = Join(meeting)
                self.joins.append(join)
                taking.joins = going_on.joins = (*c.joins, join)
                join.outstanding += 1
            for join in taking.joins:
                join.outstanding += 1
        else:
            for join in taking.joins:
                join.outstanding += 1
        self.put_back(going_on, following)
        if target < following and c.spinning:
            taking.spinning = False
            taking.pc = target
            self.yielded.append(taking)
        else:
            self.put_back(taking, target)

    # ---- joins

    def _arrive(self, c: Cohort, pc: int) -> None:
        join = c.joins[-1]
        c.pc = pc
        c.joins = c.joins[:-1]
        join.arrived.append(c)
        join.outstanding -= 1
        if join.outstanding == 0:
            self._release(join)

    def _release(self, join: Join) -> None:
        """Lets those who arrived go on together."""
        if join.outstanding == 0 and join in self.joins:
            self.joins.remove(join)
        if join.arrived:
            arrived, join.arrived = join.arrived, []
            for c in arrived[1:]:
                self.leave_joins(c)
            self.ready.append(merge(arrived, self.program.liveness.entering(join.block)))

    def leave_joins(self, c: Cohort) -> None:
        """One cohort less will come to the joins of `c` (it ended or merged into a sibling)."""
        for join in c.joins:
            join.outstanding -= 1
            if join.outstanding == 0:
                self._release(join)

    def exit_lanes(self, c: Cohort, lanes: Array, control: Control) -> int:
        if control.guard is not None and not lanes.any():
            return control.following
        self._quiet_rounds = 0
        rest = c.mask & ~lanes
        if self.barriers.partial:
            self.barriers.check_leaving(c, lanes)
        if self.engine.threads:
            self.engine.leave(c, lanes)
        self.alive[c.rows] &= ~lanes
        self._live = None
        if rest.any():
            self.put_back(c.subset(rest), control.following)
        else:
            self.leave_joins(c)
        self.barriers.settle_all()
        self.clusters.settle()
        return -1
