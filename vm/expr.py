"""Scalar expressions: the index arithmetic of a VM program.

An expression is an immutable tree over constants, scalar values, and the block's place in the grid.
Every thread of a block computes the same value (expressions are uniform). `/` and `%` round toward
minus infinity, as Python's `//` and `%` do.

    expr := Const | Ref | Special | Unary(op, expr) | Binary(op, expr, expr) | Select(c, a, b)

Every expression has a dtype (`expr_dtype`), which all executors compute it in:

    constants           i32, or i64 where 32 bits can't hold it; f32; bool
    block and grid      i32
    arithmetic          f64 if an operand is, else f32 if one is a float, else an integer: of 64
                        bits if an operand has 64, or if one is u32 and another signed; else of 32.
                        Unsigned if every operand with a sign of its own (no constant, no block or
                        grid index) is u32 or u64. `<<` and `>>` have their left operand's dtype.
    comparisons, `and`, `or`, `not`, and `& | ^` of truth values: bool

Operands are converted to the dtype first; integer results wrap, floats round. Integers of
different dtypes compare as the numbers they are. In index lists nothing may wrap on the way:
compiled code adds up the terms of an address in 64 bits (docs/text.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .dtypes import Dtype, bool_, dtype, f32, f64, i32, i64

if TYPE_CHECKING:
    from .ir import Value

ExprLike: TypeAlias = "Expr | int | float | bool"

ARITHMETIC = ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "min", "max")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
LOGICAL = ("and", "or")
SPECIALS = (
    "block.x", "block.y", "block.z", "grid.x", "grid.y", "grid.z",
    "cluster.x", "cluster.y", "cluster.z", "cluster_rank",
)  # fmt: skip


class Expr:
    """A scalar expression; Python's operators build larger ones."""

    # What was found out of the expression, kept because trees share parts and are asked again and
    # again: its dtype, its depth and size, and its kind once the verifier has passed it.
    __slots__ = ("_dtype", "_extent", "_kind")
    _dtype: Dtype
    _extent: tuple[int, int]
    _kind: str

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
    cls = type(expr)
    if cls is Binary:
        return (expr.lhs, expr.rhs)  # type: ignore[attr-defined]
    if cls is Unary:
        return (expr.operand,)  # type: ignore[attr-defined]
    if cls is Select:
        return (expr.condition, expr.then, expr.otherwise)  # type: ignore[attr-defined]
    return ()


def references(expr: Expr) -> list[Value]:
    """Every scalar value an expression reads, left to right, repeats included."""
    found: list[Value] = []
    _collect(expr, found)
    return found


def _collect(expr: Expr, found: list[Value]) -> None:
    if isinstance(expr, Ref):
        found.append(expr.value)
    elif isinstance(expr, Binary):
        _collect(expr.lhs, found)
        _collect(expr.rhs, found)
    else:
        for child in children(expr):
            _collect(child, found)


def remember(expr: Expr, name: str, found: Any) -> None:
    """Keeps what was found out of an expression (one of `Expr`'s slots)."""
    object.__setattr__(expr, name, found)


def substitute(expr: Expr, mapping: Callable[[Value], Value]) -> Expr:
    """The expression with every scalar value replaced; itself where none is another's."""
    match expr:
        case Const():
            return expr
        case Ref(value):
            new = mapping(value)
            return expr if new is value else Ref(new)
        case Unary(op, operand):
            inner = substitute(operand, mapping)
            return expr if inner is operand else Unary(op, inner)
        case Binary(op, lhs, rhs):
            a, b = substitute(lhs, mapping), substitute(rhs, mapping)
            return expr if a is lhs and b is rhs else Binary(op, a, b)
        case Select(condition, then, otherwise):
            parts = [substitute(e, mapping) for e in (condition, then, otherwise)]
            return Select(*parts)
    return expr


def expr_dtype(expr: Expr) -> Dtype:
    """The dtype an expression is computed in; see the head of the file."""
    try:
        return expr._dtype
    except AttributeError:
        found = _find_dtype(expr)
        remember(expr, "_dtype", found)
        return found


def _find_dtype(expr: Expr) -> Dtype:
    match expr:
        case Const(value):
            return constant_dtype(value)
        case Ref(value):
            element: Dtype = value.type.dtype  # type: ignore[union-attr]
            return element
        case Special():
            return i32
        case Unary(op, operand):
            return bool_ if op == "not" else common_dtype(operand, expr_dtype(operand))
        case Binary(op, lhs, rhs):
            return binary_dtype(op, (lhs, expr_dtype(lhs)), (rhs, expr_dtype(rhs)))
        case Select(_, then, otherwise):
            return select_dtype((then, expr_dtype(then)), (otherwise, expr_dtype(otherwise)))
    raise AssertionError(expr)


Typed: TypeAlias = tuple[Expr, Dtype]


def constant_dtype(value: int | float | bool) -> Dtype:
    """The dtype of a number in a program."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, float):
        return f32
    return i32 if -(2**31) <= value < 2**31 else i64


def binary_dtype(op: str, lhs: Typed, rhs: Typed) -> Dtype:
    """The dtype of `lhs op rhs` from its operands and theirs."""
    if op in LOGICAL or op in COMPARISONS:
        return bool_
    if op in ("&", "|", "^") and lhs[1].kind == rhs[1].kind == "bool":
        return bool_
    return common_dtype(*lhs) if op in ("<<", ">>") else common_dtype(*lhs, *rhs)


def select_dtype(then: Typed, otherwise: Typed) -> Dtype:
    """The dtype of a choice between two expressions."""
    both = then[1].kind == otherwise[1].kind == "bool"
    return bool_ if both else common_dtype(*then, *otherwise)


def common_dtype(lhs: Expr, a: Dtype, rhs: Expr | None = None, b: Dtype = i32) -> Dtype:
    """The dtype that arithmetic on one or two operands runs in."""
    if a is b is i32:  # nearly always
        return i32
    operands = [(lhs, a), (rhs, b)] if rhs is not None else [(lhs, a)]
    if any(element.is_float for _, element in operands):
        return f64 if any(element == f64 for _, element in operands) else f32
    signs = {_sign(expr, element) for expr, element in operands} - {None}
    unsigned = signs == {"uint"}
    wide = len(signs) == 2 or any(
        element.bits > 32 and not (unsigned and _fits_u32(expr)) for expr, element in operands
    )
    return dtype(f"{'u' if unsigned else 'i'}{64 if wide else 32}")


def _sign(expr: Expr | None, element: Dtype) -> str | None:
    """Whether an operand wants a sign; None for what 31 bits hold, constants and indices."""
    small = element.kind != "int" and element.bits < 32
    return None if small or isinstance(expr, Const | Special) else element.kind


def _fits_u32(expr: Expr | None) -> bool:
    return isinstance(expr, Const) and 0 <= expr.value < 2**32
