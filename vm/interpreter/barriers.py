"""`mbarrier`s: arrays of barriers that count arrivals and bytes, phase by phase.

What is announced and not there yet lands when somebody waits for it and all arrivals have come: as
late as allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..diagnostics import ExecutionError
from .clocks import Clocks, Times, joined

if TYPE_CHECKING:
    from ..diagnostics import Location


@dataclass(frozen=True, eq=False)
class Delivery:
    """Bytes on their way to a block: `land` puts them there, knowing the clock and its time."""

    num_bytes: int
    land: Callable[[int, int], None]
    location: Location | None


@dataclass(eq=False)
class Mbarrier:
    """One barrier. `phase` counts the phases that are over, `arrived` and `num_bytes` belong to the
    one that runs; `offered` is what those who arrived have told, `told` what waits give."""

    name: str
    count: int
    clocks: Clocks
    phase: int = 0
    arrived: int = 0
    num_bytes: int = 0  # announced and not landed
    deliveries: list[Delivery] = field(default_factory=list)
    offered: Times = field(default_factory=lambda: np.zeros(0, np.int64))
    told: Times = field(default_factory=lambda: np.zeros(0, np.int64))
    waited: int = 0  # phases that the own block knows to be over
    reached: tuple[int, int] | None = None  # the last arrival of another block: phase and rank

    def __post_init__(self) -> None:
        self.clock = self.clocks.number()

    def arrive(self, count: int, times: Times, num_bytes: int = 0) -> None:
        """Counts arrivals and announces bytes.

        Raises:
            ExecutionError: more arrivals than the phase takes.
        """
        if self.arrived + count > self.count:
            missing = self.count - self.arrived
            raise ExecutionError(
                f"{count} arrivals at {self.name}, whose phase {self.phase} lacks {missing} of "
                f"{self.count}",
                hint="give `alloc_mbarrier` the number of arrivals of a phase as its `count`, and "
                "wait for a phase before arriving for the next",
            )
        self.offered = joined(self.offered, times)
        self.num_bytes += num_bytes
        self.arrived += count
        self._settle()

    def deliver(self, delivery: Delivery) -> None:
        """A copy has started that will tell of its bytes here."""
        self.deliveries.append(delivery)

    def is_over(self, parity: int) -> bool:
        """Whether the phase of a parity is over; lands what it waits for."""
        if self.phase % 2 == parity and self.arrived == self.count:
            while self.deliveries and self.phase % 2 == parity:
                self._land(self.deliveries.pop(0))
        over = self.phase % 2 != parity
        if over:
            self.waited = self.phase
        return over

    def could_be_over(self, parity: int) -> bool:
        """Whether `is_over` would say so now."""
        due = sum(delivery.num_bytes for delivery in self.deliveries)
        ready = self.arrived == self.count and due >= self.num_bytes
        return self.phase % 2 != parity or ready

    def _land(self, delivery: Delivery) -> None:
        delivery.land(self.clock, self.phase + 1)
        self.num_bytes -= delivery.num_bytes
        if self.num_bytes < 0:
            raise ExecutionError(
                f"{-self.num_bytes} bytes more land at {self.name} than were announced for its "
                f"phase {self.phase}",
                notes=[("the copy starts here", delivery.location)],
                hint="announce exactly the bytes of a phase's copies with `mbarrier_expect`",
            )
        self._settle()

    def _settle(self) -> None:
        if self.arrived < self.count or self.num_bytes:
            return
        self.phase += 1
        self.arrived = 0
        own = np.zeros(self.clock + 1, np.int64)
        own[self.clock] = self.phase
        self.told = joined(self.told, self.offered, own)

    def end(self) -> None:
        """The block ends. Raises ExecutionError if something is still on its way to it."""
        if self.reached is not None and self.reached[0] >= self.waited:
            raise ExecutionError(
                f"the block ends, but the block of rank {self.reached[1]} arrives at {self.name}, "
                "which nothing waits for",
                hint="add a `cluster_barrier` after the last arrival",
            )
        if self.deliveries:
            raise ExecutionError(
                f"the block ends while a copy that tells {self.name} is in flight",
                self.deliveries[0].location,
                hint="`mbarrier_wait` for the phase in which its bytes were announced",
            )

    def state(self) -> str:
        """What the running phase lacks, in words."""
        due = sum(delivery.num_bytes for delivery in self.deliveries)
        lacks = [f"{self.arrived} of {self.count} arrivals have come"]
        if self.num_bytes or due:
            lacks.append(f"{self.num_bytes} bytes are announced and {due} under way")
        return f"phase {self.phase} runs, {', '.join(lacks)}"


@dataclass(eq=False)
class BarrierArray:
    """The barriers of an `alloc_mbarrier`; `fresh`: other blocks can't know of them yet."""

    name: str
    shape: tuple[int, ...]
    barriers: list[Mbarrier]
    fresh: bool = True

    def at(self, index: tuple[int, ...]) -> Mbarrier:
        """The barrier at an index. Raises ExecutionError if there is none."""
        if any(not 0 <= i < extent for i, extent in zip(index, self.shape, strict=True)):
            raise ExecutionError(
                f"there is no `%{self.name}`{list(index)}: its shape is {list(self.shape)}"
            )
        return self.barriers[int(np.ravel_multi_index(index, self.shape))]


def make_barriers(name: str, shape: tuple[int, ...], count: int, clocks: Clocks) -> BarrierArray:
    """Barriers in their phase 0."""
    barriers = [
        Mbarrier(f"`%{name}`{[int(i) for i in index]}", count, clocks)
        for index in np.ndindex(*shape)
    ]
    return BarrierArray(name, shape, barriers)
