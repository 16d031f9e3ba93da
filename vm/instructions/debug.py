"""Printing, checking and promising."""

from __future__ import annotations

from ..dtypes import Dtype
from ..expr import Expr
from ..instruction import Effect, Instruction, Operand, Scalar, instruction
from ..types import RegType, ScalarType, Type
from .checks import describe, expect_scalar, fail

# A tile is printed in lines of so many elements of its last dimension.
LINE = 16


@instruction
class Print(Instruction, name="print", effect=Effect.OBSERVABLE, result=False):
    """Prints a scalar or a register tile, after `label`, once a block.

    All executors print the same text. A scalar is one line, `label value`. A tile is a line for
    each run of up to 16 elements along its last dimension, `label[3, 16:32] value value ...`;
    the lines of one tile come in order, those of different blocks may mix. Numbers are as C's
    `printf` writes them, floats with the digits their dtype can tell apart; truth values are 0
    and 1.
    """

    value: Operand
    label: str = ""

    def result_type(self, annotation: Type | None) -> None:
        if isinstance(self.value, Expr):
            return
        if not isinstance(self.value.type, RegType | ScalarType):
            fail(
                self,
                f"{describe(self.value)} is no scalar or register tile",
                self.value,
                hint="`load` the part that is to be seen",
            )


def number_format(dtype: Dtype) -> str:
    """How `print` writes a dtype's numbers: flags and letter of a `printf` specifier."""
    if dtype.kind in ("int", "bool"):
        return "d"
    if dtype.kind == "uint":
        return "u"
    digits = {"f64": 15, "f16": 5, "bf16": 4}.get(dtype.name, 7)
    return f".{digits}g"


@instruction
class Assert(Instruction, name="assert", effect=Effect.OBSERVABLE, result=False):
    """Stops the program with `message` where the condition does not hold."""

    condition: Scalar
    message: str = ""

    def result_type(self, annotation: Type | None) -> None:
        expect_scalar(self, self.condition, "bool", "the condition")

    def complaint(self) -> str:
        """What is said where it fails: the message, else the condition itself."""
        from ..text import print_expr

        return self.message or print_expr(self.condition)


@instruction
class Assume(Instruction, name="assume", result=False):
    """Promises that a condition holds; the compiler builds on it, the interpreter checks it.

    Useful forms: `%k % 8 == 0`, `%m <= 65536`, `%m >= 1`.
    """

    condition: Scalar

    def result_type(self, annotation: Type | None) -> None:
        expect_scalar(self, self.condition, "bool", "the condition")


@instruction
class Trap(Instruction, name="trap", effect=Effect.OBSERVABLE, result=False):
    """Stops the program with an error."""

    message: str = ""

    def result_type(self, annotation: Type | None) -> None:
        return None
