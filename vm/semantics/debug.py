"""Printing, checking and promising."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..diagnostics import ExecutionError
from ..instructions.debug import Assert, Assume, Print, Trap
from ..interpreter.scalars import Poison
from ..ir import Value
from ..types import RegType
from .registry import semantics

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(Print)
def print_(group: ThreadGroup, instruction: Print) -> None:
    """Elements without a value print as `?`."""
    value = instruction.value
    label = f"{instruction.label} " if instruction.label else ""
    if isinstance(value, Value) and isinstance(value.type, RegType):
        tile = group.tile(value)
        shown: Any = tile.numbers
        if tile.poison is not None and tile.poison.any():
            shown = np.where(tile.poison, "?", tile.numbers.astype(str))
        print(f"{label}{np.array2string(shown)}")
        return
    number = group.maybe_scalar(value)
    print(f"{label}{'?' if isinstance(number, Poison) else number}")


@semantics(Assert)
def assert_(group: ThreadGroup, instruction: Assert) -> None:
    if not group.scalar(instruction.condition):
        raise ExecutionError(f"assertion failed: {instruction.message or 'no message'}")


@semantics(Assume)
def assume(group: ThreadGroup, instruction: Assume) -> None:
    if not group.scalar(instruction.condition):
        raise ExecutionError("the program promises what does not hold")


@semantics(Trap)
def trap(group: ThreadGroup, instruction: Trap) -> None:
    raise ExecutionError(f"trap: {instruction.message or 'no message'}")
