"""Elementwise operations, with what they do to bounds and errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import exp, log
from typing import Any, TypeAlias

from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.expr import Const, Expr
from tileloom.vm.instruction import Instruction
from tileloom.vm.instructions import elementwise as vm
from tileloom.vm.ir import Value

from . import expressions
from .draft import BOOL, Draft, Tile
from .known import (
    INFINITY,
    Known,
    Refusal,
    added,
    common_grain,
    divided,
    join,
    multiplied,
    negated,
    of_integers,
    rounded,
    unit,
)
from .memory import load
from .shapes import draw_shape

Operand: TypeAlias = "tuple[Value | Expr, Known]"

_NUMERIC = (
    "f32", "f16", "bf16", "f64", "tf32", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64",
)  # fmt: skip
_INTEGERS = tuple(name for name in _NUMERIC if name[0] in "iu")


def _matching(draft: Draft, tile: Tile) -> Operand:
    """A tile that broadcasts with another, or a scalar."""
    random = draft.random
    if random.random() < 0.3:
        fresh = load(draft, tile.dtype, tile.shape)
        fresh.used = True
        return fresh.value, fresh.known
    fits = [t for t in draft.readable() if t.dtype == tile.dtype and _broadcasts(t, tile)]
    if fits and random.random() < 0.7:
        chosen = random.choice(fits[-4:] if random.random() < 0.6 else fits)
        chosen.used = True
        return chosen.value, chosen.known
    return _scalar(draft, tile.dtype)


def _broadcasts(a: Tile, b: Tile) -> bool:
    pairs = list(zip(reversed(a.shape), reversed(b.shape), strict=False))
    return all(x == y or 1 in (x, y) for x, y in pairs)


def _scalar(draft: Draft, element: Dtype) -> Operand:
    random = draft.random
    if element.is_float:
        if random.random() < 0.3:
            number = expressions.within(draft, -64, 64, 1)
            return number.expr, Known(number.low, number.high, 0)
        scalar = expressions.draw_float(draft)
        grain = None
        if isinstance(scalar.expr, Const) and scalar.low * 4 == int(scalar.low * 4):
            grain = -2
        low, high = float(scalar.low), float(scalar.high)
        return scalar.expr, rounded(element, Known(low, high, grain))
    low, high = (0, 100) if element.kind == "uint" else (-100, 100)
    number = expressions.within(draft, low, high, 1)
    return number.expr, Known(number.low, number.high, 0)


def _tile(draft: Draft, *names: str) -> Tile:
    found = draft.choose(dtypes=names)
    found.used = True
    return found


# Binary operations


def _extreme(a: Known, b: Known) -> Known:
    if a.special or b.special:
        low, high = -INFINITY, INFINITY
        if a.error or b.error:
            raise Refusal("uncertain values beside infinities")
        return Known(low, high, None, special=True, signed=False)
    grain, error = common_grain(a, b), max(a.error, b.error)
    both = a.has_zero and b.has_zero
    return Known(min(a.low, b.low), max(a.high, b.high), grain, error, signed=not both)


def _difference(a: Known, b: Known) -> Known:
    return added(a, negated(b))


_BINARY: dict[type[Instruction], Callable[[Known, Known], Known]] = {
    vm.Add: added, vm.Sub: _difference, vm.Mul: multiplied, vm.Min: _extreme, vm.Max: _extreme,
}  # fmt: skip


def binary(draft: Draft) -> None:
    """+ - * min max / on numbers of any type."""
    random = draft.random
    tile = _tile(draft, *_NUMERIC)
    other, known = _matching(draft, tile)
    cls = random.choice((*_BINARY, vm.Div))
    sides: list[Operand] = [(tile.value, tile.known), (other, known)]
    if random.random() < 0.4:
        sides.reverse()
    (lhs, a), (rhs, b) = sides
    if cls is vm.Div:
        _divide(draft, tile.dtype, lhs, rhs, a, b)
        return
    result = rounded(tile.dtype, _BINARY[cls](a, b))
    if not tile.dtype.is_float:
        result = replace(result, signed=True)
    draft.tile(cls, result, lhs=lhs, rhs=rhs)


def _divide(
    draft: Draft, element: Dtype, lhs: Value | Expr, rhs: Value | Expr, a: Known, b: Known
) -> None:
    if element.is_float:
        if not a.signed or not b.signed:
            raise Refusal("the sign of a zero would matter")
        draft.tile(vm.Div, rounded(element, divided(a, b)), lhs=lhs, rhs=rhs)
        return
    if b.has_zero:
        divisor = draft.random.choice((1, 2, 3, 5, 7, 16, 100))
        rhs, b = Const(divisor), Known(divisor, divisor, 0)
        if isinstance(lhs, Expr):
            raise Refusal("no tile")
    cls = draft.random.choice((vm.Div, vm.Mod))
    draft.tile(cls, of_integers(element), lhs=lhs, rhs=rhs)


def integer(draft: Draft) -> None:
    """Bit operations and shifts."""
    random = draft.random
    if random.random() < 0.2:
        tile = _tile(draft, "bool")
        classes: tuple[Any, ...] = (vm.And, vm.Or, vm.Xor)
    else:
        tile = _tile(draft, *_INTEGERS)
        classes = (vm.And, vm.Or, vm.Xor, vm.ShiftLeft, vm.ShiftRight)
    cls = random.choice(classes)
    fits = [t for t in draft.readable() if t.dtype == tile.dtype and _broadcasts(t, tile)]
    other: Value | Expr = random.choice(fits).value
    if tile.dtype != BOOL and random.random() < 0.5:
        top = tile.dtype.bits + 3 if cls in (vm.ShiftLeft, vm.ShiftRight) else 100
        other = expressions.within(draft, 0, top, 1).expr
    elif isinstance(other, Value):
        draft.use(other)
    known = of_integers(tile.dtype)
    if cls is vm.And and tile.known.low >= 0:
        known = Known(0, tile.known.high, 0) if tile.dtype.kind == "uint" else known
    if tile.dtype == BOOL or random.random() < 0.85:
        draft.tile(cls, known, lhs=tile.value, rhs=other)
    else:
        draft.tile(vm.Not, of_integers(tile.dtype), value=tile.value)


def compare(draft: Draft) -> None:
    """A comparison of numbers that are certain."""
    if draft.random.random() < 0.3:
        names = ("f32", "f16", "u32", "u64", "bf16", "u8", "i32", "f64")
        element = dtype(draft.random.choice(names))
        load(draft, element, draw_shape(draft.random), "codes" if element.is_float else "")
    tile = _tile(draft, *_NUMERIC)
    other, known = _matching(draft, tile)
    if not tile.known.exact or not known.exact:
        raise Refusal("uncertain values compared")
    cls = draft.random.choice(
        (vm.Equal, vm.NotEqual, vm.Less, vm.LessEqual, vm.Greater, vm.GreaterEqual)
    )
    draft.tile(cls, Known(0, 1, 0), lhs=tile.value, rhs=other)


def where(draft: Draft) -> None:
    """A choice by a bool tile."""
    random = draft.random
    if random.random() < 0.7:
        compare(draft)
    condition = _tile(draft, "bool")
    fits = [t for t in draft.readable() if _broadcasts(t, condition) and t is not condition]
    if not fits:
        raise Refusal("no tile")
    tile = random.choice(fits)
    others = [t for t in fits if t.dtype == tile.dtype and _broadcasts(t, tile)]
    other: Operand
    if random.random() < 0.6 or tile.dtype.name not in _NUMERIC:
        chosen = random.choice(others)
        chosen.used = True
        other = chosen.value, chosen.known
    else:
        other = _scalar(draft, tile.dtype)
    tile.used = True
    sides: list[Operand] = [(tile.value, tile.known), other]
    random.shuffle(sides)
    (then, a), (otherwise, b) = sides
    known = join(a, b)
    draft.tile(vm.Where, known, condition=condition.value, then=then, otherwise=otherwise)


def ternary(draft: Draft) -> None:
    """a * b + c, or a value between two limits."""
    random = draft.random
    tile = _tile(draft, *_NUMERIC)
    second, b = _matching(draft, tile)
    third, c = _matching(draft, tile)
    if random.random() < 0.6:
        known = rounded(tile.dtype, added(multiplied(tile.known, b), c))
        draft.tile(vm.FusedMultiplyAdd, known, a=tile.value, b=second, c=third)
        return
    known = _extreme(_extreme(tile.known, b), c)
    draft.tile(vm.Clip, known, value=tile.value, lower=second, upper=third)


def unary(draft: Draft) -> None:
    """Negation, magnitude, rounding to integers, and what floats have that is rounded correctly."""
    random = draft.random
    tile = _tile(draft, *_NUMERIC)
    known, element = tile.known, tile.dtype
    classes: list[Any] = [vm.Neg, vm.Abs]
    if element.is_float:
        classes += [vm.Sqrt, vm.Rcp, vm.Rcp, vm.Round, vm.Floor, vm.Ceil, vm.Trunc]
    cls = random.choice(classes)
    if cls is vm.Neg:
        result = rounded(element, negated(known))
    elif cls is vm.Abs:
        result = known if known.special else replace(known, low=0.0, high=known.top)
        result = rounded(element, replace(result, signed=True))
    elif cls in (vm.Sqrt, vm.Rcp):
        result = _root_or_inverse(element, known, cls is vm.Rcp)
    else:
        if not known.exact:
            raise Refusal("uncertain values rounded")
        bound = known.top + 1
        result = known if known.special else Known(-bound, bound, 0, signed=known.signed)
    draft.tile(cls, result, value=tile.value)


def _root_or_inverse(element: Dtype, known: Known, inverse: bool) -> Known:
    if inverse:
        if not known.signed:
            raise Refusal("the sign of a zero would matter")
        return rounded(element, divided(Known(1, 1, 0), known))
    if known.special or known.low < 0:
        if known.error:
            raise Refusal("uncertain roots")
        return Known(-INFINITY, INFINITY, None, special=True, signed=known.signed)
    if known.error and known.low <= known.error:
        raise Refusal("uncertain roots")
    error = known.error / (known.low - known.error) ** 0.5 if known.error else 0.0
    return rounded(element, Known(0, known.high**0.5, None, error, signed=known.signed))


# Approximate functions: relative error, and the largest slope over [-limit, limit] or [low, limit]
_SLOPES: dict[type[Instruction], tuple[float, Callable[[float, float], float]]] = {
    vm.Exp2: (2.0**-18, lambda low, high: 2.0**high),
    vm.Exp: (2.0**-18, lambda low, high: exp(high)),
    vm.Tanh: (2.0**-9, lambda low, high: 1.0),
    vm.Sigmoid: (2.0**-17, lambda low, high: 0.25),
    vm.Log2: (2.0**-17, lambda low, high: 1.5 / low),
    vm.Log: (2.0**-17, lambda low, high: 1 / low),
    vm.Rsqrt: (2.0**-18, lambda low, high: low**-1.5),
}
_POSITIVE = (vm.Log2, vm.Log, vm.Rsqrt)


def approximate(draft: Draft) -> None:
    """An approximate function of values limited to where it is tame."""
    if not draft.free:
        raise Refusal("approximate")
    tile = _tile(draft, "f32", "f16", "bf16")
    if tile.known.special:
        raise Refusal("infinities")
    cls = draft.random.choice(tuple(_SLOPES))
    low, high = (0.25, 8.0) if cls in _POSITIVE else (-6.0, 6.0)
    limited = draft.tile(
        vm.Clip, Known(low, high, None, tile.known.error),
        value=tile.value, lower=Const(low), upper=Const(high),
    )  # fmt: skip
    relative, slope = _SLOPES[cls]
    top = exp(6.0) if cls in (vm.Exp, vm.Exp2) else max(2.0, log(8.0) / log(2.0))
    steepest = slope(max(low - limited.known.error, 0.05) if low > 0 else low, high)
    error = limited.known.error * steepest + (relative + 4 * unit(tile.dtype)) * top
    limited.used = True
    draft.tile(cls, Known(-top, top, None, error + 2.0**-20), value=limited.value)


def numbers(draft: Draft) -> None:
    """One of the productions for numbers."""
    draft.random.choice((binary, binary, binary, unary, ternary))(draft)
