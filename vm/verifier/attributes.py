"""Attributes against the types their fields declare."""

from __future__ import annotations

import types
import typing
from functools import cache
from typing import Any

from tileloom.layouts import RegisterLayout

from ..diagnostics import LayoutMismatchError, VMTypeError, quote
from ..instruction import Instruction, attribute_hints


def check_attributes(instruction: Instruction) -> None:
    """Checks that every attribute of an instruction is of its declared type.

    Raises:
        VMTypeError: one isn't.
    """
    for name, hint in attribute_hints(type(instruction)).items():
        value = getattr(instruction, name)
        if not matches(value, hint):
            raise VMTypeError(
                f"`{instruction.name}`: `{name}` can't be {quote(repr(value))}",
                instruction.location,
            )


def check_threads(instruction: Instruction, num_threads: int) -> None:
    """Checks that the layouts among an instruction's attributes fit in `num_threads` threads.

    Raises:
        LayoutMismatchError: one is of more threads.
    """
    for name in _layouts_of(type(instruction)):
        value = getattr(instruction, name)
        if isinstance(value, RegisterLayout) and value.num_threads > num_threads:
            raise LayoutMismatchError(
                f"`{instruction.name}`: `{name}` needs {value.num_threads} threads, the function "
                f"has {num_threads}",
                instruction.location,
                notes=[f"the layout is `{value}`"],
            )


# A dictionary, not `functools.cache`: a class with `eq=False` is no `Hashable` to mypy.
_LAYOUTS: dict[type[Instruction], list[str]] = {}


def _layouts_of(cls: type[Instruction]) -> list[str]:
    """The attributes of a class that may be layouts of registers."""
    if cls not in _LAYOUTS:
        hints = attribute_hints(cls).items()
        _LAYOUTS[cls] = [
            n for n, h in hints if h is RegisterLayout or RegisterLayout in _parts(h)[0]
        ]
    return _LAYOUTS[cls]


def matches(value: Any, hint: Any) -> bool:
    """Whether a value is of a declared type; `bool` is no `int`, and a tuple's items count."""
    if type(value) is hint:  # nearly always
        return True
    choices, item = _parts(hint)
    if choices:
        return type(value) in choices or any([matches(value, choice) for choice in choices])
    if item is not None:
        return isinstance(value, tuple) and all(
            [type(each) is item or matches(each, item) for each in value]
        )
    if hint is None:
        return value is None
    return hint is Any


@cache
def _parts(hint: Any) -> tuple[tuple[Any, ...], Any]:
    """The choices of a union, and the type of a tuple's items."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return typing.get_args(hint), None
    return (), typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None
