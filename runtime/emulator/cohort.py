"""A cohort: warps at the same place, executed together, and which lanes hold undefined values.

    rows    resident warp numbers, [n]           regs[slot]  raw bits [n, 32]; None: never written
    mask    active lanes, bool [n, 32]           undefined   slot -> lanes [n, 32] with no value yet

Register arrays are immutable (they alias after `mov`), so a cohort is split by indexing them. A
warp whose lanes diverged is in two cohorts with disjoint masks until they join again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .asynchronous import Group
from .flow import flowing
from .step import Step, lane_mask
from .types import Array

if TYPE_CHECKING:
    from .machine import Machine
    from .mbarriers import Waiter


class FaultError(Exception):
    """A rule broken while executing; the machine adds the place."""


class PlacedError(Exception):
    """A fault with its PTX line."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        self.message = message
        super().__init__(message)


@dataclass(slots=True, eq=False)
class Join:
    """Where diverged cohorts meet: `outstanding` of them have not reached `block` yet."""

    block: int
    outstanding: int = 0
    arrived: list[Cohort] = field(default_factory=list)


class Cohort:
    """See the module's head. `joins` is the stack of places where its siblings wait for it."""

    __slots__ = (
        "full",
        "groups",
        "joins",
        "machine",
        "mask",
        "num_warps",
        "open_group",
        "partial",
        "pc",
        "regs",
        "rows",
        "slots",
        "spinning",
        "stuck",
        "undefined",
    )

    def __init__(
        self, machine: Machine, rows: Array, slots: Array, mask: Array, regs: list[Array]
    ) -> None:
        self.machine = machine
        self.rows = rows
        self.slots = slots  # resident block of each warp, int64 [n, 1]
        self.mask = mask
        self.full = bool(mask.all())
        self.regs = regs
        self.num_warps = len(rows)
        self.undefined: dict[int, Array] = {}
        # Of lanes in `undefined`: slot -> (those lanes, the bits that are undefined). An entry
        # counts as long as `undefined` holds the very array it was made with.
        self.partial: dict[int, tuple[Array, Array]] = {}
        self.groups: list[Group] = []  # committed asynchronous copies that have not landed
        self.open_group = Group()
        self.joins: tuple[Join, ...] = ()
        self.pc = 0
        self.spinning = False
        self.stuck: Waiter | None = None  # its last look at an mbarrier was in vain

    def subset(self, lanes: Array) -> Cohort:
        """The part of this cohort with active `lanes` [n, 32]; registers are copied by row."""
        index = np.flatnonzero(lanes.any(1))
        whole = len(index) == self.num_warps
        regs = list(self.regs)
        if not whole:
            first = int(index[0])
            is_run = int(index[-1]) - first + 1 == len(index)
            at = slice(first, first + len(index)) if is_run else index
            count = self.machine.num_registers
            regs[:count] = [None if value is None else value[at] for value in regs[:count]]
        part = Cohort(self.machine, self.rows[index], self.slots[index], lanes[index], regs)
        part.undefined = {
            slot: bad if whole else bad[index] for slot, bad in self.undefined.items()
        }
        for slot, (lanes_of_slot, bits) in self.partial.items():
            if self.undefined.get(slot) is lanes_of_slot:
                part.partial[slot] = part.undefined[slot], bits if whole else bits[index]
        if self.groups or self.open_group.moves:
            kept = np.zeros(self.machine.alive.shape, bool)
            kept[self.rows] = lanes
            part.groups = [group.subset(kept) for group in self.groups]
            part.open_group = self.open_group.subset(kept)
        part.joins, part.pc = self.joins, self.pc
        part.spinning, part.stuck = self.spinning, self.stuck
        return part

    def forget_others(self, live: list[int]) -> None:
        """Forgets the values of all registers but these, since nobody will read them."""
        count = self.machine.num_registers
        old = self.regs
        self.regs = _unwritten(count) + old[count:]
        for slot in live:
            self.regs[slot] = old[slot]
        if self.undefined:
            self.undefined = {slot: self.undefined[slot] for slot in live if slot in self.undefined}

    def lanes(self, slot: int) -> Array:
        """The value of a slot in every lane, [n, 32]; literals are spread."""
        value = self.regs[slot]
        if slot < self.machine.num_registers:
            return value
        spread: Array = value.repeat(self.num_warps, 0)
        return spread if value.shape[1] == 32 else spread.repeat(32, 1)

    def undefined_bits(self, slot: int) -> Array | None:
        """The undefined bits of a register, as raw as itself [n, 32]; None if all are defined."""
        lanes = self.undefined.get(slot)
        if lanes is None:
            return None
        found = self.partial.get(slot)
        if found is not None and found[0] is lanes:
            return found[1]
        return every_bit(lanes, self.regs[slot].dtype)

    def leave_unset(self, slot: int) -> None:
        """Gives a register that was never written zeros for its undefined bits."""
        raw = self.machine.program.body.registers[slot].type.raw
        self.regs[slot] = np.zeros((self.num_warps, 32), raw)
        self.undefined[slot] = self.mask

    def mark(self, slot: int, bits: Array) -> None:
        """Makes these bits of a register undefined, and no others."""
        self.partial.pop(slot, None)
        lanes = bits != 0
        if not lanes.any():
            self.undefined.pop(slot, None)
            return
        self.undefined[slot] = lanes
        if (bits != every_bit(lanes, bits.dtype)).any():
            self.partial[slot] = lanes, bits

    def write(self, slot: int, value: Array, on: Array | None, bad: Array | None = None) -> None:
        """Assigns a register where `on` (None: everywhere); its lanes `bad` (or, unless they are
        bools, its bits) become undefined there."""
        if bad is not None and bad.dtype != np.bool_:
            self._write_bits(slot, value, on, bad)
            return
        before = self.regs[slot]
        if on is None:
            self.regs[slot] = value
            if self.undefined:
                self.undefined.pop(slot, None)
            if bad is not None and bad.any():
                self.undefined[slot] = bad
            return
        if before is None:
            self.regs[slot] = value
            unset = ~on
        else:
            self.regs[slot] = np.where(on, value, before)
            unset = self.undefined.pop(slot, None)
            unset = None if unset is None else unset & ~on
        if bad is not None:
            unset = bad & on if unset is None else unset | (bad & on)
        if unset is not None:
            unset = unset & self.mask
            if unset.any():
                self.undefined[slot] = unset

    def _write_bits(self, slot: int, value: Array, on: Array | None, bits: Array) -> None:
        before, old = self.regs[slot], self.undefined_bits(slot)
        if on is None:
            self.regs[slot] = value
            self.mark(slot, bits)
            return
        if before is None:
            old = every_bit(np.ones_like(on), value.dtype)
        elif old is None:
            old = np.zeros_like(bits)
        self.regs[slot] = value if before is None else np.where(on, value, before)
        self.mark(slot, np.where(on, bits, old) * self.mask)

    def order(self, acquire: bool, release: bool) -> None:
        """An acquire takes what others released, as the check for races sees it."""
        if self.machine.races is not None and (acquire or release):
            self.machine.races.exchange(self, acquire, release)

    def lane_name(self, lanes: Array) -> str:
        """The first of `lanes` [n, 32] in words."""
        row, lane = (int(place[0]) for place in np.nonzero(lanes))
        return self.machine.warp_name(int(self.rows[row])) + f", lane {lane}"


