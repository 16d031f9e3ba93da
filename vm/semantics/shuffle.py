"""Exchange of a tile's elements between lanes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tileloom.layouts import RegisterLayout

from ..instructions.shuffle import Shuffle
from .registry import semantics
from .transform import placed_source
from .values import Tile

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(Shuffle)
def shuffle(group: ThreadGroup, instruction: Shuffle) -> Tile:
    tile = group.tile(instruction.value)
    layout = placed_source(instruction, instruction.value).placed
    origin = _origins(layout, instruction.mode, instruction.lane, instruction.width)
    data = tile.data.reshape(-1)[origin].reshape(tile.shape)
    poison = None
    if tile.poison is not None:
        poison = tile.poison.reshape(-1)[origin].reshape(tile.shape)
    return Tile(tile.dtype, data, poison)


@lru_cache(maxsize=256)
def _origins(layout: RegisterLayout, mode: str, lane: int, width: int) -> NDArray[np.int64]:
    """For each element, flat in row-major order, the element it becomes."""
    sources = Shuffle(None, mode, lane, width).sources(layout)  # type: ignore[arg-type]
    flat = np.ravel_multi_index(tuple(np.moveaxis(layout.table(), -1, 0)), layout.shape)
    origin = np.empty(flat.max() + 1, np.int64)
    origin[flat] = flat[sources]
    return origin
