"""The part of a tile that lies inside a memory's extents: always a box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..semantics.values import Array


@dataclass(frozen=True, slots=True)
class Box:
    """`start`: its first index in memory, one a memory dimension. `dims`, `size`: the memory
    dimension and the extent of each tile dimension. `inside`: where it lies in the tile."""

    start: tuple[int, ...]
    dims: tuple[int, ...]
    size: tuple[int, ...]
    inside: tuple[slice, ...]
    whole: bool

    @property
    def empty(self) -> bool:
        return 0 in self.size

    def select(self, array: NDArray[Any]) -> NDArray[Any]:
        """The box of an array over the whole memory, as a view in the tile's dimension order."""
        index: list[int | slice] = list(self.start)
        for dim, size in zip(self.dims, self.size, strict=True):
            at = self.start[dim]
            index[dim] = slice(at, at + size)
        found = array[(*index, ...)]  # `...`: a view even of one element
        ascending = sorted(self.dims)
        if ascending == list(self.dims):
            return found
        return found.transpose([ascending.index(dim) for dim in self.dims])

    def put(self, array: NDArray[Any], values: object) -> None:
        """Sets the box of an array over the whole memory."""
        self.select(array)[...] = values

    def index_of(self, place: tuple[int, ...]) -> list[int]:
        """The index in memory of a place in what `select` gives."""
        index = list(self.start)
        for dim, step in zip(self.dims, place, strict=True):
            index[dim] += step
        return index

    def ranges(self) -> list[tuple[int, int]]:
        """First and last index, the latter excluded, along each memory dimension."""
        sizes = dict(zip(self.dims, self.size, strict=True))
        return [(at, at + sizes.get(dim, 1)) for dim, at in enumerate(self.start)]

    def meets(self, other: Box) -> bool:
        """Whether the two share an element."""
        pairs = zip(self.ranges(), other.ranges(), strict=True)
        return all(max(a[0], b[0]) < min(a[1], b[1]) for a, b in pairs)

    def expand(self, part: Array, shape: tuple[int, ...], fill: object = 0) -> Array:
        """A tile of `shape` with `part` in the box and `fill` around it."""
        if self.whole:
            return part
        tile = np.full(shape, fill, part.dtype)
        if not self.empty:
            tile[self.inside] = part
        return tile

    def cut(self, tile: Array) -> Array:
        """The part of a tile that lies in the box."""
        return tile if self.whole else tile[self.inside]


def place(
    offsets: tuple[int, ...],
    extents: tuple[int, ...],
    shape: tuple[int, ...],
    dims: tuple[int, ...] | None,
) -> Box:
    """The box of a tile of `shape` at `offsets`, along `dims` (default: the last dimensions)."""
    along = dims if dims is not None else tuple(range(len(extents) - len(shape), len(extents)))
    start = list(offsets)
    sizes, inside = [], []
    for size, dim in zip(shape, along, strict=True):
        lower = max(0, -offsets[dim])
        upper = max(lower, min(size, extents[dim] - offsets[dim]))
        start[dim] += lower
        sizes.append(upper - lower)
        inside.append(slice(lower, upper))
    for dim, (at, extent) in enumerate(zip(offsets, extents, strict=True)):
        if dim not in along and not 0 <= at < extent:
            sizes = [0] * len(shape)
            if not shape:
                return Box(tuple(start), along, (0,), (), False)
    whole = tuple(sizes) == shape
    return Box(tuple(start), along, tuple(sizes), tuple(inside), whole)
