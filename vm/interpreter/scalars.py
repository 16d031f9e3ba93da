"""Scalar expressions compiled to closures over an environment.

Each operation runs in the dtype that `vm.expr` gives it. A scalar without a value is a `Poison`:
arithmetic passes it on, and using it as a number or a truth value raises `PoisonError`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from .. import expr as ex
from ..dtypes import Dtype, dtype, f32, i32
from ..types import ScalarType

if TYPE_CHECKING:
    from ..diagnostics import Location

Env: TypeAlias = dict[Any, Any]
Evaluate: TypeAlias = Callable[[Env], Any]
Number: TypeAlias = int | float | bool

BOOL: Final = dtype("bool")


class PoisonError(Exception):
    """A scalar without a value was used to decide something."""

    def __init__(self, poison: Poison) -> None:
        super().__init__()
        self.poison = poison


class Poison:
    """A scalar without a value; `origin` says where it came from."""

    def __init__(self, origin: str, location: Location | None) -> None:
        self.origin = origin
        self.location = location

    def _same(self, *_: object) -> Poison:
        return self

    def _use(self) -> Any:
        raise PoisonError(self)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _same
    __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = __mod__ = __rmod__ = _same
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _same
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _same
    __lt__ = __le__ = __gt__ = __ge__ = _same
    __eq__ = __ne__ = _same  # type: ignore[assignment]
    __bool__ = __int__ = __index__ = __float__ = _use
    __hash__ = object.__hash__


def checked(value: Any) -> Any:
    """The value, which must not be poison."""
    if isinstance(value, Poison):
        raise PoisonError(value)
    return value


def normalize(element: Dtype, value: Any) -> Any:
    """A number as a scalar of a dtype holds it: integers wrap, floats round."""
    if isinstance(value, Poison):
        return value
    if element.kind == "bool":
        return bool(value)
    if element.kind in ("uint", "int"):
        return _wrapper(element)(int(value))
    return float(element.decode(element.encode(float(value))))


def compile_expr(expr: ex.Expr, exact: bool = False) -> tuple[Evaluate, Dtype]:
    """A function from environments to the expression's value, and its dtype. `exact` integers of
    32 bits don't wrap (`vm.ranges`)."""
    match expr:
        case ex.Const(value):
            return (lambda env: value), ex.constant_dtype(value)
        case ex.Ref(value):
            assert isinstance(value.type, ScalarType), f"%{value.name} is no scalar"
            return operator.itemgetter(value), value.type.dtype
        case ex.Special(name):
            return operator.itemgetter(name), i32
        case ex.Unary(op, operand):
            return _compile_unary(op, operand, exact)
        case ex.Select(condition, then, otherwise):
            return _compile_select(condition, then, otherwise, exact)
        case ex.Binary(op, lhs, rhs):
            return _compile_binary(op, lhs, rhs, exact)
    raise AssertionError(expr)


def _compile_unary(op: str, operand: ex.Expr, exact: bool) -> tuple[Evaluate, Dtype]:
    inner, element = compile_expr(operand, exact)
    if op == "not":
        return (lambda env: inner(env) == False), BOOL  # noqa: E712 - poison passes
    result = ex.common_dtype(operand, element)
    wrap = _wrapper(result, exact)
    return (lambda env: wrap(-inner(env))), result


def _compile_select(
    condition: ex.Expr, then: ex.Expr, otherwise: ex.Expr, exact: bool
) -> tuple[Evaluate, Dtype]:
    decide, _ = compile_expr(condition, exact)
    (a, a_dtype), (b, b_dtype) = (compile_expr(side, exact) for side in (then, otherwise))
    result = ex.select_dtype((then, a_dtype), (otherwise, b_dtype))
    a = _converted(then, a, a_dtype, result, exact)
    b = _converted(otherwise, b, b_dtype, result, exact)

    def evaluate(env: Env) -> Any:
        chosen = decide(env)
        if isinstance(chosen, Poison):
            return chosen
        return a(env) if chosen else b(env)

    return evaluate, result


def _compile_binary(op: str, lhs: ex.Expr, rhs: ex.Expr, exact: bool) -> tuple[Evaluate, Dtype]:
    (a, a_dtype), (b, b_dtype) = compile_expr(lhs, exact), compile_expr(rhs, exact)
    result = ex.binary_dtype(op, (lhs, a_dtype), (rhs, b_dtype))
    operands = result
    if op in ex.COMPARISONS and (a_dtype.is_float or b_dtype.is_float):
        operands = ex.common_dtype(lhs, a_dtype, rhs, b_dtype)
    if operands.is_float or op in ("/", "%", "min", "max"):
        a = _converted(lhs, a, a_dtype, operands, exact)
        b = _converted(rhs, b, b_dtype, operands, exact)
    compute = _FLOATING.get(op, _PLAIN[op]) if result.is_float else _PLAIN[op]
    if result == BOOL or op in ("min", "max"):
        return (lambda env: compute(a(env), b(env))), result
    wrap = _wrapper(result, exact)
    return (lambda env: wrap(compute(a(env), b(env)))), result


def _converted(
    expr: ex.Expr, evaluate: Evaluate, source: Dtype, target: Dtype, exact: bool
) -> Evaluate:
    """The expression's value as `target` holds it; a float constant is rounded only then."""
    if target == BOOL:
        return evaluate
    wrap = _wrapper(target, exact)
    if isinstance(expr, ex.Const):
        number = wrap(float(expr.value) if target.is_float else expr.value)
        return lambda env: number
    if source == target:
        return evaluate
    if target.is_float:
        return lambda env: wrap(_as_float(evaluate(env), target))
    return lambda env: wrap(evaluate(env))


def _as_float(value: Any, target: Dtype) -> Any:
    """A number as a float; an integer is rounded once, to the target."""
    if isinstance(value, int) and not isinstance(value, bool) and target == f32:
        return float((np.uint64 if value >= 2**63 else np.int64)(value).astype(np.float32))
    return value if isinstance(value, Poison) else float(value)


def _wrapper(element: Dtype, exact: bool = False) -> Callable[[Any], Any]:
    if exact and element == i32:
        return lambda value: value
    if element.is_float:
        return _round_f32 if element == f32 else lambda value: value
    if element.kind == "uint":
        mask = (1 << element.bits) - 1
        return lambda value: value & mask
    half, mask = 1 << element.bits - 1, (1 << element.bits) - 1
    return lambda value: ((value + half) & mask) - half


def _round_f32(value: Any) -> Any:
    return value if isinstance(value, Poison) else float(np.float32(value))


def _divide(a: Any, b: Any) -> Any:
    if isinstance(b, Poison) or b != 0:
        return a / b
    if isinstance(a, Poison):
        return a
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _smaller(a: Any, b: Any) -> Any:
    return _poison_of(a, b) if isinstance(a, Poison) or isinstance(b, Poison) else min(a, b)


def _larger(a: Any, b: Any) -> Any:
    return _poison_of(a, b) if isinstance(a, Poison) or isinstance(b, Poison) else max(a, b)


def _poison_of(a: Any, b: Any) -> Any:
    return a if isinstance(a, Poison) else b


def _conjunction(a: Any, b: Any) -> Any:
    return (a != 0) & (b != 0)


def _disjunction(a: Any, b: Any) -> Any:
    return (a != 0) | (b != 0)


_PLAIN: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "min": _smaller,
    "max": _larger,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "and": _conjunction,
    "or": _disjunction,
}
_FLOATING: Final[dict[str, Callable[[Any, Any], Any]]] = {"/": _divide}
