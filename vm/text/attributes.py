"""Attribute values: from a syntax tree to the Python type an instruction's field declares."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tileloom.layouts import RegisterLayout

from ..diagnostics import Location, VMTypeError, quote
from ..dtypes import Dtype
from ..expr import Const
from .expressions import ExpressionReader
from .strings import unescape
from .tree import node, span
from .type_reader import read_dtype

if TYPE_CHECKING:
    from .scope import Scope
    from .tree import Part

_WORDS: dict[Any, str] = {
    bool: "`true` or `false`",
    int: "an integer",
    float: "a number",
    str: "a word or string",
    Dtype: "a dtype",
    RegisterLayout: "a register layout, such as `#name`",
    type(None): "`none`",
}
_PLURALS: dict[Any, str] = {
    bool: "`true` and `false`",
    int: "integers",
    float: "numbers",
    str: "words or strings",
    Dtype: "dtypes",
}


@dataclass(frozen=True)
class Word:
    """A bare word whose meaning depends on the attribute: a string, a dtype, `none`."""

    text: str


class AttributeReader:
    """Reads attribute values and converts them to the declared types."""

    def __init__(self, scope: Scope, expressions: ExpressionReader) -> None:
        self._scope = scope
        self._expressions = expressions

    def read(self, part: Part, hint: Any, what: str) -> Any:
        """The value of a tree as `hint` says; `what` names the attribute in the error."""
        place = self._scope.source.location(span(part))
        value = self._value(part)
        for choice in alternatives(hint):
            # An integer means a float only where no alternative takes it as it is.
            converted = _convert(value, choice, place)
            if converted is not None:
                return converted[0]
        if type(value) is int and float in alternatives(hint):
            return float(value)
        expected = " or ".join(describe(choice) for choice in alternatives(hint))
        text = self._scope.source.text[slice(*span(part))]
        raise VMTypeError(f"{what} is {quote(text)}, not {expected}", place)

    def _value(self, part: Part) -> Any:
        tree = node(part)
        match tree.data:
            case "attribute_list":
                return tuple(self._value(each) for each in tree.children)
            case "layout_reference":
                token = tree.children[0]
                return self._scope.layout(str(token)[1:], span(token))
            case "string":
                return unescape(str(tree.children[0]))
            case "keyword_word":
                return Word(str(tree.children[0]))
            case "word" if str(tree.children[0]) not in ("true", "false", "inf", "nan"):
                return Word(str(tree.children[0]))
        expr = self._expressions.read(tree)
        if isinstance(expr, Const):
            return expr.value
        raise VMTypeError(
            "an attribute must be a constant",
            self._scope.source.location(span(part)),
            hint="run-time values are operands",
        )


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union type, or the type itself."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return typing.get_args(hint)
    return (hint,)


def describe(hint: Any) -> str:
    """A declared type in the words of a message."""
    if typing.get_origin(hint) is tuple:
        return f"a list of {_PLURALS.get(typing.get_args(hint)[0], 'other values')}"
    return _WORDS.get(hint, "another value")


def _convert(value: Any, hint: Any, place: Location) -> tuple[Any] | None:
    """The value as `hint` in a 1-tuple, None if it isn't one."""
    if typing.get_origin(hint) is tuple:
        return _convert_items(value, typing.get_args(hint)[0], place)
    if isinstance(value, Word):
        return _convert_word(value.text, hint, place)
    return (value,) if type(value) is hint else None


def _convert_items(value: Any, hint: Any, place: Location) -> tuple[Any] | None:
    if not isinstance(value, tuple):
        return None
    items = [_convert(item, hint, place) for item in value]
    if any(item is None for item in items):
        return None
    return (tuple(item[0] for item in items if item is not None),)


def _convert_word(word: str, hint: Any, place: Location) -> tuple[Any] | None:
    if hint is str:
        return (word,)
    if hint is Dtype:
        return (read_dtype(word, place),)
    if hint is type(None) and word == "none":
        return (None,)
    return None
