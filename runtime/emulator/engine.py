"""The copy engine: bulk and tensor copies, which one thread starts and which land later.

A load tells its bytes to an mbarrier when it lands: as late as possible, when nobody else can run,
in an order that the seed chooses; or at once, with `asynchronous="early"`. Until then its
destination is undefined, and whoever touches it races with it. A store belongs to the thread that
started it: it reads shared memory in the wait that covers it and writes global memory in the wait
for more than the reading, or when the thread ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .cohort import Cohort, FaultError, PlacedError
from .mbarriers import Key
from .storage import Storage
from .types import Array

if TYPE_CHECKING:
    from .machine import Machine

_FOREVER = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes of global memory by number; -1 stands for a zero, or for nobody's."""

    storage: Storage
    places: Array


@dataclass(eq=False, slots=True)
class Load:
    """Bytes on their way to shared memory at `places`, to be told to the barrier `key`. `clocks` is
    what the warp `row` knew when it started them."""

    line: int
    row: int
    places: Array
    source: Bytes
    key: Key
    clocks: Array | None


@dataclass(eq=False, slots=True)
class Store:
    """Bytes of shared memory at `places` on their way to global memory; `data` once read."""

    line: int
    row: int
    places: Array
    target: Bytes
    data: Array | None = None


@dataclass(eq=False, slots=True)
class Stores:
    """The stores of a thread: not yet committed, and its groups in flight."""

    open: list[Store] = field(default_factory=list)
    groups: list[list[Store]] = field(default_factory=list)


class Engine:
    """The copies in flight of a launch's resident blocks."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.loads: list[Load] = []
        self.threads: dict[tuple[int, int], Stores] = {}

    # ---- loads

    def load(
        self, c: Cohort, one: Array, line: int, places: Array, source: Bytes, key: Key
    ) -> None:
        """The lane `one` [n, 32] starts a load."""
        machine, races = self.machine, self.machine.races
        row = int(c.rows[one.any(1)][0])
        clocks = None
        if races is not None:
            units = self._units(places)
            self._check_write(c, one, units)
            agent = row % races.agents
            clocks = races.clocks[row].copy()
            # The asynchronous proxy wrote it: others of that proxy see it without a fence.
            clocks[races.agents + agent] = clocks[agent]
            races.writer[units], races.written[units] = agent, _FOREVER
            races.writers[units], races.write_line[units] = 0, line
            races.advance(np.array([row]))
        shared = machine.memory.shared
        assert shared.defined is not None
        shared.defined[places] = 0
        self.loads.append(Load(line, row, places, source, key, clocks))
        if machine.early:
            self._land(self.loads.pop())

    def _units(self, places: Array) -> Array:
        races = self.machine.races
        assert races is not None
        return np.unique(places // races.unit)

    def _check_write(self, c: Cohort, one: Array, units: Array) -> None:
        races = self.machine.races
        assert races is not None
        known = races.known[c.rows[one.any(1)][0]]
        late = races.written[units] > known[races.writer[units]]
        if late.any():
            lines = races.write_line
            races.report(c, one, late[None], units[None], "writes", "written", lines)
        unseen = races.written[units] > races.fenced[c.rows[one.any(1)][0]][races.writer[units]]
        if unseen.any():
            line = int(races.write_line[units[unseen][0]])
            raise FaultError(
                f"proxy: {c.lane_name(one)} overwrites through the asynchronous proxy what was "
                f"written in line {line} (`{self.machine.program.source.text(line)}`) with no "
                "fence.proxy.async between"
            )
        read = (races.read[units] > known).any(1)
        if read.any():
            races.report(c, one, read[None], units[None], "writes", "read", races.read_line)

    def settle(self) -> bool:
        """Lands loads, as nobody can run. Says whether there were any."""
        if not self.loads:
            return False
        loads, self.loads = self.loads, []
        random = self.machine.random
        if random is not None:
            random.shuffle(loads)
            count = random.randint(1, len(loads))
            loads, self.loads = loads[:count], loads[count:]
        for load in loads:
            self._land(load)
        return True

    def _land(self, load: Load) -> None:
        machine, races = self.machine, self.machine.races
        try:
            if not machine.live_warps()[load.key[0]]:
                raise FaultError("this copy lands in a block that has ended")
            shared = machine.memory.shared
            assert shared.defined is not None
            shared.data[load.places] = _values(load.source)
            shared.defined[load.places] = 0xFF
            if races is not None:
                units = self._units(load.places)
                assert load.clocks is not None
                races.written[units] = load.clocks[load.row % races.agents]
            machine.mbarriers.complete(load.key, len(load.places), load.clocks)
        except FaultError as fault:
            raise PlacedError(load.line, str(fault)) from fault

    def finish(self) -> None:
        """All threads have ended. Raises PlacedError if a load is still in flight."""
        if self.loads:
            raise PlacedError(
                self.loads[0].line, "all threads have ended, but this copy's bytes are in flight"
            )

    # ---- stores

    def store(self, c: Cohort, one: Array, line: int, places: Array, target: Bytes) -> None:
        """The lane `one` [n, 32] starts a store."""
        warp, lane = (int(place[0]) for place in np.nonzero(one))
        row = int(c.rows[warp])
        if self.machine.races is not None:
            units = self._units(places)[None]
            self.machine.races.begin_read(c.subset(one), line, units)
        store = Store(line, row, places, target)
        self.threads.setdefault((row, lane), Stores()).open.append(store)
        if self.machine.early:
            self._read(store)
            _write(store)

    def commit(self, row: int, lane: int) -> None:
        """A thread closes a group."""
        stores = self.threads.setdefault((row, lane), Stores())
        stores.groups.append(stores.open)
        stores.open = []

    def wait(self, row: int, lane: int, pending: int, only_read: bool) -> None:
        """A thread waits for all but its `pending` newest groups."""
        stores = self.threads.get((row, lane))
        if stores is None:
            return
        count = max(len(stores.groups) - pending, 0)
        for store in (store for group in stores.groups[:count] for store in group):
            self._read(store)
            self._end_read(store)
            if not only_read:
                _write(store)
        if not only_read:
            del stores.groups[:count]

    def leave(self, c: Cohort, lanes: Array) -> None:
        """Threads end. Raises FaultError if what they store was not read yet, as they know."""
        for warp, lane in zip(*np.nonzero(lanes), strict=True):
            stores = self.threads.pop((int(c.rows[warp]), int(lane)), None)
            if stores is None:
                continue
            for store in (*stores.open, *(s for group in stores.groups for s in group)):
                if store.data is None or (self.machine.early and store in stores.open):
                    raise PlacedError(store.line, "the thread ends without a wait for this copy")
                _write(store)

    def _read(self, store: Store) -> None:
        if store.data is not None:
            return
        shared = self.machine.memory.shared
        assert shared.defined is not None
        if (shared.defined[store.places] != 0xFF).any():
            raise PlacedError(store.line, "this copy reads undefined bits of shared memory")
        store.data = shared.data[store.places].copy()

    def _end_read(self, store: Store) -> None:
        races = self.machine.races
        if races is not None:
            races.end_read(np.array([store.row]), self._units(store.places)[None])


def _values(source: Bytes) -> Array:
    """Bytes, zero where there are none."""
    inside = source.places >= 0
    values = np.zeros(len(source.places), np.uint8)
    values[inside] = source.storage.data[source.places[inside]]
    return values


def _write(store: Store) -> None:
    assert store.data is not None
    inside = store.target.places >= 0
    store.target.storage.data[store.target.places[inside]] = store.data[inside]
