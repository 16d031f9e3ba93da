"""Races on shared memory, by vector clocks.

Each warp of a cluster is an *agent* with a clock, advanced whenever it synchronises. `known[row]`
is what a warp knows of the clocks of all agents: an access that agent b made at time t happened
before whatever warp a does now if known[a][b] >= t. Barriers exchange what participants know.

    A write must come after the last write and after all reads and atomics, a read after the last
    write and after all atomics, an atomic after the last write.

Two things are no race: concurrent writes of equal values (replicated tiles are stored by every
warp that holds them), and accesses made for it (volatile, relaxed, acquire, release, atomics).
Acquire, release and fences exchange knowledge through one clock a cluster: a coarse rule that may
miss a race but raises no false alarm. Lanes of a warp are one agent; what they do between two
meetings of theirs `lane_order` watches.

`wgmma`, bulk and tensor copies reach shared memory through the *asynchronous proxy*: what a warp
wrote as usual they see once a `fence.proxy.async` lies between, on the way by which the write
happened before. So each warp has a second clock, `fenced`: what it knew at its last fence of that
kind, joined with those of the warps it synchronised with since. The halves of `clocks` are the two.

    An asynchronous access by a warp a of what b wrote at time t needs fenced[a][b] >= t too.

Memory is watched in units of the narrowest shared access of the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .cohort import Cohort, FaultError
from .lane_order import LaneOrder, lane_bits
from .storage import Access
from .types import Array, any_along

if TYPE_CHECKING:
    from .asynchronous import Move
    from .machine import Machine


_FOREVER = np.iinfo(np.int32).max


class Races:
    """The shared memory of all resident blocks. Arrays over units: [u] or [u, agents]."""

    def __init__(self, machine: Machine, unit: int) -> None:
        self.machine = machine
        self.unit = unit
        self.agents = machine.warps_per_block * machine.clusters.size
        self.clocks = np.zeros((0, 2 * self.agents), np.int32)
        self.released = np.zeros((0, 2 * self.agents), np.int32)
        self.offered: dict[int, Array] = {}
        self.writer = np.zeros(0, np.int16)
        self.written = np.zeros(0, np.int32)
        self.writers = np.zeros(0, np.int64)
        self.write_line = np.zeros(0, np.int32)
        self.read = np.zeros((0, self.agents), np.int32)
        self.read_line = np.zeros(0, np.int32)
        self.updates: Updates | None = None  # made for the first atomic
        self.lanes = LaneOrder(self)

    @property
    def known(self) -> Array:
        """What each warp knows, [rows, agents]: a view."""
        return self.clocks[:, : self.agents]

    @property
    def fenced(self) -> Array:
        """What of it the asynchronous proxy sees too, [rows, agents]: a view."""
        return self.clocks[:, self.agents :]

    def grow(self) -> None:
        """Makes room for new resident blocks; their warps know only themselves."""
        machine = self.machine
        rows, old = len(machine.alive), len(self.clocks)
        more = np.zeros((rows - old, 2 * self.agents), np.int32)
        self.clocks = np.concatenate((self.clocks, more))
        new = np.arange(old, rows)
        self.known[new, new % self.agents] = 1
        clusters = rows // self.agents - len(self.released)
        more = np.zeros((clusters, 2 * self.agents), np.int32)
        self.released = np.concatenate((self.released, more))
        for number, offered in self.offered.items():
            more = np.zeros((machine.num_slots - len(offered), 2 * self.agents), np.int32)
            self.offered[number] = np.concatenate((offered, more))
        units = len(machine.memory.shared.data) // self.unit - len(self.writer)
        for name in ("writer", "written", "writers", "write_line", "read_line"):
            array: Array = getattr(self, name)
            setattr(self, name, np.concatenate((array, np.zeros(units, array.dtype))))
        self.read = np.concatenate((self.read, np.zeros((units, self.agents), np.int32)))
        self.lanes.grow(len(self.writer))

    # ---- synchronisation

    def meet(self, c: Cohort) -> None:
        """All live warps of the blocks of `c` pass a barrier together."""
        slots = c.slots[:, 0]
        if slots[0] == slots[-1]:  # all of one block, as slots ascend
            self.clocks[c.rows] = self.clocks[c.rows].max(0)
            self.advance(c.rows)
            return
        starts = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])
        joined = np.maximum.reduceat(self.clocks[c.rows], starts, axis=0)
        self.clocks[c.rows] = np.repeat(joined, np.diff(np.r_[starts, len(slots)]), 0)
        self.advance(c.rows)

    def offer(self, number: int, c: Cohort) -> None:
        """The warps of `c` arrive at a barrier that is not complete yet."""
        if number not in self.offered:
            self.offered[number] = np.zeros((self.machine.num_slots, 2 * self.agents), np.int32)
        np.maximum.at(self.offered[number], c.slots[:, 0], self.clocks[c.rows])
        self.advance(c.rows)

    def take(self, number: int, rows: Array, slots: Array) -> None:
        """Warps that waited at a barrier learn what all participants knew."""
        self.clocks[rows] = np.maximum(self.clocks[rows], self.offered[number][slots[:, 0]])
        self.advance(rows)

    def forget(self, number: int, slots: Array) -> None:
        """The barrier of these blocks starts anew."""
        self.offered[number][slots] = 0

    def meet_clusters(self, done: Array) -> None:
        """All warps of the clusters `done` (bool [clusters]) pass their barrier."""
        rows = np.flatnonzero(np.repeat(done, self.agents))
        joined = self.clocks[rows].reshape(-1, self.agents, 2 * self.agents).max(1)
        self.clocks[rows] = np.repeat(joined, self.agents, 0)
        self.advance(rows)

    def exchange(self, c: Cohort, acquire: bool, release: bool) -> None:
        """A release gives the cluster what the warp knows, an acquire takes it."""
        clusters = c.rows // self.agents
        if release:
            np.maximum.at(self.released, clusters, self.clocks[c.rows])
            self.advance(c.rows)
        if acquire:
            self.clocks[c.rows] = np.maximum(self.clocks[c.rows], self.released[clusters])

    def fence_proxy(self, rows: Array) -> None:
        """The asynchronous proxy sees from now on what these warps know."""
        self.fenced[rows] = self.known[rows]
        self.advance(rows)

    def advance(self, rows: Array) -> None:
        """What these warps do from now on is later than what they have told others."""
        self.clocks[rows, rows % self.agents] += 1

    # ---- accesses

    def land(self, move: Move) -> None:
        """An asynchronous copy becomes visible to its warp, which waited for it."""
        units = self._units(move.places, move.access)
        clocks = self.known[move.warps, move.warps % self.agents]
        self._note(units, move.warps, np.ones(units.shape, bool), clocks, move.line)
        self.lanes.forget(units)

    def _units(self, places: Array, access: Access) -> Array:
        """Units [lanes, units of an access] of the elements at `places`."""
        count = access.width // self.unit
        units: Array = places.reshape(-1)[:, None] * count + np.arange(count)
        return units

    def _rows(self, c: Cohort, on: Array | None) -> Array:
        rows: Array = c.rows.repeat(32)
        return rows if on is None else rows[on.reshape(-1)]

    def load(
        self,
        c: Cohort,
        line: int,
        places: Array,
        access: Access,
        on: Array | None,
        bits: Array | None = None,
    ) -> None:
        """A read of shared memory, by the lanes `bits`, which run in any order, if said."""
        units, rows = self._units(places, access), self._rows(c, on)
        self._follow_writes(c, units, rows, on, "reads")
        if self.updates is not None:
            self.updates.check(c, units, rows, on, "reads")
        if bits is not None:
            self.lanes.load(c, units, rows, on, bits)
        agents = rows % self.agents
        self.read[units, agents[:, None]] = self.known[rows, agents][:, None]
        self.read_line[units] = line

    def update(self, c: Cohort, line: int, places: Array, access: Access, on: Array | None) -> None:
        """An atomic access: among themselves they don't race."""
        units, rows = self._units(places, access), self._rows(c, on)
        self._follow_writes(c, units, rows, on, "updates")
        after_reads = any_along(self.read[units] > self.known[rows][:, None, :], 2)
        if after_reads.any():
            self.report(c, on, after_reads, units, "updates", "read", self.read_line)
        if self.updates is None:
            self.updates = Updates(self)
        self.updates.note(units, rows, line)

    def _follow_writes(
        self, c: Cohort, units: Array, rows: Array, on: Array | None, verb: str
    ) -> None:
        """Checks that the last write of each unit is known to who accesses it now."""
        known = self.known[rows]
        writer, written = self.writer[units], self.written[units]
        late = written > known[np.arange(len(rows))[:, None], writer]
        if late.any():
            own = self.writers[units] >> (rows % self.agents)[:, None] & 1
            late &= own == 0
            if late.any():
                self.report(c, on, late, units, verb, "written", self.write_line)

    def load_async(
        self, c: Cohort, line: int, places: Array, access: Access, on: Array | None
    ) -> None:
        """A read of shared memory by the asynchronous proxy, on behalf of the lanes `on`."""
        self.load(c, line, places, access, on)
        units, rows = self._units(places, access), self._rows(c, on)
        unseen = self.written[units] > self.fenced[rows[:, None], self.writer[units]]
        if unseen.any():
            self._report_unfenced(c, on, unseen, units)

    def begin_read(self, c: Cohort, line: int, units: Array) -> None:
        """The asynchronous proxy reads units [n, count] for each warp of `c` until `end_read`."""
        own = np.arange(c.num_warps)[:, None]
        writer, written = self.writer[units], self.written[units]
        late = written > self.known[c.rows][own, writer]
        late &= self.writers[units] >> (c.rows % self.agents)[:, None] & 1 == 0
        unseen = written > self.fenced[c.rows][own, writer]
        for wrong, proxy in ((late, False), (unseen, True)):
            if wrong.any():
                of_lanes = np.repeat(wrong, 32, 0), np.repeat(units, 32, 0)
                if proxy:
                    self._report_unfenced(c, None, *of_lanes)
                self.report(c, None, *of_lanes, "reads", "written", self.write_line)
        self.keep_reading(c.rows, units)
        self.read_line[units] = line

    def keep_reading(self, rows: Array, units: Array) -> None:
        """Nobody may write to these units [n, count], which warps are reading."""
        self.read[units, (rows % self.agents)[:, None]] = _FOREVER

    def end_read(self, rows: Array, units: Array) -> None:
        """The reads have ended, for whom the warps tell so from now on."""
        agents = rows % self.agents
        self.read[units, agents[:, None]] = self.known[rows, agents][:, None]

    def store(
        self,
        c: Cohort,
        line: int,
        places: Array,
        access: Access,
        on: Array | None,
        values: Array | None,
        undefined: Array | None = None,
        bits: Array | None = None,
    ) -> None:
        """A write, before it is done; `values` [lanes] or [lanes, elements], None if unknown, and
        which of their bits are undefined. `bits` are the lanes that write, by default those `on`.
        """
        units, rows = self._units(places, access), self._rows(c, on)
        agents = rows % self.agents
        known = self.known[rows]
        late = self.written[units] > known[np.arange(len(rows))[:, None], self.writer[units]]
        after_reads = any_along(self.read[units] > known[:, None, :], 2)
        fresh = np.ones(units.shape, bool)
        if late.any():
            same = self.unchanged(units, values, undefined)
            fresh = ~(late & same)
            late &= ~same
            if late.any():
                self.report(c, on, late, units, "writes", "written", self.write_line)
        after_reads &= fresh
        if self.updates is not None:
            self.updates.check(c, units, rows, on, "writes")
        if after_reads.any():
            self.report(c, on, after_reads, units, "writes", "read", self.read_line)
        bits = lane_bits(c, on) if bits is None else bits
        self.lanes.store(c, units, rows, on, bits, (values, undefined))
        self._note(units, rows, fresh, known[np.arange(len(rows)), agents], line)

    def _note(self, units: Array, rows: Array, fresh: Array, clocks: Array, line: int) -> None:
        """Records writes; those not `fresh` repeat the value of a concurrent one."""
        agents, clocks = (rows % self.agents)[:, None], clocks[:, None]
        bits = np.int64(1) << agents
        if not fresh.all():
            agents, clocks, bits = (np.broadcast_to(x, units.shape) for x in (agents, clocks, bits))
            self.writers[units[~fresh]] |= bits[~fresh]
            units, agents, clocks, bits = (x[fresh] for x in (units, agents, clocks, bits))
        self.writer[units] = agents
        self.written[units] = clocks
        self.writers[units] = bits
        self.write_line[units] = line
        if (self.writer[units] != agents).any():
            # Several warps in one step: that they agree is checked once the values are stored.
            np.bitwise_or.at(self.writers, units, np.broadcast_to(bits, units.shape))

    def unchanged(self, units: Array, values: Array | None, undefined: Array | None) -> Array:
        """Which units hold already what is to be written."""
        if values is None:
            return np.zeros(units.shape, bool)
        storage = self.machine.memory.shared
        unit = Access(self.unit, 1)
        cells, shadow = storage.view(unit)[units], storage.shadow(unit)[units]

        def flat(stored: Array) -> Array:
            return np.ascontiguousarray(stored).reshape(len(units), -1).view(cells.dtype)

        wanted = unit.defined if undefined is None else ~flat(undefined)
        same: Array = (cells == flat(values).reshape(units.shape)) & (shadow == wanted)
        return same

    def _report_unfenced(self, c: Cohort, on: Array | None, wrong: Array, units: Array) -> None:
        lanes = np.zeros(c.mask.shape, bool)
        lanes[np.ones_like(lanes) if on is None else on] = any_along(wrong, 1)
        unit = int(units[wrong][0])
        address = unit * self.unit % self.machine.memory.shared_stride
        line = int(self.write_line[unit])
        raise FaultError(
            f"proxy: {c.lane_name(lanes)} reads shared address {address} through the asynchronous "
            f"proxy, written in line {line} (`{self.machine.program.source.text(line)}`) with no "
            "fence.proxy.async between"
        )

    def report(
        self,
        c: Cohort,
        on: Array | None,
        wrong: Array,
        units: Array,
        verb: str,
        other: str,
        lines: Array,
        between: tuple[str, str] = ("another warp", "barrier"),
    ) -> None:
        """Raises FaultError for the first of `units` [lanes, n] that is `wrong`."""
        lanes = np.zeros(c.mask.shape, bool)
        lanes[np.ones_like(lanes) if on is None else on] = any_along(wrong, 1)
        unit = int(units[wrong][0])
        address = unit * self.unit % self.machine.memory.shared_stride
        line = int(lines[unit])
        raise FaultError(
            f"race: {c.lane_name(lanes)} {verb} shared address {address}, {other} by {between[0]} "
            f"in line {line} (`{self.machine.program.source.text(line)}`) with no {between[1]} "
            "between"
        )


