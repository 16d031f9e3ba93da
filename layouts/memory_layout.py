"""Memory layouts: where the elements of a tile lie in shared or global memory.

Each dimension's index is written in mixed radix; each digit moves the place by its stride:

    offset(index) = start + sum over dimensions and digits of (index // step % extent) * stride

Offsets count *elements*. A swizzle works on *bytes*, so it takes part only where the width of an
element is known:

    offset, offsets                 elements, before the swizzle
    bit_offset(s), byte_offset(s)   where the element really lies, swizzle applied

Elements of b bits are packed: element offset o starts at bit o * b. Swizzled elements must
divide 16 bytes, the chunk that a swizzle keeps whole.

Example, 8 rows of 128 f16 as two boxes of 64 columns (128 bytes, one swizzle row each):

    swizzled([8, 128], 16)    dimension 0: (8, 64)    dimension 1: (2, 512), (64, 1)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import modes as register_modes
from .errors import LayoutError
from .memory_text import format_memory_layout
from .modes import Ints, as_ints
from .swizzle import Swizzle
from .tracebacks import user_errors

IntTable = npt.NDArray[np.int64]


class Digit(NamedTuple):
    """A digit of an index: `extent` values, each `stride` elements further."""

    extent: int
    stride: int


Digits = tuple[Digit, ...]


@dataclass(frozen=True)
class MemoryLayout:
    """A tile of `shape` in memory; `digits[d]` factor dimension d, outermost first.

    Stored merged, so that equal functions without a swizzle are equal layouts. Raises LayoutError
    if the digits do not give the extents. Several indices may share a place (stride 0).
    """

    shape: tuple[int, ...]
    digits: tuple[Digits, ...]
    swizzle: Swizzle | None = None
    start: int = 0

    def __post_init__(self) -> None:
        if any(extent < 1 for extent in self.shape):
            raise LayoutError(f"extents must be positive: shape {list(self.shape)}")
        if [prod(d.extent for d in digits) for digits in self.digits] != list(self.shape):
            raise LayoutError(f"digits {self.digits} do not give the shape {list(self.shape)}")
        if self.start < 0 or any(d.stride < 0 for digits in self.digits for d in digits):
            raise LayoutError("offsets must not be negative")
        object.__setattr__(self, "digits", tuple(map(_merge, self.digits)))

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Elements from offset 0 to the last one used: what an allocation must hold.

        A swizzle permutes whole aligned blocks of `swizzle.block` bytes: round up to them.
        """
        return self.start + 1 + sum((d.extent - 1) * d.stride for ds in self.digits for d in ds)

    @property
    def is_injective(self) -> bool:
        """Whether no two indices share a place."""
        every = np.indices(self.shape).reshape(self.rank, -1).T
        return len(np.unique(self.offsets(every))) == prod(self.shape)

    def __str__(self) -> str:
        return format_memory_layout(self.shape, self.digits, self.start, self.swizzle)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The picture that notebooks show, of elements of 16 bits."""
        from .page import memory_html

        return memory_html(self)

    # Places

    def digits_of(self, dim: int) -> list[tuple[int, int, int]]:
        """(step, extent, stride), outermost first: index[dim] moves the offset by the sum of
        index[dim] // step % extent * stride elements."""
        found = []
        step = self.shape[dim]
        for extent, stride in self.digits[dim]:
            step //= extent
            found.append((step, extent, stride))
        return found

    @user_errors()
    def offset(self, index: Sequence[int]) -> int:
        """The element offset of `index`, before the swizzle."""
        self._check_index(index)
        return self.start + sum(
            index[dim] // step % extent * stride
            for dim in range(self.rank)
            for step, extent, stride in self.digits_of(dim)
        )

    @user_errors()
    def offsets(self, indices: IntTable) -> IntTable:
        """Element offsets [...] of indices [..., rank], before the swizzle. Not range-checked."""
        total = np.full(indices.shape[:-1], self.start, dtype=np.int64)
        for dim in range(self.rank):
            for step, extent, stride in self.digits_of(dim):
                total += indices[..., dim] // step % extent * stride
        return total

    def bit_offsets(self, indices: IntTable, element_bits: int) -> IntTable:
        """Bits from the start of memory, swizzle applied, to elements of `element_bits` bits."""
        bits = self.offsets(indices) * element_bits
        if self.swizzle is None:
            return bits
        if 128 % element_bits:
            raise LayoutError(f"cannot swizzle elements of {element_bits} bits: `{self}`")
        return self.swizzle(bits >> 3) * 8 + (bits & 7)

    def byte_offsets(self, indices: IntTable, element_bits: int) -> IntTable:
        """Bytes from the start of memory, swizzle applied; LayoutError unless all are whole."""
        bits = self.bit_offsets(indices, element_bits)
        if np.any(bits & 7):
            raise LayoutError(f"elements of {element_bits} bits do not start at bytes: `{self}`")
        return bits >> 3

    @user_errors()
    def bit_offset(self, index: Sequence[int], element_bits: int) -> int:
        """bit_offsets of one index."""
        self._check_index(index)
        return int(self.bit_offsets(np.array(index, dtype=np.int64), element_bits))

    @user_errors()
    def byte_offset(self, index: Sequence[int], element_bits: int) -> int:
        """byte_offsets of one index."""
        self._check_index(index)
        return int(self.byte_offsets(np.array(index, dtype=np.int64), element_bits))

    def _check_index(self, index: Sequence[int]) -> None:
        if len(index) != self.rank or not all(
            0 <= i < extent for i, extent in zip(index, self.shape, strict=True)
        ):
            raise LayoutError(f"index {tuple(index)} is outside the tile {list(self.shape)}")

    # Views of the same memory

    @user_errors()
    def permute(self, *order: Ints) -> "MemoryLayout":
        """Dimension d of the result is dimension order[d] of this one."""
        dims = as_ints(order)
        if sorted(dims) != list(range(self.rank)):
            raise LayoutError(f"{list(dims)} is no order of {self.rank} dimensions")
        return self._view((self.shape[d] for d in dims), (self.digits[d] for d in dims))

    @user_errors()
    def slice(self, dim: int, start: int, size: int) -> "MemoryLayout":
        """The part with index[dim] in [start, start + size), renumbered from 0.

        LayoutError where it has no strides of its own (a box across an outer digit's step).
        """
        if not 0 <= dim < self.rank or start < 0 or size < 1 or start + size > self.shape[dim]:
            raise LayoutError(f"no [{start}, {start + size}) in dimension {dim} of `{self}`")
        factors = self.digits_of(dim)
        steps = tuple(register_modes.Mode(0, extent, step) for step, extent, _ in factors)
        runs = register_modes.box_digits(0, start, size, (), steps)
        if runs is None:
            raise LayoutError(f"[{start}, {start + size}) of dimension {dim} cuts `{self}`")
        strides = [stride for _, _, stride in factors]
        digits = [Digit(len(run), s) for run, s in zip(runs, strides, strict=True)]
        moved = sum(run[0] * s for run, s in zip(runs, strides, strict=True))
        shape = (size if d == dim else extent for d, extent in enumerate(self.shape))
        each = (tuple(digits) if d == dim else kept for d, kept in enumerate(self.digits))
        return self._view(shape, each, moved)

    @user_errors()
    def select(self, dim: int, index: int) -> "MemoryLayout":
        """The part at index[dim] = index, without that dimension."""
        return self.slice(dim, index, 1).squeeze(dim)

    @user_errors()
    def squeeze(self, dims: Ints) -> "MemoryLayout":
        """Drop dimensions of extent 1."""
        dropped = as_ints((dims,))
        if any(not 0 <= dim < self.rank or self.shape[dim] != 1 for dim in dropped):
            raise LayoutError(f"cannot squeeze {list(dropped)} of {list(self.shape)}: not 1")
        kept = [dim for dim in range(self.rank) if dim not in dropped]
        return self._view((self.shape[d] for d in kept), (self.digits[d] for d in kept))

    @user_errors()
    def unsqueeze(self, dims: Ints) -> "MemoryLayout":
        """Insert dimensions of extent 1, at these places of the result."""
        places = as_ints((dims,))
        rank = self.rank + len(places)
        if len(set(places)) != len(places) or not all(0 <= place < rank for place in places):
            raise LayoutError(f"cannot insert dimensions {list(places)} into rank {self.rank}")
        shape, digits = iter(self.shape), iter(self.digits)
        return self._view(
            [1 if d in places else next(shape) for d in range(rank)],
            [() if d in places else next(digits) for d in range(rank)],
        )

    @user_errors()
    def reshape(self, *shape: Ints) -> "MemoryLayout":
        """The same elements in row-major order under another shape; LayoutError where sizes
        differ or a dimension would have no strides."""
        extents = as_ints(shape)
        left = list(_merge([digit for digits in self.digits for digit in digits]))
        digits = [_take(left, extent) for extent in reversed(extents)][::-1]
        if prod(extents) != prod(self.shape) or None in digits:
            raise LayoutError(f"cannot reshape `{self}` to {list(extents)}")
        return self._view(extents, [found for found in digits if found is not None])

    @user_errors()
    def __mul__(self, inner: "MemoryLayout") -> "MemoryLayout":
        """Compose: each element of this layout becomes a block of memory laid out by `inner`.

        (f * g)(i) = f(i // S_g) * size_g + g(i % S_g). The swizzle is g's, and xors whole
        addresses: the blocks look alike if they are multiples of its period. LayoutError if f
        has a swizzle or the ranks differ.
        """
        if self.swizzle is not None or self.rank != inner.rank:
            raise LayoutError(f"cannot compose `{self}` and `{inner}`")
        size = inner.size
        digits = (
            (*(Digit(extent, stride * size) for extent, stride in outer_digits), *inner_digits)
            for outer_digits, inner_digits in zip(self.digits, inner.digits, strict=True)
        )
        shape = tuple(a * b for a, b in zip(self.shape, inner.shape, strict=True))
        return MemoryLayout(shape, tuple(digits), inner.swizzle, self.start * size + inner.start)

    def _view(
        self, shape: Iterable[int], digits: Iterable[Digits], moved: int = 0
    ) -> "MemoryLayout":
        return MemoryLayout(tuple(shape), tuple(digits), self.swizzle, self.start + moved)


