"""Making register tiles."""

from __future__ import annotations

from ..instruction import Instruction, instruction
from ..types import RegType, Type
from .checks import fail, register_annotation


@instruction
class AllocRegisters(Instruction, name="alloc_registers", needs_type=True):
    """A register tile without values: reading an element before it is written is an error."""

    def result_type(self, annotation: Type | None) -> RegType:
        return register_annotation(self, annotation)


@instruction
class Full(Instruction, name="full", needs_type=True):
    """A register tile with every element `fill`, encoded in the tile's dtype."""

    fill: float | int | bool = 0

    def result_type(self, annotation: Type | None) -> RegType:
        type_ = register_annotation(self, annotation)
        kind = type_.dtype
        if kind.kind in ("int", "uint"):
            lowest = -(1 << kind.bits - 1) if kind.kind == "int" else 0
            highest = lowest + (1 << kind.bits) - 1
            if self.fill != self.fill // 1 or not lowest <= self.fill <= highest:
                text = f"`{kind.name}` can't hold `fill` {self.fill}"
                fail(self, text, hint=f"it holds the integers {lowest} to {highest}")
        return type_


@instruction
class Arange(Instruction, name="arange", needs_type=True):
    """A tile whose element is `start + step * (its index along dim)`."""

    dim: int = 0
    start: int = 0
    step: int = 1

    def result_type(self, annotation: Type | None) -> RegType:
        type_ = register_annotation(self, annotation)
        if not 0 <= self.dim < type_.rank:
            fail(self, f"`dim` {self.dim} of a tile of rank {type_.rank}")
        return type_
