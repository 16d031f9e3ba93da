"""Reductions and scans along a dimension of a register tile."""

from __future__ import annotations

from ..diagnostics import ShapeError
from ..dtypes import Dtype, i32
from ..instruction import Instruction, Operand, instruction
from ..types import RegType, Type
from .checks import arithmetic, fail, no_annotation, reg

REDUCTIONS = ("sum", "prod", "max", "min", "argmax", "argmin", "any", "all")
SCANS = ("add", "mul", "max", "min", "and", "or", "xor")


def _source(instruction: Reduce | Scan, known: tuple[str, ...]) -> RegType:
    source = reg(instruction, instruction.value, "the value")
    if instruction.op not in known:
        fail(instruction, f"unknown operation `{instruction.op}`", hint=", ".join(known))
    if not 0 <= instruction.dim < source.rank:
        fail(
            instruction,
            f"`dim` {instruction.dim} of a tile of rank {source.rank}",
            error=ShapeError,
        )
    return source


@instruction
class Reduce(Instruction, name="reduce"):
    """The tile combined along `dim`, which keeps extent 1.

    Floating sums and products are formed in an unspecified but fixed order (run to run
    identical). `max` and `min` skip NaN; `argmax` and `argmin` give the first index of what they
    would find, as i32 (0 where all is NaN).
    """

    value: Operand
    op: str = "sum"
    dim: int = 0

    def result_type(self, annotation: Type | None) -> Type:
        source = _source(self, REDUCTIONS)
        if (self.op in ("any", "all")) != (source.dtype.kind == "bool"):
            fail(self, f"`{self.op}` of `{source.dtype.name}`", self.value)
        arithmetic(self, source.dtype, ("int", "uint", "float", "bool"))
        shape = tuple(1 if d == self.dim else e for d, e in enumerate(source.shape))
        element = i32 if self.op in ("argmax", "argmin") else source.dtype
        return no_annotation(self, annotation, RegType(element, shape))


@instruction
class Scan(Instruction, name="scan"):
    """Each element combined with all before it along `dim`; itself left out if `exclusive`.

    The first element of an exclusive scan is the operation's neutral one: 0, 1, all bits set, or
    the lowest (`max`) or highest (`min`) value, infinities included. Floating sums and products
    are formed in an unspecified but fixed order; `max` and `min` skip NaN.
    """

    value: Operand
    op: str = "add"
    dim: int = 0
    exclusive: bool = False

    def result_type(self, annotation: Type | None) -> Type:
        source = _source(self, SCANS)
        bitwise = self.op in ("and", "or", "xor")
        arithmetic(self, source.dtype, ("int", "uint", "bool" if bitwise else "float"))
        return no_annotation(self, annotation, RegType(source.dtype, source.shape))

    def neutral(self, dtype: Dtype) -> int | float | bool:
        """What the operation leaves every element unchanged with."""
        if dtype.kind == "bool":
            return self.op == "and"
        if self.op in ("max", "min"):
            if dtype.is_float:
                return float("-inf") if self.op == "max" else float("inf")
            return int(dtype.min_finite if self.op == "max" else dtype.max_finite)
        if self.op == "and":
            return -1 if dtype.kind == "int" else int(dtype.max_finite)
        return int(self.op == "mul")
