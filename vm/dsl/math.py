"""Elementwise functions of register tiles; operators do the rest (`a + b`, `a < b`, ...)."""

from __future__ import annotations

from inspect import isfunction

from ..diagnostics import user_errors
from ..instructions import elementwise
from .trace import emit
from .values import Tile, TileLike, operand, tile


def _unary(cls: type[elementwise.Unary], value: TileLike) -> Tile:
    return tile(emit(cls, value=operand(value)))


def _binary(cls: type[elementwise.Binary], a: TileLike, b: TileLike) -> Tile:
    return tile(emit(cls, lhs=operand(a), rhs=operand(b)))


def minimum_(a: TileLike, b: TileLike) -> Tile:
    """The smaller elements."""
    return _binary(elementwise.Min, a, b)


def maximum_(a: TileLike, b: TileLike) -> Tile:
    """The larger elements."""
    return _binary(elementwise.Max, a, b)


def exp2(value: Tile) -> Tile:
    """2 ** value."""
    return _unary(elementwise.Exp2, value)


def exp(value: Tile) -> Tile:
    """e ** value."""
    return _unary(elementwise.Exp, value)


def log2(value: Tile) -> Tile:
    """The binary logarithm."""
    return _unary(elementwise.Log2, value)


def log(value: Tile) -> Tile:
    """The natural logarithm."""
    return _unary(elementwise.Log, value)


def sqrt(value: Tile) -> Tile:
    """The square root."""
    return _unary(elementwise.Sqrt, value)


def rsqrt(value: Tile) -> Tile:
    """1 / sqrt(value)."""
    return _unary(elementwise.Rsqrt, value)


def rcp(value: Tile) -> Tile:
    """1 / value."""
    return _unary(elementwise.Rcp, value)


def tanh(value: Tile) -> Tile:
    """The hyperbolic tangent."""
    return _unary(elementwise.Tanh, value)


def sigmoid(value: Tile) -> Tile:
    """The logistic function."""
    return _unary(elementwise.Sigmoid, value)


def round_(value: Tile) -> Tile:
    """To the nearest integer, ties to even."""
    return _unary(elementwise.Round, value)


def floor(value: Tile) -> Tile:
    """The largest integer not above."""
    return _unary(elementwise.Floor, value)


def ceil(value: Tile) -> Tile:
    """The smallest integer not below."""
    return _unary(elementwise.Ceil, value)


def trunc(value: Tile) -> Tile:
    """The integer part."""
    return _unary(elementwise.Trunc, value)


def fma(a: TileLike, b: TileLike, c: TileLike) -> Tile:
    """a * b + c, rounded once."""
    return tile(emit(elementwise.FusedMultiplyAdd, a=operand(a), b=operand(b), c=operand(c)))


def where(condition: Tile, then: TileLike, otherwise: TileLike) -> Tile:
    """`then` where the condition holds, else `otherwise`."""
    return tile(
        emit(
            elementwise.Where,
            condition=operand(condition),
            then=operand(then),
            otherwise=operand(otherwise),
        )
    )


def clip(value: Tile, lower: TileLike, upper: TileLike) -> Tile:
    """The elements limited to [lower, upper]."""
    return tile(
        emit(elementwise.Clip, value=operand(value), lower=operand(lower), upper=operand(upper))
    )


# A call outside a kernel has no `Kernel.trace` around it that cuts our frames off the traceback.
for _name, _function in list(globals().items()):
    if isfunction(_function) and _function.__module__ == __name__ and not _name.startswith("_"):
        globals()[_name] = user_errors()(_function)
