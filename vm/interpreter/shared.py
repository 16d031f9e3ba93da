"""Shared memory: tiles with a shadow of who touched what since the last barrier.

Between two barriers an element may be read by many threads, or written and read by one. Anything
else is a race: what the reader gets, or which value stays, depends on timing. The shadows hold for
each element the writer and the reader, as a thread number, a warp's that has met since, NONE or
MANY. A tile that several warps hold and a tile or asynchronous copy without a layout count as MANY:
nobody may rely on their order.
Storing an equal value is no race.

Tensor cores and bulk copies see an ordinary write after a proxy fence only: `unfenced` marks the
elements written since the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tileloom.layouts import row_major

from ..diagnostics import ExecutionError
from ..semantics.values import Array, Mask, drop_clean, storage, to_codes
from ..types import SharedType
from .boxes import Box
from .owners import ATOMIC, LANES_OF, MANY, NONE, WARP, Threads, after_meeting, in_order
from .points import Points

if TYPE_CHECKING:
    from ..diagnostics import Location
    from .cluster import BlockShadow

Region: TypeAlias = Box | Points


@dataclass(eq=False)
class SharedTile:
    """A tile in shared memory; `poison` marks the elements that were never written."""

    name: str
    type: SharedType
    location: Location | None
    freed: bool = False
    pending: list[PendingCopy] = field(default_factory=list)
    blocks: BlockShadow | None = None  # in a cluster: which blocks touched what
    # Boxes that tensor cores are reading, and where that started.
    readers: list[tuple[Box, Location | None]] = field(default_factory=list)
    # Boxes that the copy engine is reading, and where that started.
    leaving: list[tuple[Box, Location | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = self.type.shape
        self.data: Array = np.zeros(shape, storage(self.type.dtype))
        self.poison: Mask = np.ones(shape, np.bool_)
        self._unfenced: Mask = np.zeros(shape, np.bool_)
        self._writer: Threads = np.full(shape, NONE, np.int32)
        self._reader: Threads = np.full(shape, NONE, np.int32)
        self._written: Location | None = None
        self._read: Location | None = None
        self._plainly_written: Location | None = None
        self._has_writes = self._has_reads = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    def start_bit(self, at: tuple[int, ...]) -> int:
        """The bit at which an element starts, from the start of the tile."""
        layout = self.type.layout or row_major(self.shape)
        return layout.offset(at) * self.type.dtype.bits

    def read(
        self, box: Region, threads: Threads, location: Location | None, checks: bool
    ) -> tuple[Array, Mask | None]:
        """The elements of a box and which of them have no value.

        `threads` (of the box's size) says who reads each. Raises ExecutionError.
        """
        data = np.array(box.select(self.data))
        if not checks:
            return data, None
        self._check_alive(box, "read")
        self._note_read(box, threads, location)
        return data, drop_clean(np.array(box.select(self.poison)))

    def write(
        self,
        box: Region,
        data: Array,
        poison: Mask | None,
        threads: Threads,
        location: Location | None,
        checks: bool,
    ) -> None:
        """Replace the elements of a box. Raises ExecutionError."""
        if checks:
            self._check_alive(box, "written")
            self._note_write(box, data, threads, location)
            self._note_plain_write(box, location)
        box.put(self.data, data)
        box.put(self.poison, False if poison is None else poison)

    def read_async(
        self, box: Region, location: Location | None, checks: bool
    ) -> tuple[Array, Mask | None]:
        """`read` through the asynchronous proxy, by nobody in particular. Raises ExecutionError."""
        if checks:
            self.refuse_unfenced(box, "read")
        threads = np.broadcast_to(np.int32(MANY), np.shape(box.select(self._unfenced)))
        return self.read(box, threads, location, checks)

    def note_async_read(self, box: Region, location: Location | None) -> None:
        """A read that started earlier ends now."""
        threads = np.broadcast_to(np.int32(MANY), np.shape(box.select(self._unfenced)))
        self._note_read(box, threads, location)

    def refuse_unfenced(self, box: Region, verb: str) -> None:
        """Raises ExecutionError if a proxy fence is missing before an asynchronous access."""
        unfenced = np.asarray(box.select(self._unfenced))
        if unfenced.any():
            at = tuple(int(i) for i in np.argwhere(unfenced)[0])
            raise ExecutionError(
                f"`%{self.name}` is {verb} through the asynchronous proxy, but its element "
                f"{box.index_of(at)} was written by other means with no proxy fence since",
                notes=[("written here", self._plainly_written)],
                hint="`fence_proxy_async` after the stores, then `barrier`",
            )

    def fence_proxy(self) -> None:
        """The asynchronous proxy sees all earlier writes."""
        self._unfenced.fill(False)

    def _note_plain_write(self, box: Region, location: Location | None) -> None:
        box.put(self._unfenced, True)
        self._plainly_written = location

    def read_remote(
        self, box: Region, rank: int, location: Location | None, checks: bool
    ) -> tuple[Array, Mask | None]:
        """`read` by the block of a rank in the cluster that isn't the tile's own."""
        data = np.array(box.select(self.data))
        if not checks:
            return data, None
        self._check_alive(box, "read")
        self._note_remote_read(box, rank, location)
        return data, drop_clean(np.array(box.select(self.poison)))

    def write_remote(
        self,
        box: Region,
        data: Array,
        poison: Mask | None,
        rank: int,
        location: Location | None,
        checks: bool,
    ) -> None:
        """`write` by the block of a rank in the cluster that isn't the tile's own."""
        if checks:
            self._check_alive(box, "written")
            self._note_remote_write(box, data, rank, location)
            self._note_plain_write(box, location)
        box.put(self.data, data)
        box.put(self.poison, False if poison is None else poison)

    def _note_remote_read(self, box: Region, rank: int, location: Location | None) -> None:
        assert self.blocks is not None
        self.blocks.note_read(box, rank, location)

    def _note_remote_write(
        self, box: Region, data: Array, rank: int, location: Location | None
    ) -> None:
        assert self.blocks is not None
        self.blocks.note_write(box, rank, location)

    def note_atomic(self, box: Region, location: Location | None) -> None:
        """Atomic updates race with plain accesses, not with each other."""
        self._check_alive(box, "updated")
        if self.blocks is not None:
            self.blocks.note_write(box, self.blocks.owner, location)
        writer, reader = box.select(self._writer), box.select(self._reader)
        self._report((writer != NONE) & (writer != ATOMIC), box, "written", self._written)
        self._report(reader != NONE, box, "read", self._read)
        box.put(self._writer, ATOMIC)
        self._note_plain_write(box, location)
        self._has_writes, self._written = True, location

    def barrier(self) -> None:
        """From now on all earlier accesses are ordered before all later ones."""
        if self._has_writes:
            self._writer.fill(NONE)
        if self._has_reads:
            self._reader.fill(NONE)
        self._has_writes = self._has_reads = False

    def warp_barrier(self) -> None:
        """From now on earlier accesses of a warp are ordered before later ones of the same warp."""
        if self._has_writes:
            self._writer = after_meeting(self._writer)
        if self._has_reads:
            self._reader = after_meeting(self._reader)

    def start_copy(self, copy: PendingCopy, checks: bool) -> None:
        """An asynchronous copy may write its box from now on."""
        if checks:
            self._check_alive(copy.box, "written")
            self._note_write(copy.box, copy.data, copy.threads, copy.location)
        self.pending.append(copy)

    def land(self, copy: PendingCopy) -> None:
        """The copy has arrived, for those who copied; a barrier makes it safe for all threads."""
        self.pending.remove(copy)
        if self.blocks is not None:
            self.blocks.note_write(copy.box, self.blocks.owner, copy.location)
        copy.box.select(self.data)[...] = copy.data
        copy.box.select(self.poison)[...] = False
        copy.box.select(self._writer)[...] = copy.threads
        self._note_plain_write(copy.box, copy.location)
        self._has_writes, self._written = True, copy.location

    def _check_alive(self, box: Region, verb: str) -> None:
        if self.freed:
            raise ExecutionError(f"`%{self.name}` is {verb} after it was freed")
        for copy in self.pending:
            if box.meets(copy.box):
                raise ExecutionError(
                    f"`%{self.name}` is {verb} while an asynchronous copy into it is in flight",
                    notes=[("the copy starts here", copy.location)],
                    hint=copy.hint,
                )
        for region, start in self.leaving if verb != "read" else ():
            if box.meets(region):
                raise ExecutionError(
                    f"`%{self.name}` is {verb} while a bulk store may still read it",
                    notes=[("the store starts here", start)],
                    hint="`bulk_commit`, then `bulk_wait {read = true}`, then `barrier`",
                )
        for region, start in self.readers if verb != "read" else ():
            if box.meets(region):
                raise ExecutionError(
                    f"`%{self.name}` is {verb} while a product that reads it is in flight",
                    notes=[("the product starts here", start)],
                    hint="`wgmma_commit`, then `wgmma_wait`, then `barrier`",
                )

    def _note_read(self, box: Region, threads: Threads, location: Location | None) -> None:
        if self.blocks is not None:
            self.blocks.note_read(box, self.blocks.owner, location)
        if self._has_writes:
            writer = box.select(self._writer)
            raced = (writer != NONE) & ~in_order(writer, threads)
            self._report(raced, box, "written", self._written, threads, writer)
        reader = box.select(self._reader)
        if self._has_reads:
            known = np.where((reader == NONE) | in_order(reader, threads), threads, MANY)
            box.put(self._reader, known)
        else:
            box.put(self._reader, threads)
        self._has_reads, self._read = True, location

    def _note_write(
        self, box: Region, data: Array, threads: Threads, location: Location | None
    ) -> None:
        if self.blocks is not None:
            self.blocks.note_write(box, self.blocks.owner, location)
        writer, reader = box.select(self._writer), box.select(self._reader)
        if self._has_reads:
            raced = (reader != NONE) & ~in_order(reader, threads)
            self._report(raced, box, "read", self._read, threads, reader)
        if not self._has_writes:
            box.put(self._writer, threads)
        else:
            other = (writer != NONE) & ~in_order(writer, threads)
            if other.any():
                raced = other & self._differs(box, data)
                self._report(raced, box, "written", self._written, threads, writer)
            box.put(self._writer, np.where(other, MANY, threads))
        self._has_writes, self._written = True, location

    def _differs(self, box: Region, data: Array) -> Mask:
        dtype = self.type.dtype
        old = to_codes(dtype, np.ascontiguousarray(box.select(self.data)))
        new = to_codes(dtype, np.ascontiguousarray(data))
        return np.asarray((old != new) | box.select(self.poison))

    def _report(
        self,
        raced: Mask,
        box: Region,
        verb: str,
        earlier: Location | None,
        now: Threads | None = None,
        before: Threads | None = None,
    ) -> None:
        if not raced.any():
            return
        at = tuple(int(i) for i in np.argwhere(raced)[0])
        who = "" if before is None else f" by {_thread(before[at])}"
        whose = "" if now is None else f" by {_thread(now[at])}"
        raise ExecutionError(
            f"race on `%{self.name}`: element {box.index_of(at)} is accessed{whose}, and was "
            f"{verb}{who} with no barrier in between",
            notes=[(f"{verb} here", earlier)],
            hint="add a `barrier` between the two",
        )


@dataclass(eq=False)
class PendingCopy:
    """An asynchronous copy that has started: the data it will write, and where."""

    target: SharedTile
    box: Box
    data: Array
    threads: Threads  # who copies each element
    location: Location | None
    hint: str = "`copy_async_commit`, then `copy_async_wait`, then `barrier`"


def _thread(number: int) -> str:
    if number <= LANES_OF:
        return f"threads of warp {LANES_OF - number}"
    if number <= WARP:
        return f"a thread of warp {WARP - number}"
    return "several threads" if number in (MANY, ATOMIC) else f"thread {number}"
