"""Shared tiles of programs in which barriers of the block alone don't order accesses: those with
`mbarrier`s or thread groups.

For each element the tile knows who wrote it last, and for each stream who of it read it last, each
as a thread of the block and a time of the stream (see `clocks`). An access is a race with an
earlier one unless that happened before it: by a thread that is the same, or by a time that the
running stream knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..diagnostics import ExecutionError
from ..semantics.values import Array, Mask
from .clocks import Clocks, Stream
from .owners import ATOMIC, LANES_OF, MANY, NONE, WARP, Threads, after, after_meeting, in_order
from .shared import PendingCopy, Region, SharedTile

if TYPE_CHECKING:
    from ..diagnostics import Location

_THREADS = 1024  # of a block: threads of the next rank have numbers from there on
_HINT = (
    "add a `barrier` between the two, or an `mbarrier` that one arrives at and the other waits for"
)


class _Record:
    """The last access to each element: the stream, its time, and the thread of the block."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.stream = np.zeros(shape, np.int32)
        self.time = np.zeros(shape, np.int64)  # 0: there was none
        self.thread: Threads = np.full(shape, NONE, np.int32)
        self.location: Location | None = None

    def late(self, box: Region, stream: Stream, threads: Threads) -> Mask:
        """Which accesses of a box did not happen before one that `threads` of a stream make."""
        known = stream.clocks.padded(stream.known)
        before = box.select(self.thread)
        unknown = box.select(self.time) > known[box.select(self.stream)]
        late: Mask = unknown & ~in_order(before, threads)
        return late

    def put(self, box: Region, number: int, time: int, threads: object) -> None:
        box.put(self.stream, number)
        box.put(self.time, time)
        box.put(self.thread, threads)


@dataclass(eq=False)
class ClockedTile(SharedTile):
    """A shared tile that checks accesses by the clocks of its cluster."""

    clocks: Clocks | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._last_write = _Record(self.shape)
        self._last_reads: dict[int, _Record] = {}

    @property
    def _stream(self) -> Stream:
        assert self.clocks is not None and self.clocks.current is not None
        return self.clocks.current

    def barrier(self) -> None:
        """Clocks say what is ordered."""

    def warp_barrier(self) -> None:
        """From now on earlier accesses of a warp of the running group are ordered before later ones
        of the same warp."""
        stream = self._stream
        first = stream.rank * _THREADS + stream.part.first
        for record in (self._last_write, *self._last_reads.values()):
            record.thread = after_meeting(record.thread, first, stream.part.num_threads)

    def fence_proxy(self) -> None:
        """The asynchronous proxy sees all writes that happened before, or by the running group."""
        stream, last = self._stream, self._last_write
        known = stream.clocks.padded(stream.known)
        seen = (last.time <= known[last.stream]) | (last.stream == stream.number)
        self._unfenced &= ~seen

    def land(self, copy: PendingCopy) -> None:
        """The copy has arrived, for those who copied."""
        self.pending.remove(copy)
        self._touch(copy.location)
        copy.box.select(self.data)[...] = copy.data
        copy.box.select(self.poison)[...] = False
        stream = self._stream
        self._last_write.put(copy.box, stream.number, stream.time, self._threads(copy.threads))
        self._last_write.location = copy.location
        self._note_plain_write(copy.box, copy.location)

    def land_by_engine(self, copy: PendingCopy, clock: int, time: int) -> None:
        """The copy has arrived, for those who know a clock's time: whoever waited for it."""
        self.pending.remove(copy)
        copy.box.select(self.data)[...] = copy.data
        copy.box.select(self.poison)[...] = False
        copy.box.select(self._unfenced)[...] = False
        self._last_write.put(copy.box, clock, time, MANY)
        self._last_write.location = copy.location

    def _touch(self, location: Location | None) -> None:
        if self.blocks is not None:
            self.blocks.touch(self._stream.rank, location)

    def _threads(self, threads: Threads) -> Threads:
        """Threads of the running group as threads of the block, in the cluster."""
        stream = self._stream
        if stream.part.single:
            return np.broadcast_to(np.int32(MANY), threads.shape)
        first = stream.rank * _THREADS + stream.part.first
        return after(threads, first)

    def _note_read(self, box: Region, threads: Threads, location: Location | None) -> None:
        self._touch(location)
        stream, threads = self._stream, self._threads(threads)
        late = self._last_write.late(box, stream, threads)
        self._refuse(late, box, "written", self._last_write, threads)
        record = self._last_reads.setdefault(stream.number, _Record(self.shape))
        again = record.late(box, stream, threads)
        record.put(box, stream.number, stream.time, np.where(again, MANY, threads))
        record.location = location

    def _note_write(
        self, box: Region, data: Array, threads: Threads, location: Location | None
    ) -> None:
        self._touch(location)
        stream, threads = self._stream, self._threads(threads)
        for record in self._last_reads.values():
            self._refuse(record.late(box, stream, threads), box, "read", record, threads)
        late = self._last_write.late(box, stream, threads)
        if late.any():
            raced = late & self._differs(box, data)
            self._refuse(raced, box, "written", self._last_write, threads)
        self._last_write.put(box, stream.number, stream.time, np.where(late, MANY, threads))
        self._last_write.location = location

    def note_atomic(self, box: Region, location: Location | None) -> None:
        """Atomic updates race with plain accesses, not with each other."""
        self._check_alive(box, "updated")
        self._touch(location)
        stream = self._stream
        many = np.broadcast_to(np.int32(MANY), box.select(self._last_write.thread).shape)
        for record in self._last_reads.values():
            self._refuse(record.late(box, stream, many), box, "read", record, many)
        late = self._last_write.late(box, stream, many)
        late &= box.select(self._last_write.thread) != ATOMIC
        self._refuse(late, box, "written", self._last_write, many)
        self._last_write.put(box, stream.number, stream.time, ATOMIC)
        self._last_write.location = location
        self._note_plain_write(box, location)

    def _note_remote_read(self, box: Region, rank: int, location: Location | None) -> None:
        self._note_read(box, self._unknown(box), location)

    def _note_remote_write(
        self, box: Region, data: Array, rank: int, location: Location | None
    ) -> None:
        self._note_write(box, data, self._unknown(box), location)

    def _unknown(self, box: Region) -> Threads:
        return np.broadcast_to(np.int32(MANY), box.select(self._last_write.thread).shape)

    def _refuse(
        self, raced: NDArray[np.bool_], box: Region, verb: str, record: _Record, now: Threads
    ) -> None:
        if not raced.any():
            return
        at = tuple(int(i) for i in np.argwhere(raced)[0])
        who, whose = _thread(box.select(record.thread)[at]), _thread(np.asarray(now)[at])
        raise ExecutionError(
            f"race on `%{self.name}`: element {box.index_of(at)} is accessed by {whose}, and was "
            f"{verb} by {who} with nothing in between that orders the two",
            notes=[(f"{verb} here", record.location)],
            hint=_HINT,
        )


def _thread(number: int) -> str:
    if number <= LANES_OF:
        return f"threads of warp {LANES_OF - number}"
    if number <= WARP:
        return f"a thread of warp {WARP - number}"
    if number < 0:
        return "several threads"
    rank, thread = divmod(int(number), _THREADS)
    return f"thread {thread}" + (f" of rank {rank}" if rank else "")