def _unwritten(count: int) -> list[Array]:
    return [None] * count  # type: ignore[list-item]


def every_bit(lanes: Array, dtype: Any) -> Array:
    """All bits of a type in some lanes, none in the others."""
    if dtype == np.bool_:
        return lanes
    bits: Array = lanes * ~np.zeros((), dtype)
    return bits


def merge(cohorts: list[Cohort], live: list[int]) -> Cohort:
    """One cohort of all; a warp that is in several comes together again, lane by lane. Of the
    registers the `live` ones are kept."""
    first = cohorts[0]
    if len(cohorts) == 1:
        return first
    gather = _Gather(cohorts)
    count = first.machine.num_registers
    regs = _unwritten(count) + first.regs[count:]
    bits: dict[int, Array] = {}
    for slot in live:
        values = [c.regs[slot] for c in cohorts]
        one = values[0]
        untouched = gather.spread and not any([value is not one for value in values])
        if one is None and (untouched or not any([value is not None for value in values])):
            continue
        present = [value for value in values if value is not None]
        if untouched:
            regs[slot] = one  # since these cohorts parted
        else:
            regs[slot] = gather(
                [
                    np.zeros((c.num_warps, 32), present[0].dtype) if value is None else value
                    for c, value in zip(cohorts, values, strict=True)
                ]
            )
        if len(present) < len(values) or any(slot in c.undefined for c in cohorts):
            bits[slot] = gather([_undefined_bits(c, slot, present[0].dtype) for c in cohorts])
    joined = Cohort(first.machine, gather.unique, gather.slots, gather.mask, regs)
    for slot, found in bits.items():
        joined.mark(slot, found)
    joined.groups = _merged_groups([c.groups for c in cohorts])
    joined.open_group = Group([move for c in cohorts for move in c.open_group.moves])
    joined.joins, joined.pc = first.joins, first.pc
    joined.spinning = any(c.spinning for c in cohorts)
    joined.stuck = next((c.stuck for c in cohorts if c.stuck is not None), None)
    return joined


