"""Clusters: blocks that run together, meet, and reach each other's shared memory.

Between two cluster barriers an element of a shared tile may be read by many blocks, or written and
read by one. Anything else is a race, and so is the end of a tile's or block's life while another
block may access it. Both are found whatever the order in which blocks run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..diagnostics import ExecutionError
from .barriers import BarrierArray
from .clocks import joined
from .owners import MANY, NONE

if TYPE_CHECKING:
    from ..diagnostics import Location
    from .group import ThreadGroup
    from .shared import Region, SharedTile

_HINT = "add a `cluster_barrier` between the two"


@dataclass(eq=False)
class BlockShadow:
    """Which blocks of a cluster, by rank, touched each element of a tile since the last cluster
    barrier; `owner` is the tile's own block."""

    name: str
    shape: tuple[int, ...]
    owner: int
    fresh: bool = True  # the others can't know yet that the tile is there
    reached: Location | None = None  # the last access by another block
    by: int | None = None

    def __post_init__(self) -> None:
        self._writer = np.full(self.shape, NONE, np.int32)
        self._reader = np.full(self.shape, NONE, np.int32)
        self._written: Location | None = None
        self._read: Location | None = None

    def note_read(self, region: Region, rank: int, location: Location | None) -> None:
        """A block reads. Raises ExecutionError if another one wrote."""
        self.touch(rank, location)
        self._refuse(self._writer, region, rank, "written", self._written)
        reader = region.select(self._reader)
        region.put(self._reader, np.where((reader == NONE) | (reader == rank), rank, MANY))
        self._read = location

    def note_write(self, region: Region, rank: int, location: Location | None) -> None:
        """A block writes. Raises ExecutionError if another one wrote or read."""
        self.touch(rank, location)
        self._refuse(self._writer, region, rank, "written", self._written)
        self._refuse(self._reader, region, rank, "read", self._read)
        region.put(self._writer, rank)
        self._written = location

    def end(self, what: str) -> None:
        """The tile's life ends. Raises ExecutionError if another block may still access it."""
        if self.by is not None:
            raise ExecutionError(
                f"{what}, but the block of rank {self.by} accesses `%{self.name}` of rank "
                f"{self.owner} with no cluster barrier in between",
                self.reached,
                hint="add a `cluster_barrier` after the last access",
            )

    def barrier(self) -> None:
        """All earlier accesses are ordered before all later ones."""
        self._writer.fill(NONE)
        self._reader.fill(NONE)
        self.fresh, self.by, self.reached = False, None, None

    def touch(self, rank: int, location: Location | None) -> None:
        """A block accesses the tile."""
        if rank != self.owner:
            self.by, self.reached = rank, location

    def _refuse(
        self,
        before: NDArray[np.int32],
        region: Region,
        rank: int,
        verb: str,
        earlier: Location | None,
    ) -> None:
        ranks = region.select(before)
        raced = (ranks != NONE) & (ranks != rank)
        if not raced.any():
            return
        at = tuple(int(i) for i in np.argwhere(raced)[0])
        who = "several blocks" if ranks[at] == MANY else f"the block of rank {ranks[at]}"
        raise ExecutionError(
            f"race on `%{self.name}` of rank {self.owner}: element {region.index_of(at)} is "
            f"accessed by the block of rank {rank}, and was {verb} by {who} with no cluster "
            "barrier in between",
            notes=[(f"{verb} here", earlier)],
            hint=_HINT,
        )


@dataclass(eq=False)
class Cluster:
    """The blocks of a cluster by rank; those that have ended count as arrived at barriers."""

    groups: list[ThreadGroup] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    phase: int = 0
    arrived: set[int] = field(default_factory=set)
    waiting: dict[int, int] = field(default_factory=dict)  # rank -> the phase it waits to end

    def shadow(self, tile: SharedTile, rank: int) -> None:
        """Watches a new tile of a block."""
        tile.blocks = BlockShadow(tile.name, tile.shape, rank)

    def pass_barrier(self, rank: int) -> bool:
        """The block arrives, or looks again; true once all have arrived."""
        if rank not in self.waiting:
            self.waiting[rank] = self.phase
            self.arrived.add(rank)
        if self.waiting[rank] == self.phase and not self.is_complete():
            return False
        if self.waiting.pop(rank) == self.phase:
            self._complete()
        return True

    def can_pass(self, rank: int) -> bool:
        """Whether a waiting block would pass the barrier now."""
        return self.waiting.get(rank) != self.phase or self.is_complete()

    def is_complete(self) -> bool:
        return len(self.arrived | self.ended) == len(self.groups)

    def _complete(self) -> None:
        self.phase += 1
        self.arrived.clear()
        told = joined(*(group.stream.release() for group in self.groups))
        for group in self.groups:
            group.meet()
            group.stream.learn(told)
            for array in group.barriers:
                array.fresh = False
                for barrier in array.barriers:
                    barrier.reached = None
            for tile in group.shared:
                if tile.blocks is not None:
                    tile.blocks.barrier()

    def leave(self, rank: int) -> None:
        """A block ends. Raises ExecutionError if another one may still access its memory."""
        self.ended.add(rank)
        for tile in self.groups[rank].shared:
            if tile.blocks is not None:
                tile.blocks.end(f"the block of rank {rank} ends")

    def barriers(self, value: Any, name: str, rank: int) -> BarrierArray:
        """The barriers `value` of the block of a rank.

        Raises:
            ExecutionError: the block has ended, or has no such barriers that others know of.
        """
        if rank in self.ended:
            raise ExecutionError(
                f"the block of rank {rank} has ended, and its barriers with it",
                hint="let it end only after a `cluster_barrier` that follows the last arrival",
            )
        found = self.groups[rank].env.get(value)
        if not isinstance(found, BarrierArray) or found.fresh:
            raise ExecutionError(
                f"`%{name}` may not be allocated yet in the block of rank {rank}",
                hint="add a `cluster_barrier` between its `alloc_mbarrier` and the access",
            )
        return found

    def tile(self, value: Any, name: str, rank: int) -> SharedTile:
        """The shared tile `value` of the block of a rank.

        Raises:
            ExecutionError: the block has ended, or has no such tile that others know of.
        """
        from .shared import SharedTile

        if rank in self.ended:
            raise ExecutionError(
                f"the block of rank {rank} has ended, and its shared memory with it",
                hint="let it end only after a `cluster_barrier` that follows the last access",
            )
        found = self.groups[rank].env.get(value)
        if not isinstance(found, SharedTile) or (found.blocks is not None and found.blocks.fresh):
            raise ExecutionError(
                f"`%{name}` may not be allocated yet in the block of rank {rank}",
                hint="add a `cluster_barrier` between its `alloc_shared` and the access",
            )
        if found.freed:
            raise ExecutionError(
                f"`%{name}` was freed in the block of rank {rank} before this access",
                hint="free it only after a `cluster_barrier` that follows the last access",
            )
        return found
