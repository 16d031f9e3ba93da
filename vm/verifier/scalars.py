"""The types of scalar expressions.

int        + - * / % min max & | ^ << >> and comparisons, with an int
float      + - * / min max and comparisons, with a float or an integer constant
bool       & | ^ == != and or not, with a bool
select     a bool, and two of one kind
"""

from __future__ import annotations

from typing import Literal, NoReturn, TypeAlias

from ..diagnostics import LimitError, Location, VMTypeError, VMValueError, quote
from ..diagnostics.render import Note
from ..expr import (
    COMPARISONS,
    LOGICAL,
    Binary,
    Const,
    Expr,
    Ref,
    Select,
    Special,
    Unary,
    children,
    references,
    remember,
)
from ..text import print_expr, print_type
from ..types import ScalarType

Kind: TypeAlias = Literal["int", "float", "bool"]

MAX_DEPTH = 256
MAX_SIZE = 100_000
_MAX_NOTES = 3
_MAX_SHIFT = 64
_INTEGERS_ONLY = ("%", "<<", ">>")
_BITS = ("&", "|", "^")


def scalar_kind(expr: Expr, location: Location | None = None) -> Kind:
    """Whether an expression is an integer, a float or a condition.

    Raises:
        VMTypeError: its operands don't go together, or one is no scalar.
        VMValueError: a division by zero, or a shift by too much.
        LimitError: it is too deep or too large.
    """
    try:
        return expr._kind  # type: ignore[return-value]
    except AttributeError:
        _check_size(expr, location)
        return _kind(expr, location)


def _check_size(expr: Expr, location: Location | None) -> None:
    depth, size = _extent(expr, location)
    if depth > MAX_DEPTH:
        _too_deep(location)
    if size > MAX_SIZE:
        raise LimitError(f"an expression of more than {MAX_SIZE} operations", location)


def _extent(expr: Expr, location: Location | None, level: int = 1) -> tuple[int, int]:
    """The levels of a tree and its nodes; a part that is used twice counts twice."""
    try:
        return expr._extent
    except AttributeError:
        pass
    if level > MAX_DEPTH:
        _too_deep(location)
    depth = size = 0
    for child in children(expr):
        below, more = _extent(child, location, level + 1)
        depth, size = max(depth, below), size + more
    found = (depth + 1, size + 1)
    remember(expr, "_extent", found)
    return found


def _too_deep(location: Location | None) -> NoReturn:
    raise LimitError(f"an expression more than {MAX_DEPTH} operations deep", location)


def _kind(expr: Expr, location: Location | None) -> Kind:
    try:
        return expr._kind  # type: ignore[return-value]
    except AttributeError:
        found = _find_kind(expr, location)
        remember(expr, "_kind", found)
        return found


def _find_kind(expr: Expr, location: Location | None) -> Kind:
    match expr:
        case Const(value):
            return _constant_kind(value)
        case Special():
            return "int"
        case Ref():
            return _reference_kind(expr, location)
        case Unary(op, operand):
            return _unary_kind(op, operand, location)
        case Binary():
            return _binary_kind(expr, location)
        case Select(condition, then, otherwise):
            expect_kind("bool", condition, "the condition of `select`", location)
            return _common(expr, then, otherwise, location)
    raise AssertionError(f"no expression: {expr!r}")


def _constant_kind(value: float) -> Kind:
    if isinstance(value, bool):
        return "bool"
    return "int" if isinstance(value, int) else "float"


def _reference_kind(expr: Ref, location: Location | None) -> Kind:
    value = expr.value
    if not isinstance(value.type, ScalarType):
        raise VMTypeError(
            f"`{value.label}` is no scalar",
            location,
            notes=[(f"`{value.label}` is `{print_type(value.type)}`", value.location)],
        )
    kind = value.type.dtype.kind
    if kind in ("int", "uint"):
        return "int"
    return "bool" if kind == "bool" else "float"


def _unary_kind(op: str, operand: Expr, location: Location | None) -> Kind:
    kind = _kind(operand, location)
    if (op == "not") != (kind == "bool"):
        _mismatch(op, operand, None, location)
    return kind


def _binary_kind(expr: Binary, location: Location | None) -> Kind:
    op, lhs, rhs = expr.op, expr.lhs, expr.rhs
    common = _common(expr, lhs, rhs, location)
    if op in LOGICAL:
        legal = common == "bool"
    elif op in _BITS:
        legal = common != "float"
    elif op in _INTEGERS_ONLY:
        legal = common == "int"
    else:
        legal = common != "bool" or op in ("==", "!=")
    if not legal:
        _mismatch(op, lhs, rhs, location)
    _check_constant(op, lhs, rhs, common, location)
    return "bool" if op in COMPARISONS or op in LOGICAL else common


def _check_constant(op: str, lhs: Expr, rhs: Expr, kind: Kind, location: Location | None) -> None:
    """Constants that an integer operation has no meaning for."""
    if kind != "int" or not isinstance(rhs, Const):
        return
    if op in ("/", "%") and rhs.value == 0:
        raise VMValueError(f"division by zero: {quote(print_expr(Binary(op, lhs, rhs)))}", location)
    if op in ("<<", ">>") and not 0 <= rhs.value < _MAX_SHIFT:
        raise VMValueError(f"a shift by {rhs.value}", location, hint="0 to 63")


def _common(expr: Expr, lhs: Expr, rhs: Expr, location: Location | None) -> Kind:
    a, b = _kind(lhs, location), _kind(rhs, location)
    if a != b and "bool" in (a, b):
        _mismatch(getattr(expr, "op", "select"), lhs, rhs, location)
    return "float" if "float" in (a, b) else a


_ARTICLE: dict[Kind, str] = {"int": "an integer", "float": "a float", "bool": "a condition"}


def _mismatch(op: str, lhs: Expr, rhs: Expr | None, location: Location | None) -> NoReturn:
    sides = [side for side in (lhs, rhs) if side is not None]
    described = " and ".join(
        f"{_ARTICLE[_kind(side, location)]} {quote(print_expr(side))}" for side in sides
    )
    raise VMTypeError(f"`{op}` can't work on {described}", location, notes=_notes(*sides))


def _notes(*exprs: Expr) -> list[Note]:
    """The types of the scalars that are named in expressions."""
    values = [value for expr in exprs for value in references(expr)]
    return [(f"`{v.label}` is `{print_type(v.type)}`", v.location) for v in values[:_MAX_NOTES]]


def expect_kind(kind: Kind, expr: Expr, what: str, location: Location | None) -> None:
    """Checks that an expression is of a kind; `what` names it in the error.

    Raises:
        VMTypeError: it is of another kind, or its operands don't go together.
    """
    found = scalar_kind(expr, location)
    if found != kind:
        text = print_expr(expr)
        hint = f"compare it: `{text} != 0`" if kind == "bool" and len(text) < 60 else None
        raise VMTypeError(
            f"{what} is {_ARTICLE[found]}, not {_ARTICLE[kind]}: {quote(text)}",
            location,
            notes=_notes(expr),
            hint=hint,
        )
