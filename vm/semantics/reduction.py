"""Reductions along a dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..instructions.reduction import Reduce
from .registry import semantics
from .values import Array, Tile, tile_of_numbers

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


def _sum(numbers: Array, **how: Any) -> Any:
    # float16 sums are formed in float32 and rounded once; integers wrap in their own type.
    wide = np.float32 if numbers.dtype == np.float16 else numbers.dtype
    return np.add.reduce(numbers, dtype=wide, **how).astype(numbers.dtype)


_OPERATIONS: Final[dict[str, Any]] = {
    "sum": _sum,
    "max": np.fmax.reduce,
    "min": np.fmin.reduce,
    "any": np.logical_or.reduce,
    "all": np.logical_and.reduce,
}


@semantics(Reduce)
def reduce(group: ThreadGroup, instruction: Reduce) -> Tile:
    tile = group.tile(instruction.value)
    how: Any = {"axis": instruction.dim, "keepdims": True}
    numbers = np.asarray(_OPERATIONS[instruction.op](tile.numbers, **how))
    poison = None if tile.poison is None else np.logical_or.reduce(tile.poison, **how)
    return tile_of_numbers(tile.dtype, numbers, poison)
