"""Printing, checking and promising."""

from __future__ import annotations

from dataclasses import dataclass

from ..instruction import Effect, Instruction, Operand, Scalar
from ..types import Type
from .checks import expect_scalar


@dataclass(frozen=True, eq=False)
class Print(Instruction, name="print", effect=Effect.OBSERVABLE, result=False):
    """Prints a scalar or a register tile, after `label`, once a block."""

    value: Operand
    label: str = ""

    def result_type(self, annotation: Type | None) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Assert(Instruction, name="assert", effect=Effect.OBSERVABLE, result=False):
    """Stops the program with `message` where the condition does not hold."""

    condition: Scalar
    message: str = ""

    def result_type(self, annotation: Type | None) -> None:
        expect_scalar(self, self.condition, "bool", "the condition")


@dataclass(frozen=True, eq=False)
class Assume(Instruction, name="assume", result=False):
    """Promises that a condition holds; the compiler builds on it, the interpreter checks it.

    Useful forms: `%k % 8 == 0`, `%m <= 65536`, `%m >= 1`.
    """

    condition: Scalar

    def result_type(self, annotation: Type | None) -> None:
        expect_scalar(self, self.condition, "bool", "the condition")


@dataclass(frozen=True, eq=False)
class Trap(Instruction, name="trap", effect=Effect.OBSERVABLE, result=False):
    """Stops the program with an error."""

    message: str = ""

    def result_type(self, annotation: Type | None) -> None:
        return None
