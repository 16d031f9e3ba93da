"""Products of warp groups in flight, by warp: see `wgmma`.

Accumulators hold their results from the start and are marked undefined until the wait, together
with what is truly undefined of them (`Flight.bad`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .cohort import Cohort, FaultError
from .types import Array

if TYPE_CHECKING:
    from .machine import Machine

_WARPS = 4


@dataclass(slots=True)
class Flight:
    """One instruction, issued by warps `rows` [n]: its accumulator's slots and which lanes of them
    [registers, n, 32] are truly undefined; a left operand's registers and their values [n, 32];
    the units of shared memory it reads [n, units]. `group`: the commit group of each warp."""

    line: int
    rows: Array
    sums: tuple[int, ...]
    bad: Array | None
    left: tuple[int, ...]
    values: list[Array]
    units: Array | None
    group: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def part(self, kept: Array) -> Flight:
        """The part of the warps `kept` [n]."""
        return Flight(
            self.line, self.rows[kept], self.sums,
            None if self.bad is None else self.bad[:, kept], self.left,
            [value[kept] for value in self.values],
            None if self.units is None else self.units[kept], self.group[kept],
        )  # fmt: skip


class Products:
    """All products of a launch's resident blocks."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.reset()

    def reset(self) -> None:
        """Forgets everything: other blocks come."""
        self.flights: list[Flight] = []
        self.committed: dict[int, int] = {}  # groups so far, by warp
        self.issued: dict[int, int] = {}  # instructions so far, by warp
        self.log: dict[tuple[int, int], tuple[int, int, int]] = {}

    # ---- all warps of a warp group do the same

    def note_issue(self, c: Cohort, line: int, descriptors: Array) -> None:
        """Four warps in a row must issue the same instructions with the same operand b."""
        for row, descriptor in zip(c.rows.tolist(), descriptors.tolist(), strict=True):
            number = self.issued[row] = self.issued.get(row, 0) + 1
            block, warp = divmod(row, self.machine.warps_per_block)
            if warp // _WARPS * _WARPS + _WARPS > self.machine.warps_per_block:
                raise FaultError(f"{self.machine.warp_name(row)} belongs to no whole warp group")
            key = block * self.machine.warps_per_block + warp // _WARPS, number
            known = self.log.get(key)
            if known is None:
                self.log[key] = line, descriptor, 1
            elif known[:2] != (line, descriptor):
                raise FaultError(
                    f"{self.machine.warp_name(row)} issues another product than its warp group, "
                    f"which is in line {known[0]}"
                )
            elif known[2] + 1 == _WARPS:
                del self.log[key]
            else:
                self.log[key] = line, descriptor, known[2] + 1

    def check_end(self) -> None:
        """At the end of a launch no warp may have issued less than its warp group."""
        for (group, _), (line, _, count) in self.log.items():
            message = f"only {count} warps of warp group {group} issued this product"
            raise self.machine.program.source.error(line, message)

    # ---- issuing

    def accumulators(
        self, c: Cohort, sums: tuple[int, ...], keeps: Array
    ) -> tuple[Array, Array | None]:
        """Raw accumulators [registers, n, 32] (zero where they aren't kept), and lanes of them
        that are truly undefined."""
        mine = [f for f in self.flights if np.isin(f.rows, c.rows).any()]
        for flight in mine:
            if flight.sums != sums and not set(flight.sums).isdisjoint(sums):
                raise FaultError(
                    f"an accumulator of another shape, in flight since line {flight.line}"
                )
        values = np.zeros((len(sums), c.num_warps, 32), np.uint32)
        bad = np.zeros(values.shape, bool)
        for number, slot in enumerate(sums):
            if c.regs[slot] is None:
                bad[number] = True
                continue
            values[number] = c.regs[slot].view(np.uint32)
            undefined = c.undefined.get(slot)
            if undefined is not None:
                bad[number] = undefined
        if not self.machine.early:
            for flight in mine:  # oldest first: the last one knows
                if flight.sums == sums:
                    at, here = self._places(c, flight)
                    bad[:, at] = False if flight.bad is None else flight.bad[:, here]
        drops = ~keeps.astype(bool)
        values[:, drops], bad[:, drops] = 0, False
        return values, bad if bad.any() else None

    def units(self, c: Cohort, places: list[Array], element_bytes: int) -> Array | None:
        """The units of shared memory of elements at addresses [n, k, mn]."""
        races = self.machine.races
        if races is None:
            return None
        base = c.slots[:, :1].astype(np.int64) * self.machine.memory.shared_stride
        found = [
            (place.reshape(c.num_warps, -1) + base + byte) // races.unit
            for place in places
            for byte in range(0, element_bytes, races.unit)
        ]
        units: Array = np.concatenate(found, 1)
        return units

    def start(self, c: Cohort, flight: Flight, result: Array) -> None:
        """The product is on its way; `result` [registers, n, 32]."""
        counts = [self.committed.get(row, 0) for row in c.rows.tolist()]
        flight.group = np.array(counts, np.int64)
        races = self.machine.races
        if races is not None and flight.units is not None:
            races.begin_read(c, flight.line, flight.units)
        for number, slot in enumerate(flight.sums):
            old = c.regs[slot]
            raw = result[number]
            c.regs[slot] = raw if old is None else raw.view(old.dtype)
            self._mark(c, slot, np.arange(c.num_warps), number, flight)
        self.flights.append(flight)

    def _mark(self, c: Cohort, slot: int, at: Array, number: int, flight: Flight) -> None:
        """Undefined until the wait; with early results, where it truly is."""
        if self.machine.early:
            self._set(c, slot, at, None if flight.bad is None else flight.bad[number])
        else:
            self._set(c, slot, at, np.ones((len(at), 32), bool))

    def _set(self, c: Cohort, slot: int, at: Array, lanes: Array | None) -> None:
        old = c.undefined.get(slot)
        new = np.zeros((c.num_warps, 32), bool) if old is None else old.copy()
        new[at] = False if lanes is None else lanes
        if new.any():
            c.undefined[slot] = new
        else:
            c.undefined.pop(slot, None)

    # ---- groups

    def commit(self, c: Cohort) -> None:
        for row in c.rows.tolist():
            self.committed[row] = self.committed.get(row, 0) + 1

    def wait(self, c: Cohort, kept: int) -> None:
        """All but the newest groups of these warps are done."""
        counts = np.array([self.committed.get(row, 0) for row in c.rows.tolist()], np.int64)
        limit = dict(zip(c.rows.tolist(), (counts - kept).tolist(), strict=True))
        remaining: list[Flight] = []
        landed: list[Flight] = []
        for flight in self.flights:
            done = np.array(
                [
                    row in limit and group < limit[row]
                    for row, group in zip(flight.rows.tolist(), flight.group.tolist(), strict=True)
                ]
            )
            if done.any():
                landed.append(flight if done.all() else flight.part(done))
            if not done.all():
                remaining.append(flight.part(~done) if done.any() else flight)
        self.flights = remaining
        for flight in landed:
            self._check_untouched(c, flight, self._places(c, flight)[0])
        for flight in landed:
            self._land(c, flight)

    def _places(self, c: Cohort, flight: Flight) -> tuple[Array, Array]:
        """Where warps that are in both stand in the cohort, and in the flight."""
        here = np.flatnonzero(np.isin(flight.rows, c.rows))
        return np.searchsorted(c.rows, flight.rows[here]), here

    def _land(self, c: Cohort, flight: Flight) -> None:
        at, _ = self._places(c, flight)
        later = [f for f in self.flights if f.sums == flight.sums]
        busy = np.isin(flight.rows, np.concatenate([f.rows for f in later])) if later else None
        races = self.machine.races
        if races is not None and flight.units is not None:
            races.end_read(flight.rows, flight.units)
            for other in self.flights:
                again = np.isin(other.rows, flight.rows)
                if again.any() and other.units is not None:
                    races.keep_reading(other.rows[again], other.units[again])
        if self.machine.early:
            return
        free = np.ones(len(at), bool) if busy is None else ~busy
        for number, slot in enumerate(flight.sums):
            lanes = None if flight.bad is None else flight.bad[number][free]
            self._set(c, slot, at[free], lanes)

    def _check_untouched(self, c: Cohort, flight: Flight, at: Array) -> None:
        for slot, value in zip(flight.left, flight.values, strict=True):
            if (c.regs[slot][at] != value).any():
                self._fail(slot, "which it reads", flight)
        if self.machine.early:
            return
        for slot in flight.sums:
            lanes = c.undefined.get(slot)
            if lanes is None or not lanes[at].all():
                self._fail(slot, "its accumulator", flight)

    def _fail(self, slot: int, what: str, flight: Flight) -> None:
        raise FaultError(
            f"`{self.machine.register_name(slot)}` was written while the wgmma in line "
            f"{flight.line} was in flight, {what}"
        )
