"""Tensor maps: what the copy engine knows of a tensor, as a kernel's parameter of 128 bytes.

On hardware the bytes are opaque and the driver makes them; here a map is an object of its own,
given as the argument, and its parameter's bytes are never read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cohort import FaultError
from .memory import Memory
from .storage import Storage
from .types import Array

SIZE = 128
_UNIT = 16


@dataclass(frozen=True)
class TensorMap:
    """A tensor in the array that is argument number `argument`, from its first byte on.

    `shape` and `box` count elements of `element_bytes`, `strides` bytes, all the dimension of
    neighbours first. `swizzle`: bytes of the rows that are swizzled in shared memory, 0 for none.
    """

    argument: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    element_bytes: int
    swizzle: int = 0

    def __post_init__(self) -> None:
        rank = len(self.shape)
        checks = (
            (1 <= rank <= 5 and len(self.strides) == len(self.box) == rank, "1 to 5 dimensions"),
            (self.element_bytes in (1, 2, 4, 8), "elements of 1, 2, 4 or 8 bytes"),
            (self.strides[0] == self.element_bytes, "neighbours along the first dimension"),
            (all(s % 16 == 0 for s in self.strides[1:]), "strides of multiples of 16 bytes"),
            (all(0 < s < 1 << 40 for s in self.strides), "strides from 1 to 2**40 - 1"),
            (all(0 < n <= 1 << 32 for n in self.shape), "extents from 1 to 2**32"),
            (all(0 < n <= 256 for n in self.box), "boxes of 1 to 256 elements"),
            (
                self.box[0] * self.element_bytes % 16 == 0,
                "boxes of rows of multiples of 16 bytes",
            ),
            (self.swizzle in (0, 32, 64, 128), "swizzles of rows of 32, 64 or 128 bytes"),
            (
                not self.swizzle or self.box[0] * self.element_bytes <= self.swizzle,
                "boxes with rows within the swizzle's",
            ),
        )
        for holds, what in checks:
            if not holds:
                raise ValueError(f"a tensor map takes {what}: {self}")


@dataclass(frozen=True, slots=True)
class Placed:
    """A map with the memory behind it: the tensor starts at byte `start` of `storage`."""

    map: TensorMap
    storage: Storage
    start: int

    def bytes_at(self, coordinates: tuple[int, ...]) -> Array:
        """The bytes of the box there, in the order of the map's dimensions; -1 outside the tensor.

        Raises:
            FaultError: the tensor leaves its memory there, or the box begins at no multiple of 16
                bytes of a row.
        """
        map_ = self.map
        if coordinates[0] * map_.element_bytes % _UNIT:
            raise FaultError(
                f"the first coordinate is {coordinates[0]} for elements of {map_.element_bytes} "
                f"bytes: the box begins at no multiple of {_UNIT} bytes of a row"
            )
        places = np.full((1,) * len(map_.box), self.start, np.int64)
        inside = np.ones((1,) * len(map_.box), bool)
        for dim, (at, size) in enumerate(zip(coordinates, map_.box, strict=True)):
            along = [1] * len(map_.box)
            along[-1 - dim] = size  # the first dimension runs fastest
            index = (np.arange(size, dtype=np.int64) + at).reshape(along)
            places = places + index * map_.strides[dim]
            inside = inside & (index >= 0) & (index < map_.shape[dim])
        each = np.arange(map_.element_bytes)
        found = np.where(inside, places, -1)[..., None]
        found = np.where(found >= 0, found + each, -1).reshape(-1)
        if int(found.max()) >= len(self.storage.data):
            raise FaultError("the tensor of this map leaves its memory")
        return found

    def shared_places(self, offset: int) -> Array:
        """Where in shared memory the bytes of a box go that starts at `offset`."""
        size = int(np.prod(self.map.box)) * self.map.element_bytes
        places = offset + np.arange(size, dtype=np.int64)
        if self.map.swizzle:
            mask = self.map.swizzle // 16 - 1
            places ^= (places >> 7 & mask) << 4
        return places


def find_map(memory: Memory, address: int) -> Placed:
    """The map at a generic address. Raises FaultError if there is none."""
    placed = memory.tensor_maps.get(address)
    if not isinstance(placed, Placed):
        raise FaultError(f"there is no tensor map at {address:#x}")
    return placed
