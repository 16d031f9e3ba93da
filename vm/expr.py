"""Scalar expressions: the index arithmetic of a VM program.

An expression is an immutable tree over constants, scalar values, and the block's place in the grid.
Every thread of a block computes the same value (expressions are uniform). Integers are
mathematical while they are built; the executors compute them in 32 or 64 bits (`i64` if an operand
is) and `/` and `%` round toward minus infinity, as Python's `//` and `%` do.

    expr := Const | Ref | Special | Unary(op, expr) | Binary(op, expr, expr) | Select(c, a, b)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

if TYPE_CHECKING:
    from .ir import Value

ExprLike: TypeAlias = "Union[Expr, int, float, bool]"

ARITHMETIC = ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "min", "max")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
LOGICAL = ("and", "or")
SPECIALS = (
    "block.x", "block.y", "block.z", "grid.x", "grid.y", "grid.z",
    "cluster.x", "cluster.y", "cluster.z", "cluster_rank",
)  # fmt: skip


class Expr:
    """A scalar expression; Python's operators build larger ones."""

    __slots__ = ()

    def __add__(self, other: ExprLike) -> Expr:
        return binary("+", self, other)

    def __radd__(self, other: ExprLike) -> Expr:
        return binary("+", other, self)

    def __sub__(self, other: ExprLike) -> Expr:
        return binary("-", self, other)

    def __rsub__(self, other: ExprLike) -> Expr:
        return binary("-", other, self)

    def __mul__(self, other: ExprLike) -> Expr:
        return binary("*", self, other)

    def __rmul__(self, other: ExprLike) -> Expr:
        return binary("*", other, self)

    def __floordiv__(self, other: ExprLike) -> Expr:
        return binary("/", self, other)

    def __rfloordiv__(self, other: ExprLike) -> Expr:
        return binary("/", other, self)

    def __mod__(self, other: ExprLike) -> Expr:
        return binary("%", self, other)

    def __rmod__(self, other: ExprLike) -> Expr:
        return binary("%", other, self)

    def __and__(self, other: ExprLike) -> Expr:
        return binary("&", self, other)

    def __or__(self, other: ExprLike) -> Expr:
        return binary("|", self, other)

    def __xor__(self, other: ExprLike) -> Expr:
        return binary("^", self, other)

    def __lshift__(self, other: ExprLike) -> Expr:
        return binary("<<", self, other)

    def __rshift__(self, other: ExprLike) -> Expr:
        return binary(">>", self, other)

    def __lt__(self, other: ExprLike) -> Expr:
        return binary("<", self, other)

    def __le__(self, other: ExprLike) -> Expr:
        return binary("<=", self, other)

    def __gt__(self, other: ExprLike) -> Expr:
        return binary(">", self, other)

    def __ge__(self, other: ExprLike) -> Expr:
        return binary(">=", self, other)

    def __neg__(self) -> Expr:
        return Unary("-", self)

    def equals(self, other: ExprLike) -> Expr:
        """The comparison `==` (Python's own operator compares trees)."""
        return binary("==", self, other)

    def differs(self, other: ExprLike) -> Expr:
        """The comparison `!=`."""
        return binary("!=", self, other)


@dataclass(frozen=True, slots=True)
class Const(Expr):
    value: int | float | bool


@dataclass(frozen=True, slots=True)
class Ref(Expr):
    """The current value of a scalar: a parameter, a loop index, a `var` or a scalar result."""

    value: Value


@dataclass(frozen=True, slots=True)
class Special(Expr):
    """The block's index `block.x` ..., the grid's extents `grid.x` ..., the block's place in its
    cluster `cluster.x` ..., and its number there, `cluster_rank` (x runs fastest)."""

    name: str


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    op: str  # "-", "not"
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    op: str
    lhs: Expr
    rhs: Expr


@dataclass(frozen=True, slots=True)
class Select(Expr):
    """`select(condition, then, otherwise)`; both sides are evaluated."""

    condition: Expr
    then: Expr
    otherwise: Expr


def as_expr(value: ExprLike) -> Expr:
    """An expression from a number or an expression."""
    return value if isinstance(value, Expr) else Const(value)


_FOLD: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b if isinstance(a, int) and isinstance(b, int) else a / b,
    "%": lambda a, b: a % b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "min": min,
    "max": max,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "and": lambda a, b: bool(a) and bool(b),
    "or": lambda a, b: bool(a) or bool(b),
}


def apply_binary(op: str, lhs: Any, rhs: Any) -> Any:
    """The value of `lhs op rhs` on Python numbers.

    Raises:
        ZeroDivisionError: for `/` and `%` by zero.
    """
    return _FOLD[op](lhs, rhs)


def binary(op: str, lhs: ExprLike, rhs: ExprLike) -> Expr:
    """`lhs op rhs`, with constants folded and neutral elements dropped."""
    a, b = as_expr(lhs), as_expr(rhs)
    match (op, a, b):
        case ("/" | "%" | "<<" | ">>", Const(), Const(v)) if v <= 0:
            return Binary(op, a, b)
        case (_, Const(x), Const(y)):
            return Const(apply_binary(op, x, y))
        case ("+", _, Const(0)) | ("-", _, Const(0)) | ("*", _, Const(1)) | ("/", _, Const(1)):
            return a
        case ("+", Const(0), _) | ("*", Const(1), _):
            return b
        case ("*", _, Const(0)) | ("*", Const(0), _) | ("%", _, Const(1)):
            return Const(0)
    return Binary(op, a, b)


def minimum(lhs: ExprLike, rhs: ExprLike) -> Expr:
    """The smaller of two scalars."""
    return binary("min", lhs, rhs)


def maximum(lhs: ExprLike, rhs: ExprLike) -> Expr:
    """The larger of two scalars."""
    return binary("max", lhs, rhs)


def ceil_div(lhs: ExprLike, rhs: ExprLike) -> Expr:
    """`lhs / rhs` rounded up."""
    return binary("/", binary("+", lhs, binary("-", rhs, 1)), rhs)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct operands of an expression."""
    match expr:
        case Unary(_, operand):
            return (operand,)
        case Binary(_, lhs, rhs):
            return (lhs, rhs)
        case Select(condition, then, otherwise):
            return (condition, then, otherwise)
    return ()


def references(expr: Expr) -> Iterator[Value]:
    """Every scalar value an expression reads, left to right, repeats included."""
    if isinstance(expr, Ref):
        yield expr.value
    for child in children(expr):
        yield from references(child)


def substitute(expr: Expr, mapping: Callable[[Value], Value]) -> Expr:
    """The expression with every scalar value replaced."""
    match expr:
        case Ref(value):
            new = mapping(value)
            return expr if new is value else Ref(new)
        case Unary(op, operand):
            return Unary(op, substitute(operand, mapping))
        case Binary(op, lhs, rhs):
            return Binary(op, substitute(lhs, mapping), substitute(rhs, mapping))
        case Select(condition, then, otherwise):
            parts = [substitute(e, mapping) for e in (condition, then, otherwise)]
            return Select(*parts)
    return expr
