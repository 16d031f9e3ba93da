"""Copies in flight: moves that land when they are waited for, as late as the manual allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .storage import Access, Storage
from .types import Array

if TYPE_CHECKING:
    from .machine import Machine


@dataclass(frozen=True, slots=True)
class Move:
    """Elements on their way to shared memory, one per (warp, lane); arrays are flat.

    `source` None fills with zeros. `places` index `access` elements of the destination.
    """

    warps: Array
    lanes: Array
    access: Access
    places: Array
    source: Storage | None
    source_places: Array
    line: int

    def subset(self, kept: Array) -> Move:
        """The part issued by lanes of `kept` [all warps, 32]."""
        chosen = kept[self.warps, self.lanes]
        if chosen.all():
            return self
        return Move(
            self.warps[chosen],
            self.lanes[chosen],
            self.access,
            self.places[chosen],
            self.source,
            self.source_places[chosen],
            self.line,
        )

    def land(self, shared: Storage) -> None:
        if self.source is None:
            shared.store(self.access, self.places, self.places.dtype.type(0))
        else:
            values = self.source.view(self.access)[self.source_places]
            shared.store(self.access, self.places, values)


@dataclass(slots=True)
class Group:
    """Moves that were committed together."""

    moves: list[Move] = field(default_factory=list)

    def subset(self, kept: Array) -> Group:
        parts = (move.subset(kept) for move in self.moves)
        return Group([move for move in parts if len(move.places)])

    def land(self, machine: Machine) -> None:
        for move in self.moves:
            move.land(machine.memory.shared)
            if machine.races is not None:
                machine.races.land(move)
