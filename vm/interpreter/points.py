"""Single elements of a memory, one for each element of a tile that lies inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .boxes import Box

Coordinates = tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Points:
    """`at`: the coordinate along each memory dimension, for all points [n]. `inside`: which
    elements of the tile they belong to, in row-major order."""

    at: Coordinates
    inside: NDArray[np.bool_]

    @property
    def empty(self) -> bool:
        return not self.inside.any()

    @property
    def whole(self) -> bool:
        return bool(self.inside.all())

    def select(self, array: NDArray[Any]) -> NDArray[Any]:
        """The points of an array over the whole memory: [n], a copy."""
        found: NDArray[Any] = array[self.at]
        return found

    def put(self, array: NDArray[Any], values: object) -> None:
        """Sets the points of an array over the whole memory."""
        array[self.at] = values

    def index_of(self, place: tuple[int, ...]) -> list[int]:
        """The index in memory of the point at a place in what `select` gives."""
        return [int(along[place]) for along in self.at]

    def meets(self, box: Box) -> bool:
        """Whether a point lies in a box of the same memory."""
        within = np.ones(self.at[0].shape, np.bool_)
        for along, (start, stop) in zip(self.at, box.ranges(), strict=True):
            within &= (along >= start) & (along < stop)
        return bool(within.any())


def points(coordinates: Coordinates, extents: tuple[int, ...], shape: tuple[int, ...]) -> Points:
    """The points at coordinates that broadcast to a tile's `shape`, one array a dimension."""
    inside = np.ones(shape, np.bool_)
    for along, extent in zip(coordinates, extents, strict=True):
        inside = inside & (along >= 0) & (along < extent)
    return Points(tuple(np.broadcast_to(a, shape)[inside] for a in coordinates), inside)
