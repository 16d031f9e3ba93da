"""Printing, checking and promising."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..diagnostics import ExecutionError
from ..dtypes import Dtype
from ..expr import expr_dtype
from ..instructions.debug import LINE, Assert, Assume, Print, Trap, number_format
from ..interpreter.scalars import Poison
from ..ir import Value
from ..types import RegType
from .registry import semantics
from .values import Tile

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(Print)
def print_(group: ThreadGroup, instruction: Print) -> None:
    """Elements without a value print as `?`."""
    value, label = instruction.value, instruction.label
    if isinstance(value, Value) and isinstance(value.type, RegType):
        for line in tile_lines(group.tile(value), label):
            print(line)
        return
    dtype = value.type.dtype if isinstance(value, Value) else expr_dtype(value)  # type: ignore[union-attr]
    number = group.maybe_scalar(value)
    shown = "?" if isinstance(number, Poison) else number_text(dtype, number)
    print(f"{label} {shown}" if label else shown)


def number_text(dtype: Dtype, number: Any) -> str:
    """A number as `print` writes it."""
    plain: int | float = number.item() if isinstance(number, np.generic) else number
    return f"%{number_format(dtype)}" % plain


def tile_lines(tile: Tile, label: str) -> list[str]:
    """A tile as `print` writes it."""
    numbers = tile.numbers
    poison = np.zeros(tile.shape, np.bool_) if tile.poison is None else tile.poison
    if not tile.shape:
        shown = "?" if poison else number_text(tile.dtype, numbers[()])
        return [f"{label} {shown}" if label else shown]
    lines = []
    for outer in np.ndindex(*tile.shape[:-1]):
        for start in range(0, tile.shape[-1], LINE):
            stop = min(start + LINE, tile.shape[-1])
            place = ", ".join([*map(str, outer), f"{start}:{stop}"])
            row, unknown = numbers[outer][start:stop], poison[outer][start:stop]
            shown = " ".join(
                "?" if missing else number_text(tile.dtype, number)
                for number, missing in zip(row, unknown, strict=True)
            )
            lines.append(f"{label}[{place}] {shown}")
    return lines


@semantics(Assert)
def assert_(group: ThreadGroup, instruction: Assert) -> None:
    if not group.scalar(instruction.condition):
        raise ExecutionError(f"assertion failed: {instruction.complaint()}")


@semantics(Assume)
def assume(group: ThreadGroup, instruction: Assume) -> None:
    if not group.scalar(instruction.condition):
        raise ExecutionError("the program promises what does not hold")


@semantics(Trap)
def trap(group: ThreadGroup, instruction: Trap) -> None:
    raise ExecutionError(f"trap: {instruction.message or 'no message'}")
