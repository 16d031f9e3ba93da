"""The types of VM values: scalars, pointers, and tiles in the three memory spaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from tileloom.layouts import MemoryLayout, RegisterLayout

from .dtypes import Dtype
from .expr import Const, Expr
from .packing import CONTIGUOUS, Packing


@dataclass(frozen=True)
class ScalarType:
    """A uniform scalar: every thread of the block holds the same value."""

    dtype: Dtype


@dataclass(frozen=True)
class PointerType:
    """A pointer to global memory holding elements of `element`."""

    element: Dtype


@dataclass(frozen=True)
class GlobalType:
    """A view of global memory. Extents and strides may be run-time scalars; strides in elements.

    An element of b bits at element offset e occupies bits [e*b, e*b + b) after the pointer.
    """

    dtype: Dtype
    shape: tuple[Expr, ...]
    strides: tuple[Expr, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class SharedType:
    """A tile in the block's shared memory; no layout means row-major."""

    dtype: Dtype
    shape: tuple[int, ...]
    layout: MemoryLayout | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class RegType:
    """A tile spread over the registers of a thread group.

    `layout` says which thread holds which element (None: to be inferred), `packing` where a
    thread's elements lie in the bits of its words.
    """

    dtype: Dtype
    shape: tuple[int, ...]
    layout: RegisterLayout | None = None
    packing: Packing = CONTIGUOUS

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def placed(self) -> RegisterLayout:
        """The layout, where inference has run (a compiler mistake otherwise)."""
        assert self.layout is not None, f"no layout inferred for {self}"
        return self.layout


@dataclass(frozen=True)
class BarrierType:
    """An array of `mbarrier`s in the block's shared memory, 8 bytes each."""

    shape: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)


Type: TypeAlias = ScalarType | PointerType | GlobalType | SharedType | RegType | BarrierType
TileType: TypeAlias = GlobalType | SharedType | RegType


def row_major_strides(shape: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The strides, in elements, of a dense row-major tensor."""
    strides: list[Expr] = []
    stride: Expr = Const(1)
    for extent in reversed(shape):
        strides.append(stride)
        stride = stride * extent
    return tuple(reversed(strides))
