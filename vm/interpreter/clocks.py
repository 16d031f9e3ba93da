"""Vector clocks: which accesses to shared memory happened before which, where barriers of the block
alone don't say it.

A *stream* is what a running thread group does; its clock advances whenever it tells others what it
did. `known[s]` of a stream says up to which time the accesses of stream s happened before whatever
any of its threads does now. The barriers of `mbarrier`s have clocks too, their phases: what a copy
engine writes is known to whoever waited for the phase it was announced in.

Threads of one stream, too, are ordered by meetings and barriers only: `known[s]` of stream s itself
ends at its last meeting. Accesses of one thread are always in order, whatever the streams.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..ir import Part

Times = NDArray[np.int64]


def joined(*parts: Times) -> Times:
    """What all parts know together."""
    result = np.zeros(max(map(len, parts), default=0), np.int64)
    for part in parts:
        np.maximum(result[: len(part)], part, out=result[: len(part)])
    return result


@dataclass(eq=False)
class Clocks:
    """The clocks of a cluster, numbered; `current` is the stream whose instruction runs."""

    count: int = 0
    current: Stream | None = None

    def number(self) -> int:
        """The number of a new clock."""
        self.count += 1
        return self.count - 1

    def padded(self, times: Times) -> Times:
        """The times with a zero for each clock that they don't know."""
        if len(times) < self.count:
            times = np.concatenate((times, np.zeros(self.count - len(times), np.int64)))
        return times


@dataclass(eq=False)
class Stream:
    """The clock of a thread group, of these threads of a block; nobody knows which of a warp's a
    single one is."""

    clocks: Clocks
    rank: int
    part: Part
    time: int = 1
    known: Times = field(default_factory=lambda: np.zeros(0, np.int64))
    left: dict[Part, Times] = field(default_factory=dict)  # what parts of it knew at their end
    ended: Times = field(default_factory=lambda: np.zeros(0, np.int64))  # parts of it, all threads

    def __post_init__(self) -> None:
        self.number = self.clocks.number()
        self._know_itself()

    def _know_itself(self) -> None:
        self.known = self.clocks.padded(self.known)
        if self.part.single:
            np.maximum(self.known, self.clocks.padded(self.ended), out=self.known)
            self.known[self.number] = self.time

    def release(self) -> Times:
        """All that its threads did and know until now; what follows is later."""
        times = self.clocks.padded(joined(self.known, self.ended))
        times[self.number] = self.time
        self.time += 1
        self._know_itself()
        return times

    def knowledge(self) -> Times:
        """What happened before whatever one of its threads, nobody knows which, does now."""
        if self.part.single:
            return self.release()
        return self.known.copy()

    def learn(self, times: Times) -> None:
        """Its threads have waited for others."""
        self.known = joined(self.known, times)
        self._know_itself()

    def meet(self) -> None:
        """Its threads meet."""
        self.learn(self.release())

    def start(self, part: Stream) -> None:
        """Some of its threads begin to run as a stream of their own."""
        known = [times for left, times in self.left.items() if left.covers(part.part)]
        part.learn(joined(self.known, *known))

    def end(self, part: Stream) -> None:
        """These threads have come back."""
        self.left[part.part] = part.known
        self.ended = joined(self.ended, part.release())
        self._know_itself()
