"""Matrix products in flight: what may not be touched until they are waited for.

Results are computed at the start and become the accumulator's value in the wait that covers them,
as late as allowed: until then nobody but further products may see the accumulator.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..diagnostics import ExecutionError
from ..ir import Value

if TYPE_CHECKING:
    from ..diagnostics import Location
    from ..semantics.values import Tile
    from .boxes import Box
    from .group import ThreadGroup
    from .shared import SharedTile


@dataclass(frozen=True, eq=False, slots=True)
class PendingProduct:
    """A product that has started: its accumulator's new value, and what it reads."""

    acc: Value
    result: Tile
    left: Value | None  # a operand in registers
    regions: tuple[tuple[SharedTile, Box], ...]
    location: Location | None


@dataclass(eq=False)
class Products:
    """The products of one thread group, oldest group first; `open` is not committed yet."""

    open: list[PendingProduct] = field(default_factory=list)
    groups: deque[list[PendingProduct]] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return bool(self.open or self.groups)

    def _all(self) -> list[PendingProduct]:
        return [*(product for group in self.groups for product in group), *self.open]

    def latest(self, acc: Value) -> Tile | None:
        """What the last product in flight will make of an accumulator."""
        found = [product.result for product in self._all() if product.acc is acc]
        return found[-1] if found else None

    def start(self, product: PendingProduct) -> None:
        """A product begins to read its operands."""
        for tile, box in product.regions:
            tile.readers.append((box, product.location))
        self.open.append(product)

    def commit(self) -> None:
        self.groups.append(self.open)
        self.open = []

    def wait(self, group: ThreadGroup, pending: int) -> None:
        """The products of all but the newest groups are done."""
        while len(self.groups) > pending:
            for product in self.groups.popleft():
                for tile, box in product.regions:
                    tile.readers.remove((box, product.location))
                    tile.note_async_read(box, product.location)
                group.env[product.acc] = product.result

    def check_read(self, value: Value) -> None:
        """Raises ExecutionError if a register tile is an accumulator in flight."""
        for product in self._all():
            if product.acc is value:
                self._refuse(value, "read", product)

    def check_write(self, value: Value) -> None:
        """Raises ExecutionError if a register tile is used by a product in flight."""
        for product in self._all():
            if value is product.acc or value is product.left:
                self._refuse(value, "changed", product)

    def _refuse(self, value: Value, verb: str, product: PendingProduct) -> None:
        what = "accumulates into it" if value is product.acc else "reads it"
        raise ExecutionError(
            f"`%{value.name}` is {verb} while a product that {what} is in flight",
            notes=[("the product starts here", product.location)],
            hint="`wgmma_commit`, then `wgmma_wait`",
        )
