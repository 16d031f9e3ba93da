"""Dropping and inserting dimensions of extent 1. Every result is its own value; no data move."""

from __future__ import annotations

from dataclasses import replace

from tileloom.layouts import RegisterLayout

from ..diagnostics import ShapeError
from ..instruction import Instruction, Operand, instruction
from ..types import RegType, Type
from .checks import fail, no_annotation, reg


@instruction
class Squeeze(Instruction, name="squeeze"):
    """The tile without the dimensions `dims`, all of extent 1 (default: every such dimension)."""

    value: Operand
    dims: tuple[int, ...] | None = None

    def dropped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The dimensions that go, in rising order."""
        if self.dims is None:
            return tuple(dim for dim, extent in enumerate(shape) if extent == 1)
        return tuple(sorted(self.dims))

    def result_layout(self, layout: RegisterLayout) -> RegisterLayout:
        """The result's layout from the operand's."""
        return layout.squeeze(self.dropped(layout.shape))

    def operand_layout(self, layout: RegisterLayout, shape: tuple[int, ...]) -> RegisterLayout:
        """The layout of an operand of `shape` from the result's."""
        return layout.unsqueeze(self.dropped(shape))

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        dropped = self.dropped(source.shape)
        if len(set(dropped)) != len(dropped) or any(not 0 <= d < source.rank for d in dropped):
            _no_dims(self, dropped, source.rank)
        wide = next((d for d in dropped if source.shape[d] != 1), None)
        if wide is not None:
            fail(
                self,
                f"dimension {wide} of {list(source.shape)} has extent {source.shape[wide]}, not 1",
                self.value,
                error=ShapeError,
                hint="only extents of 1 can go; `reshape` joins dimensions",
            )
        shape = tuple(e for d, e in enumerate(source.shape) if d not in dropped)
        layout = None if source.layout is None else self.result_layout(source.layout)
        return no_annotation(self, annotation, replace(source, shape=shape, layout=layout))


@instruction
class Unsqueeze(Instruction, name="unsqueeze"):
    """The tile with new dimensions of extent 1, at the places `dims` of the result."""

    value: Operand
    dims: tuple[int, ...]

    def result_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The result's shape from the operand's."""
        rest = iter(shape)
        rank = len(shape) + len(self.dims)
        return tuple(1 if dim in self.dims else next(rest) for dim in range(rank))

    def result_layout(self, layout: RegisterLayout) -> RegisterLayout:
        """The result's layout from the operand's."""
        return layout.unsqueeze(self.dims)

    def operand_layout(self, layout: RegisterLayout, shape: tuple[int, ...]) -> RegisterLayout:
        """The layout of an operand of `shape` from the result's."""
        return layout.squeeze(self.dims)

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        rank = source.rank + len(self.dims)
        if len(set(self.dims)) != len(self.dims) or any(not 0 <= d < rank for d in self.dims):
            _no_dims(self, self.dims, rank)
        layout = None if source.layout is None else self.result_layout(source.layout)
        type_: RegType = replace(source, shape=self.result_shape(source.shape), layout=layout)
        return no_annotation(self, annotation, type_)


def _no_dims(instruction: Squeeze | Unsqueeze, dims: tuple[int, ...], rank: int) -> None:
    fail(
        instruction,
        f"{list(dims)} are no different dimensions of a tile of rank {rank}",
        instruction.value,
        error=ShapeError,
        hint=f"dimensions count from 0 to {rank - 1}",
    )