class _Gather:
    """Puts per-cohort arrays [n, 32] together by warp; active lanes decide where warps overlap."""

    def __init__(self, cohorts: list[Cohort]) -> None:
        rows = np.concatenate([c.rows for c in cohorts])
        self.unique, first, self.places = np.unique(rows, return_index=True, return_inverse=True)
        self.spread = len(self.unique) < len(rows)
        self._in_order = not self.spread and bool((rows[1:] > rows[:-1]).all())
        self.slots = np.concatenate([c.slots for c in cohorts])[first]
        self._first = first
        self._masks = np.concatenate([c.mask for c in cohorts])
        self._active = np.nonzero(self._masks)
        self.mask = self([c.mask for c in cohorts])

    def __call__(self, parts: list[Array]) -> Array:
        joined = np.concatenate(parts)
        if self._in_order:
            return joined
        result: Array = joined[self._first]
        if self.spread:
            rows, lanes = self._active
            result[self.places[rows], lanes] = joined[rows, lanes]
        return result


def _undefined_bits(c: Cohort, slot: int, dtype: Any) -> Array:
    if c.regs[slot] is None:
        return every_bit(c.mask, dtype)
    found = c.undefined_bits(slot)
    return np.zeros((c.num_warps, 32), dtype) if found is None else found


def _merged_groups(lists: list[list[Group]]) -> list[Group]:
    """Asynchronous groups, matched from the newest backwards (waits count from there)."""
    depth = max(map(len, lists))
    result: list[Group] = []
    for age in range(depth, 0, -1):
        members = [groups[-age] for groups in lists if len(groups) >= age]
        result.append(Group([move for group in members for move in group.moves]))
    return result


# ---- undefined values, the slow path


def check_sources(c: Cohort, step: Step) -> Array | None:
    """Lanes of `step` with an undefined source, an error if it may not have one."""
    guard = step.guard
    if guard is not None and guard in c.undefined and (c.undefined[guard] & c.mask).any():
        raise FaultError(
            f"the guard was never written in {c.lane_name(c.undefined[guard] & c.mask)}"
        )
    found: Array | None = None
    for slot in step.reads:
        bad = c.undefined.get(slot)
        if bad is not None:
            found = bad if found is None else found | bad
    if found is not None and step.strict:
        on = lane_mask(c, guard, step.negated)
        used = found if on is None else found & on
        if used.any():
            raise FaultError(f"{undefined_name(c, step, used)} in {c.lane_name(used)}")
    return found


def undefined_name(c: Cohort, step: Step, used: Array) -> str:
    """Which source is undefined, in words."""
    for slot in step.reads:
        if slot in c.undefined and (c.undefined[slot] & used).any():
            return f"`{c.machine.register_name(slot)}` has no defined value"
    return "a source has no defined value"


def run_tracking(c: Cohort, step: Step) -> None:
    """Runs a step while some registers are undefined, and passes that on to its results."""
    for slot in step.unsure:
        if c.regs[slot] is None:
            c.leave_unset(slot)
    undefined = c.undefined
    if step.guard is None and not step.own and not any([s in undefined for s in step.reads]):
        step.run(c)
        for slot in step.writes:
            undefined.pop(slot, None)
        return
    bad = check_sources(c, step)
    if step.own:
        step.run(c)
        return
    on = lane_mask(c, step.guard, step.negated) if step.guard is not None else None
    if (flows := flowing(c, step)) is not None:
        _run_bitwise(c, step, flows, on)
        return
    before = {slot: c.undefined.get(slot) for slot in step.writes}
    unset = {slot for slot in step.writes if c.regs[slot] is None}
    step.run(c)
    for slot in step.writes:
        lanes = bad
        if on is not None:
            old = np.ones_like(on) if slot in unset else before[slot]
            lanes = _either(None if bad is None else bad & on, None if old is None else old & ~on)
        if lanes is not None:
            lanes = lanes & c.mask
        if lanes is not None and lanes.any():
            c.undefined[slot] = lanes
        else:
            c.undefined.pop(slot, None)


def _run_bitwise(c: Cohort, step: Step, flows: list[Array], on: Array | None) -> None:
    """As `run_tracking`, where it is known which bits of the results are undefined."""
    before = {slot: (c.regs[slot], c.undefined_bits(slot)) for slot in step.writes}
    step.run(c)
    for slot, bits in zip(step.writes, flows, strict=True):
        value, old = before[slot]
        if on is not None:
            if value is None:
                old = every_bit(np.ones_like(on), bits.dtype)
            bits = np.where(on, bits, np.zeros_like(bits) if old is None else old)
        c.mark(slot, bits * c.mask)


def _either(a: Array | None, b: Array | None) -> Array | None:
    if a is None:
        return b
    return a if b is None else a | b
