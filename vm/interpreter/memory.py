"""Global memory: buffers of bytes, and tensors viewed in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..diagnostics import ExecutionError
from ..dtypes import Dtype, gather_bits, scatter_bits
from ..semantics.values import Array, from_codes, storage, to_codes
from .boxes import Box
from .points import Points

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True)
class Buffer:
    """The memory behind a pointer argument; `data` shares the caller's array."""

    name: str
    data: Bytes


@dataclass(frozen=True, eq=False)
class GlobalTensor:
    """A tensor in a buffer. Strides and offsets count elements of `dtype`."""

    name: str
    buffer: Buffer
    dtype: Dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, box: Box) -> Array:
        """A copy of the elements in a box that isn't empty."""
        if self._is_plain:
            return self._window(box).copy()
        codes = gather_bits(self.buffer.data, self.positions(box), self.dtype.bits)
        return from_codes(self.dtype, codes)

    def write(self, box: Box, data: Array) -> None:
        """Replace the elements in a box that isn't empty."""
        self._check_writeable()
        if self._is_plain:
            self._window(box)[...] = data
            return
        codes = to_codes(self.dtype, data)
        scatter_bits(self.buffer.data, self.positions(box), codes, self.dtype.bits)

    def positions(self, box: Box) -> NDArray[np.int64]:
        """The first bit of each element in a box, from the buffer's start."""
        relative = _relative_offsets(box.size, self._tile_strides(box))
        return (relative + self._first(box)) * np.int64(self.dtype.bits)

    def read_points(self, points: Points) -> Array:
        """The elements at points, of which there are some: [n]."""
        codes = gather_bits(self.buffer.data, self._bits(points), self.dtype.bits)
        return from_codes(self.dtype, codes)

    def write_points(self, points: Points, data: Array) -> None:
        """Replaces the elements at points, of which there are some; `data` is [n]."""
        self._check_writeable()
        codes = to_codes(self.dtype, data)
        scatter_bits(self.buffer.data, self._bits(points), codes, self.dtype.bits)

    def _bits(self, points: Points) -> NDArray[np.int64]:
        offsets = np.zeros(points.at[0].shape if points.at else (1,), np.int64)
        for along, stride in zip(points.at, self.strides, strict=True):
            offsets += along * stride
        self._check_span(int(offsets.min()), int(offsets.max()))
        return offsets * np.int64(self.dtype.bits)

    def _check_writeable(self) -> None:
        if not self.buffer.data.flags.writeable:
            raise ExecutionError(f"a store to `%{self.buffer.name}`, a read-only array")

    @property
    def _is_plain(self) -> bool:
        """Whether numpy can address the elements itself."""
        return self.dtype.bits == 8 * storage(self.dtype).itemsize

    def _window(self, box: Box) -> Array:
        width = self.dtype.bits // 8
        strides = tuple(stride * width for stride in self._tile_strides(box))
        first = self._first(box) * width
        return np.ndarray(box.size, storage(self.dtype), self.buffer.data, first, strides)

    def _tile_strides(self, box: Box) -> tuple[int, ...]:
        return tuple(self.strides[dim] for dim in box.dims)

    def _first(self, box: Box) -> int:
        """The offset of the box's first element, once all of its elements lie in the buffer."""
        first = sum(i * s for i, s in zip(box.start, self.strides, strict=True))
        spans = [(n - 1) * s for n, s in zip(box.size, self._tile_strides(box), strict=True)]
        lowest = first + sum(min(0, span) for span in spans)
        highest = first + sum(max(0, span) for span in spans)
        self._check_span(lowest, highest)
        return first

    def _check_span(self, lowest: int, highest: int) -> None:
        held = self.buffer.data.size * 8 // self.dtype.bits
        if lowest < 0 or highest >= held:
            self._fail(lowest if lowest < 0 else highest, held)

    def _fail(self, offset: int, held: int) -> None:
        extents, strides = list(self.shape), list(self.strides)
        raise ExecutionError(
            f"element offset {offset} of `%{self.name}` is outside its memory: `%"
            f"{self.buffer.name}` holds {held} elements of `{self.dtype.name}`",
            notes=[f"`%{self.name}` has shape {extents} and strides {strides}"],
            hint="pass a larger array, or give the view the extents the array has",
        )


@lru_cache(maxsize=256)
def _relative_offsets(size: tuple[int, ...], strides: tuple[int, ...]) -> NDArray[np.int64]:
    offsets = np.zeros(size, np.int64)
    for dim, (extent, stride) in enumerate(zip(size, strides, strict=True)):
        along: Any = [1] * len(size)
        along[dim] = extent
        offsets += (np.arange(extent, dtype=np.int64) * stride).reshape(along)
    offsets.flags.writeable = False
    return offsets