@user_errors()
def strided(shape: Sequence[int], strides: Sequence[int]) -> MemoryLayout:
    """One stride a dimension, in elements."""
    if len(shape) != len(strides):
        raise LayoutError(f"{len(strides)} strides for {len(shape)} dimensions")
    pairs = zip(shape, strides, strict=True)
    return MemoryLayout(tuple(shape), tuple((Digit(n, stride),) for n, stride in pairs))


@user_errors()
def row_major(*shape: Ints) -> MemoryLayout:
    """Compact, last dimension fastest."""
    extents = as_ints(shape)
    return strided(extents, [prod(extents[d + 1 :]) for d in range(len(extents))])


@user_errors()
def column_major(*shape: Ints) -> MemoryLayout:
    """Compact, first dimension fastest."""
    extents = as_ints(shape)
    return strided(extents, [prod(extents[:d]) for d in range(len(extents))])


@user_errors()
def swizzled(shape: Sequence[int], element_bits: int) -> MemoryLayout:
    """Row-major boxes whose rows of 128 bytes (64, 32, 16 where that does not divide the last
    dimension) are swizzled, so that eight rows of one 16-byte column meet all banks.

    The boxes hold all rows of the second last dimension, and lie one after another along the
    last. Rows that 16 bytes do not divide are left as they are: plain row_major.
    """
    if len(shape) < 2 or 128 % element_bits:
        raise LayoutError(f"cannot swizzle shape {list(shape)} of {element_bits}-bit elements")
    *lead, rows, columns = shape
    chunk = 128 // element_bits
    for bits in (3, 2, 1):
        width = chunk << bits
        if columns % width == 0:
            outer = row_major(*lead, 1, columns // width)
            boxes = outer * row_major(*(1 for _ in lead), rows, width)
            return MemoryLayout(boxes.shape, boxes.digits, Swizzle(bits, 4, 3))
    return row_major(*shape)


def _merge(digits: Iterable[Digit]) -> Digits:
    merged: list[Digit] = []
    for digit in digits:
        if digit.extent == 1:
            continue
        if merged and merged[-1].stride == digit.extent * digit.stride:
            digit = Digit(merged.pop().extent * digit.extent, digit.stride)
        merged.append(digit)
    return tuple(merged)


def _take(left: list[Digit], extent: int) -> Digits | None:
    """Remove the innermost digits that make up `extent` from `left`; None where they do not."""
    taken: list[Digit] = []
    while extent > 1 and left:
        whole, stride = left.pop()
        part = min(whole, extent)
        if whole % part or extent % part:
            return None
        if whole > part:
            left.append(Digit(whole // part, stride * part))
        taken.append(Digit(part, stride))
        extent //= part
    return tuple(reversed(taken))