class Updates:
    """When each warp last updated a unit by an atomic, [u, agents], and where, [u]."""

    def __init__(self, races: Races) -> None:
        self.races = races
        self.time = np.zeros((0, races.agents), np.int32)
        self.line = np.zeros(0, np.int32)

    def note(self, units: Array, rows: Array, line: int) -> None:
        """Atomic updates of `units` [lanes, n] by lanes of the warps `rows`."""
        races = self.races
        more = len(races.writer) - len(self.line)
        if more:
            self.time = np.concatenate((self.time, np.zeros((more, races.agents), np.int32)))
            self.line = np.concatenate((self.line, np.zeros(more, np.int32)))
        agents = rows % races.agents
        self.time[units, agents[:, None]] = races.known[rows, agents][:, None]
        self.line[units] = line

    def check(self, c: Cohort, units: Array, rows: Array, on: Array | None, verb: str) -> None:
        """A plain access, which must come after the updates."""
        inside = np.minimum(units, len(self.line) - 1)  # what is newer was never updated
        late = any_along(self.time[inside] > self.races.known[rows][:, None, :], 2)
        late &= inside == units
        if late.any():
            self.races.report(c, on, late, units, verb, "updated", self.line)


def disagreement(c: Cohort, space: str, wrong: Array, on: Array | None) -> FaultError:
    """Lanes of one instruction stored different values to one place. `wrong` marks those that lost,
    as flat as the addresses of the lanes `on`, with an axis more for several elements."""
    lanes = np.zeros(c.mask.shape, bool)
    flat = wrong if wrong.ndim == (2 if on is None else 1) else any_along(wrong, -1)
    lanes[np.ones_like(lanes) if on is None else on] = flat.reshape(-1)
    name = c.lane_name(lanes)
    return FaultError(
        f"race: {name} and another thread store different values to one place in {space} memory"
    )
