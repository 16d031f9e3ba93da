"""Barriers in shared memory (`mbarrier`): arrivals and bytes counted phase by phase.

An `mbarrier` is 8 bytes, opaque to the program: its state lies beside the memory, keyed by the
block's slot and the offset. A phase is over when no arrival is pending and no byte outstanding.

A wait that isn't over gives way to the other warps. If nobody else can run, copies in flight land;
if there are none, those who wait for barriers are in a deadlock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from .cohort import FaultError
from .types import Array

MAX_COUNT = (1 << 20) - 1
SIZE = 8
Key: TypeAlias = "tuple[int, int]"


@dataclass(slots=True)
class Mbarrier:
    """`pending` arrivals and `outstanding` bytes of the running phase, the number of which is
    `phase`; `offered` is what those who arrived knew, `told` what waits learn."""

    count: int
    pending: int
    outstanding: int = 0
    phase: int = 0
    offered: Array | None = None
    told: Array | None = None
    made: Array | None = None  # the clock of each agent that initialised it, else 0
    seen: int = 0  # phases that somebody knows to be over

    def state(self) -> str:
        come = self.count - self.pending
        text = f"phase {self.phase} runs, {come} of {self.count} arrivals have come"
        return text + (f", {self.outstanding} bytes are outstanding" if self.outstanding else "")


@dataclass(frozen=True, slots=True)
class Waiter:
    """Warps `rows` that looked at a barrier in vain, when there had been so many `changes`."""

    rows: Array
    line: int
    key: Key
    changes: int


@dataclass(eq=False)
class Mbarriers:
    """All barriers of the resident blocks by (slot, offset). `changes` counts what happened to
    them: whoever spins may go on only when it has grown."""

    table: dict[Key, Mbarrier] = field(default_factory=dict)
    changes: int = 0

    def init(self, key: Key, count: int, made: Array | None) -> None:
        """Makes a barrier. Raises FaultError for a count that is out of range."""
        if not 1 <= count <= MAX_COUNT:
            raise FaultError(f"an mbarrier of {count} arrivals: 1 to {MAX_COUNT} are possible")
        self.table[key] = Mbarrier(count, count, made=made)
        self.changes += 1

    def invalidate(self, key: Key) -> None:
        """Ends a barrier's life."""
        self.get(key)
        del self.table[key]

    def get(self, key: Key, known: Array | None = None) -> Mbarrier:
        """The barrier there, for those who know so much.

        Raises:
            FaultError: none was initialised, or not before this, as far as they know.
        """
        found = self.table.get(key)
        if found is None:
            raise FaultError(f"no mbarrier was initialised at shared address {key[1]}")
        if known is not None and found.made is not None and (found.made > known).any():
            raise FaultError(
                f"race: the mbarrier at shared address {key[1]} is used with no barrier after its "
                "initialisation"
            )
        return found

    def arrive(self, key: Key, count: int, known: Array | None) -> None:
        """Counts arrivals. Raises FaultError if there are more than the phase takes."""
        barrier = self.get(key)
        if count > barrier.pending:
            raise FaultError(
                f"{count} arrivals at the mbarrier at shared address {key[1]}, of which "
                f"{barrier.state()}"
            )
        barrier.pending -= count
        self._offer(barrier, known)
        self._settle(key, barrier)

    def expect(self, key: Key, num_bytes: int) -> None:
        """Announces bytes. Raises FaultError beyond what a barrier counts."""
        barrier = self.get(key)
        barrier.outstanding += num_bytes
        if abs(barrier.outstanding) > MAX_COUNT:
            raise FaultError(
                f"the mbarrier at shared address {key[1]} counts at most {MAX_COUNT} bytes"
            )

    def complete(self, key: Key, num_bytes: int, known: Array | None) -> None:
        """Bytes have landed. Raises FaultError if they were never announced."""
        barrier = self.get(key)
        barrier.outstanding -= num_bytes
        if barrier.outstanding < 0 and not barrier.pending:
            raise FaultError(
                f"{-barrier.outstanding} bytes more land at the mbarrier at shared address "
                f"{key[1]} than were announced"
            )
        self._offer(barrier, known)
        self._settle(key, barrier)

    def _offer(self, barrier: Mbarrier, known: Array | None) -> None:
        if known is not None:
            offered = barrier.offered
            barrier.offered = known.copy() if offered is None else np.maximum(offered, known)

    def _settle(self, key: Key, barrier: Mbarrier) -> None:
        self.changes += 1
        if barrier.pending or barrier.outstanding:
            return
        barrier.phase += 1
        barrier.pending = barrier.count
        barrier.told = barrier.offered

    def is_over(self, key: Key, parity: int) -> bool:
        """Whether the phase of a parity is over."""
        return self.get(key).phase % 2 != parity

    def is_stuck(self, waiter: Waiter | None) -> bool:
        """Whether looking again would be in vain, as nothing has happened since."""
        return waiter is not None and waiter.changes == self.changes

    def waits(self, waiter: Waiter) -> list[tuple[int, str, int]]:
        """(warp, what it waits for, line) of those who wait."""
        barrier = self.table.get(waiter.key)
        state = "" if barrier is None else f" ({barrier.state()})"
        what = f"the mbarrier at shared address {waiter.key[1]}{state}"
        return [(int(row), what, waiter.line) for row in waiter.rows]
