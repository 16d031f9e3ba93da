"""Elementwise operations. Arithmetic on bf16 and tf32 runs in float32 and is rounded once more:
float32 has more than twice their digits, so that is the same as rounding once, but for `fma`, whose
sums of bf16 are rounded to odd first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..dtypes import Dtype, bool_
from ..expr import Expr
from ..instruction import Instruction
from ..instructions import elementwise as ew
from ..ir import Value
from ..types import RegType
from .exact import exact_fma, maximum, minimum, odd_fma
from .registry import semantics
from .values import Array, Mask, Tile, any_poison, from_codes, tile_of_numbers

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup

Compute = Callable[..., Any]


def element_of(*operands: Value | Expr) -> Dtype:
    """The dtype of the first operand that is a tile."""
    for operand in operands:
        if isinstance(operand, Value) and isinstance(operand.type, RegType):
            return operand.type.dtype
    raise AssertionError("no tile among the operands")


def _elementwise(compute: Compute, boolean: bool = False) -> Callable[..., Tile]:
    """The rule that computes numbers from the numbers of all operands."""

    def rule(group: ThreadGroup, instruction: Instruction) -> Tile:
        operands = list(instruction.operands())
        dtype = element_of(*operands)
        tiles = [group.operand(operand, dtype) for operand in operands]
        chosen = odd_fma if compute is _fma and dtype.name == "bf16" else compute
        numbers = np.asarray(chosen(*(tile.numbers for tile in tiles)))
        poison = _spread(any_poison(*(tile.poison for tile in tiles)), numbers)
        return tile_of_numbers(bool_ if boolean else dtype, numbers, poison)

    return rule


def _spread(poison: Mask | None, like: Array) -> Mask | None:
    """A mask of the result's own shape."""
    return None if poison is None else np.broadcast_to(poison, like.shape)


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f"


def _divide(a: Array, b: Array) -> Array:
    return np.asarray(a / b if _is_float(a) else np.floor_divide(a, b))


def _invert(a: Array) -> Array:
    return np.asarray(np.invert(a))


def _shift_left(a: Array, b: Array) -> Array:
    width = 8 * a.dtype.itemsize
    amount = np.clip(b, 0, width - 1)
    return np.asarray(np.where((b >= 0) & (b < width), a << amount, a.dtype.type(0)))


def _shift_right(a: Array, b: Array) -> Array:
    width = 8 * a.dtype.itemsize
    amount = np.clip(b, 0, width - 1)
    beyond = a >> (width - 1) if a.dtype.kind == "i" else a.dtype.type(0)
    return np.where((b >= 0) & (b < width), np.right_shift(a, amount), beyond)


def _in_double(function: Callable[[Array], Any]) -> Compute:
    """A function computed in float64 and rounded to the operand's type."""

    def compute(value: Array) -> Array:
        return np.asarray(function(value.astype(np.float64)), value.dtype)

    return compute


def _clip(value: Array, lower: Array, upper: Array) -> Array:
    return minimum(maximum(value, lower), upper)


def _fma(a: Array, b: Array, c: Array) -> Array:
    return exact_fma(a, b, c) if _is_float(a) else np.asarray(a * b + c)


ARITHMETIC: Final[dict[type[Instruction], Compute]] = {
    ew.Add: np.add,
    ew.Sub: np.subtract,
    ew.Mul: np.multiply,
    ew.Min: minimum,
    ew.Max: maximum,
    ew.And: np.bitwise_and,
    ew.Or: np.bitwise_or,
    ew.Xor: np.bitwise_xor,
    ew.ShiftLeft: _shift_left,
    ew.ShiftRight: _shift_right,
    ew.Neg: np.negative,
    ew.Abs: np.absolute,
    ew.Not: _invert,
    ew.Exp2: _in_double(np.exp2),
    ew.Exp: _in_double(np.exp),
    ew.Log2: _in_double(np.log2),
    ew.Log: _in_double(np.log),
    ew.Sqrt: np.sqrt,
    ew.Rsqrt: _in_double(lambda x: 1.0 / np.sqrt(x)),
    ew.Rcp: lambda x: x.dtype.type(1) / x,
    ew.Tanh: _in_double(np.tanh),
    ew.Sigmoid: _in_double(lambda x: 1.0 / (1.0 + np.exp(-x))),
    ew.Round: np.rint,
    ew.Floor: np.floor,
    ew.Ceil: np.ceil,
    ew.Trunc: np.trunc,
    ew.FusedMultiplyAdd: _fma,
    ew.Clip: _clip,
}
COMPARISONS: Final[dict[type[Instruction], Compute]] = {
    ew.Equal: np.equal,
    ew.NotEqual: np.not_equal,
    ew.Less: np.less,
    ew.LessEqual: np.less_equal,
    ew.Greater: np.greater,
    ew.GreaterEqual: np.greater_equal,
}
for _class, _compute in ARITHMETIC.items():
    semantics(_class)(_elementwise(_compute))
for _class, _compute in COMPARISONS.items():
    semantics(_class)(_elementwise(_compute, boolean=True))


@semantics(ew.Div, ew.Mod)
def divide(group: ThreadGroup, instruction: ew.Div | ew.Mod) -> Tile:
    """An integer divided by zero has no value: poison, so that unused elements raise no alarm."""
    dtype = element_of(instruction.lhs, instruction.rhs)
    lhs, rhs = group.operand(instruction.lhs, dtype), group.operand(instruction.rhs, dtype)
    a, b = lhs.numbers, rhs.numbers
    numbers = _divide(a, b) if isinstance(instruction, ew.Div) else np.asarray(np.mod(a, b))
    zero = b == 0 if not _is_float(b) and (b == 0).any() else None
    return tile_of_numbers(
        dtype, numbers, _spread(any_poison(lhs.poison, rhs.poison, zero), numbers)
    )


@semantics(ew.Where)
def where(group: ThreadGroup, instruction: ew.Where) -> Tile:
    """Only the chosen side's poison counts."""
    dtype = element_of(instruction.then, instruction.otherwise)
    condition = group.tile(instruction.condition)
    then = group.operand(instruction.then, dtype)
    otherwise = group.operand(instruction.otherwise, dtype)
    codes = np.where(condition.data, then.codes, otherwise.codes)
    chosen: Mask | None = None
    if then.poison is not None or otherwise.poison is not None:
        sides = [t.poison if t.poison is not None else np.False_ for t in (then, otherwise)]
        chosen = np.where(condition.data, *sides)
    poison = _spread(any_poison(condition.poison, chosen), codes)
    return Tile(dtype, from_codes(dtype, codes), poison)
