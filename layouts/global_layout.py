"""Views of global memory whose extents and strides may be symbols.

Shape, strides and start are ints or any values with `+` and `*`, such as the compiler's index
expressions. A view has one stride a dimension, so its offset is linear in the index, and the
offset of a tile's element is the tile's offset plus the element's displacement:

    offset(origin + inside) = offset(origin) + displacement(inside)

Factors 0 and 1 and terms 0 are dropped as they are met, so symbols appear only where they matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import LayoutError


class Size(Protocol):
    """An integer, or a symbol that stands for one."""

    def __add__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...


@dataclass(frozen=True)
class GlobalLayout:
    """Index i of a tensor of `shape` lies at element start + sum of i[d] * strides[d]."""

    shape: tuple[Size, ...]
    strides: tuple[Size, ...]
    start: Size = 0

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.strides):
            raise LayoutError(f"{len(self.strides)} strides for {len(self.shape)} dimensions")

    @staticmethod
    def row_major(shape: Sequence[Size]) -> "GlobalLayout":
        """Compact, last dimension fastest."""
        strides: list[Size] = []
        step: Size = 1
        for extent in reversed(shape):
            strides.append(step)
            step = _times(step, extent)
        return GlobalLayout(tuple(shape), tuple(reversed(strides)))

    @property
    def rank(self) -> int:
        return len(self.shape)

    def offset(self, index: Sequence[Size]) -> Any:
        """The element at which `index` lies."""
        return _plus(self.start, self.displacement(index))

    def displacement(self, index: Sequence[Size]) -> Any:
        """How many elements apart the ends of `index`, as a difference of indices, lie."""
        if len(index) != self.rank:
            raise LayoutError(f"index of {len(index)} numbers in a view of rank {self.rank}")
        total: Size = 0
        for number, stride in zip(index, self.strides, strict=True):
            total = _plus(total, _times(number, stride))
        return total

    def permute(self, order: Sequence[int]) -> "GlobalLayout":
        """Dimension d of the result is dimension order[d] of this one."""
        if sorted(order) != list(range(self.rank)):
            raise LayoutError(f"{list(order)} is no order of {self.rank} dimensions")
        shape = tuple(self.shape[dim] for dim in order)
        return GlobalLayout(shape, tuple(self.strides[dim] for dim in order), self.start)

    def slice(self, dim: int, start: Size, size: Size) -> "GlobalLayout":
        """The part with index[dim] in [start, start + size), renumbered from 0; not checked
        against the extent."""
        self._check_dim(dim)
        moved = _plus(self.start, _times(start, self.strides[dim]))
        return GlobalLayout(_replaced(self.shape, dim, size), self.strides, moved)

    def select(self, dim: int, index: Size) -> "GlobalLayout":
        """The part at index[dim] = index, without that dimension."""
        self._check_dim(dim)
        moved = _plus(self.start, _times(index, self.strides[dim]))
        return GlobalLayout(_replaced(self.shape, dim), _replaced(self.strides, dim), moved)

    def split(self, dim: int, extents: Sequence[Size]) -> "GlobalLayout":
        """Dimension `dim` as several, outermost first; their product must be its extent."""
        self._check_dim(dim)
        inner = GlobalLayout.row_major(extents)
        strides = [_times(stride, self.strides[dim]) for stride in inner.strides]
        shape = _replaced(self.shape, dim, *extents)
        return GlobalLayout(shape, _replaced(self.strides, dim, *strides), self.start)

    def _check_dim(self, dim: int) -> None:
        if not 0 <= dim < self.rank:
            raise LayoutError(f"no dimension {dim} in a view of rank {self.rank}")


def _replaced(values: tuple[Size, ...], at: int, *new: Size) -> tuple[Size, ...]:
    return (*values[:at], *new, *values[at + 1 :])


def _plus(left: Size, right: Size) -> Size:
    if isinstance(left, int) and left == 0:
        return right
    if isinstance(right, int) and right == 0:
        return left
    total: Size = left + right
    return total


def _times(left: Size, right: Size) -> Size:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, int) and one in (0, 1):
            return other if one else 0
    product: Size = left * right
    return product
