"""Clusters of blocks: resident together, meeting at a barrier, reaching each other's shared memory.

The blocks of a cluster are in neighbouring slots, in the order of their ranks. An address in the
cluster's shared memory is an offset in a block's with that block's rank + 1 from bit 24 on; so are
the addresses of a block's own variables, as `mov` gives them, if the cluster has several blocks: a
`shared::cta` address is a `shared::cluster` address too. An offset alone is in the own block's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .cohort import Cohort, FaultError
from .step import Control
from .types import Array

if TYPE_CHECKING:
    from .machine import Machine

_RANK_SHIFT = 24
OFFSET_MASK = (1 << _RANK_SHIFT) - 1
_ABSENT = -1  # a lane that has not arrived


class Clusters:
    """The clusters of a launch. `phases` counts the barriers each resident one has passed,
    `tokens` [rows, 32] the count at which a lane arrived, until it has waited."""

    def __init__(self, machine: Machine, extents: tuple[int, int, int]) -> None:
        self.machine, self.extents = machine, extents
        self.size = extents[0] * extents[1] * extents[2]
        self.order = _order(machine.grid, extents)
        self.reset()

    def reset(self) -> None:
        """Forgets the resident blocks."""
        self.phases: Array = np.zeros(0, np.int64)
        self.tokens: Array = np.zeros((0, 32), np.int64)
        self.waiting: list[tuple[Cohort, Control]] = []

    def grow(self) -> None:
        """Makes room for blocks that became resident."""
        clusters = self.machine.num_slots // self.size - len(self.phases)
        rows = len(self.machine.alive) - len(self.tokens)
        self.phases = np.concatenate((self.phases, np.zeros(clusters, np.int64)))
        self.tokens = np.concatenate((self.tokens, np.full((rows, 32), _ABSENT, np.int64)))

    # ---- the barrier

    def arrive(self, c: Cohort, lanes: Array) -> None:
        """Registers `lanes` [n, 32]."""
        tokens = self.tokens[c.rows]
        again = (tokens != _ABSENT) & lanes
        if again.any():
            raise FaultError(f"{c.lane_name(again)} arrives twice without waiting")
        phases = self.phases[c.slots // self.size]
        self.tokens[c.rows] = np.where(lanes, phases, tokens)
        self.settle()

    def wait(self, c: Cohort, lanes: Array, control: Control) -> int:
        """The next block, or -1 if some of `lanes` must wait until all have arrived."""
        stray = (self.tokens[c.rows] == _ABSENT) & lanes
        if stray.any():
            raise FaultError(f"{c.lane_name(stray)} waits but has not arrived")
        c = c if lanes is c.mask else c.subset(lanes)
        c.pc = control.following
        self.waiting.append((c, control))
        self._release()
        return -1

    def settle(self) -> None:
        """Completes the barriers at which every lane that has not ended has arrived."""
        if not len(self.tokens):
            return
        machine = self.machine
        per_cluster = self.size * machine.warps_per_block
        current = np.repeat(self.phases, per_cluster)[:, None]
        here = self.tokens == current
        missing = (machine.alive & ~here).any(1).reshape(-1, per_cluster).any(1)
        present = (machine.alive & here).any(1).reshape(-1, per_cluster).any(1)
        done = present & ~missing
        if done.any():
            self.phases[done] += 1
            if machine.races is not None:
                machine.races.meet_clusters(done)
            self._release()

    def _release(self) -> None:
        waiting, self.waiting = self.waiting, []
        for c, control in waiting:
            passed = (self.tokens[c.rows] < self.phases[c.slots // self.size]) & c.mask
            free = (passed == c.mask).all(1)
            if free.any():
                go = c if free.all() else c.subset(c.mask & free[:, None])
                self.tokens[go.rows] = np.where(go.mask, _ABSENT, self.tokens[go.rows])
                self.machine.put_back(go, control.following)
            if not free.all():
                self.waiting.append((c.subset(c.mask & ~free[:, None]), control))

    # ---- memory

    def ranks(self, slots: Array) -> Array:
        """The rank of each slot's block."""
        ranks: Array = slots % self.size
        return ranks

    def map(self, c: Cohort, address: Array, rank: Array, on: Array) -> Array:
        """Offsets in the own block's shared memory as addresses in that of the block of a rank."""
        ranks = np.broadcast_to(rank, c.mask.shape)
        wrong = (ranks >= self.size) & on
        if wrong.any():
            raise FaultError(
                f"there is no rank {int(ranks[wrong][0])} in a cluster of {self.size} "
                f"({c.lane_name(wrong)})"
            )
        mapped = (address & np.uint32(OFFSET_MASK)) | ((ranks + np.uint32(1)) << _RANK_SHIFT)
        return np.broadcast_to(mapped, c.mask.shape).astype(np.uint32)

    def own(self, slots: Array, address: Array) -> Array:
        """Addresses in the own blocks' shared memory as offsets, for lanes of blocks in `slots`.

        Raises:
            FaultError: an address in another block's, for an instruction that reaches only its own.
        """
        if self.size == 1:
            return address
        field = (address >> np.uint64(_RANK_SHIFT)).astype(np.int64)
        wrong = (field != 0) & (field != slots % self.size + 1)
        if wrong.any():
            place = int(np.broadcast_to(address, wrong.shape)[wrong][0])
            raise FaultError(f"{place:#x} is no address in the block's own shared memory")
        return address & np.uint64(OFFSET_MASK)

    def owners(self, c: Cohort, slots: Array, address: Array) -> Array:
        """The slot that each address lies in, for lanes of blocks in `slots` (of one shape)."""
        field = (address >> np.uint64(_RANK_SHIFT)).astype(np.int64)
        if int(field.max()) > self.size:
            place = int(address.flat[int(field.argmax())])
            raise FaultError(f"{place:#x} is no address in the shared memory of the cluster")
        owners: Array = np.where(field == 0, slots, slots - slots % self.size + field - 1)
        gone = ~self.machine.live_warps()[owners].astype(bool)
        if gone.any():
            name = self.machine.warp_name(int(owners[gone][0]) * self.machine.warps_per_block)
            raise FaultError(
                f"the shared memory of {name.partition(', warp')[0]} is accessed by its cluster, "
                "but that block has ended"
            )
        return owners


def _order(grid: tuple[int, int, int], extents: tuple[int, int, int]) -> Array:
    """Linear block indices, cluster by cluster, by rank within; x runs fastest in both."""
    (gx, gy, gz), (cx, cy, cz) = grid, extents
    linear = np.arange(gx * gy * gz).reshape(gz // cz, cz, gy // cy, cy, gx // cx, cx)
    ordered: Array = linear.transpose(0, 2, 4, 1, 3, 5).reshape(-1)
    return ordered
