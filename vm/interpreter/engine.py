"""The copy engine: copies that one thread starts and that land later.

Loads are `Delivery`s of a barrier. Stores belong to the thread that started them, in groups; what
they read from shared memory may not be written until the thread has waited for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..diagnostics import ExecutionError

if TYPE_CHECKING:
    from ..diagnostics import Location
    from .boxes import Box
    from .shared import SharedTile


@dataclass(eq=False)
class BulkStore:
    """A store in flight: what it reads, and how it lands in global memory."""

    source: SharedTile
    box: Box
    land: Callable[[], None]
    location: Location | None
    has_read: bool = False

    def start(self) -> None:
        """The source may not be written from now on."""
        self.source.leaving.append((self.box, self.location))

    def read(self) -> None:
        """The source has been read, which only the thread that waited for it knows."""
        if not self.has_read:
            self.source.leaving.remove((self.box, self.location))
            self.source.note_async_read(self.box, self.location)
            self.has_read = True


@dataclass(eq=False)
class BulkStores:
    """The bulk stores of a thread: those not yet committed, and its groups in flight."""

    open: list[BulkStore] = field(default_factory=list)
    groups: deque[list[BulkStore]] = field(default_factory=deque)

    def commit(self) -> None:
        """Closes a group."""
        self.groups.append(self.open)
        self.open = []

    def wait(self, pending: int, only_read: bool) -> None:
        """Waits for all groups but the `pending` newest."""
        ready = list(self.groups)[: max(len(self.groups) - pending, 0)]
        for store in (store for group in ready for store in group):
            store.read()
            if not only_read:
                store.land()
        if not only_read:
            for _ in ready:
                self.groups.popleft()

    def end(self) -> None:
        """The block ends. Raises ExecutionError if a store may still read its shared memory."""
        stores = [*self.open, *(store for group in self.groups for store in group)]
        for store in stores:
            if not store.has_read:
                raise ExecutionError(
                    f"the block ends while a bulk store may still read `%{store.source.name}`",
                    store.location,
                    hint="`bulk_commit`, then `bulk_wait`, by the thread that stores",
                )
            store.land()
