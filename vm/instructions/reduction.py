"""Reductions and scans along a dimension of a register tile."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import ShapeError
from ..instruction import Instruction, Operand
from ..types import RegType, Type
from .checks import fail, no_annotation, reg

REDUCTIONS = ("sum", "max", "min", "any", "all")


@dataclass(frozen=True, eq=False)
class Reduce(Instruction, name="reduce"):
    """The tile combined along `dim`, which keeps extent 1.

    Floating sums are formed in an unspecified but fixed order (run to run identical).
    """

    value: Operand
    op: str = "sum"
    dim: int = 0

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        if self.op not in REDUCTIONS:
            fail(self, f"unknown operation `{self.op}`", hint=", ".join(REDUCTIONS))
        if not 0 <= self.dim < source.rank:
            fail(self, f"`dim` {self.dim} of a tile of rank {source.rank}", error=ShapeError)
        if (self.op in ("any", "all")) != (source.dtype.kind == "bool"):
            fail(self, f"`{self.op}` of `{source.dtype.name}`", self.value)
        shape = tuple(1 if d == self.dim else e for d, e in enumerate(source.shape))
        return no_annotation(self, annotation, RegType(source.dtype, shape))
