"""Dropping and inserting dimensions of extent 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..instructions.dims import Squeeze, Unsqueeze
from .registry import semantics
from .values import Tile

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(Squeeze)
def squeeze(group: ThreadGroup, instruction: Squeeze) -> Tile:
    tile = group.tile(instruction.value)
    dropped = instruction.dropped(tile.shape)
    poison = None if tile.poison is None else np.squeeze(tile.poison, dropped)
    return Tile(tile.dtype, np.squeeze(tile.data, dropped), poison)


@semantics(Unsqueeze)
def unsqueeze(group: ThreadGroup, instruction: Unsqueeze) -> Tile:
    tile = group.tile(instruction.value)
    shape = instruction.result_shape(tile.shape)
    poison = None if tile.poison is None else tile.poison.reshape(shape)
    return Tile(tile.dtype, tile.data.reshape(shape), poison)
