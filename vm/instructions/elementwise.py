"""Elementwise arithmetic, comparison, selection and bit operations on register tiles.

Operands broadcast as numpy's do; a scalar operand stands for a tile filled with it. Tiles of one
operation have one dtype; integers wrap, floats round to nearest even after each operation, and
`min`/`max` return the other operand where one is NaN, and take -0 for less than 0.
"""

from __future__ import annotations

from typing import ClassVar

from ..dtypes import Dtype, dtype
from ..expr import Expr
from ..instruction import Instruction, Operand, instruction
from ..ir import Value
from ..types import RegType, Type
from .checks import arithmetic, broadcast_shape, cast_hint, fail, no_annotation, reg, scalar_operand


def _common_dtype(instruction: Instruction, *operands: Value | Expr) -> Dtype:
    tiles = [o for o in operands if isinstance(o, Value)]
    if not tiles:
        fail(instruction, "needs a register tile; all operands are scalars")
    types = [reg(instruction, tile, "an operand") for tile in tiles]
    first = types[0]
    other = next((i for i, t in enumerate(types) if t.dtype != first.dtype), None)
    if other is not None:
        pair = sorted(((tiles[i], types[i].dtype) for i in (0, other)), key=lambda p: p[1].bits)
        fail(
            instruction,
            f"operands are `{first.dtype.name}` and `{types[other].dtype.name}`",
            *tiles,
            hint=f"cast one: {cast_hint(pair[0][0], pair[1][1])}",
        )
    for operand in operands:
        scalar_operand(instruction, operand, first.dtype)
    return first.dtype


class Elementwise(Instruction):
    """An operation on each element of its broadcast operands."""

    kinds: ClassVar[tuple[str, ...]] = ("int", "uint", "float")
    boolean = False  # the result is a bool tile

    def result_type(self, annotation: Type | None) -> Type:
        operands = tuple(self.operands())
        element = _common_dtype(self, *operands)
        arithmetic(self, element, self.kinds)
        shape = broadcast_shape(self, *operands)
        result = dtype("bool") if self.boolean else element
        return no_annotation(self, annotation, RegType(result, shape))


@instruction
class Unary(Elementwise):
    value: Operand


@instruction
class Binary(Elementwise):
    lhs: Operand
    rhs: Operand


@instruction
class FloatUnary(Unary):
    kinds = ("float",)


@instruction
class Comparison(Binary):
    boolean = True


@instruction
class Bitwise(Binary):
    kinds: ClassVar[tuple[str, ...]] = ("int", "uint", "bool")


class Add(Binary, name="add"):
    """lhs + rhs"""


class Sub(Binary, name="sub"):
    """lhs - rhs"""


class Mul(Binary, name="mul"):
    """lhs * rhs"""


class Div(Binary, name="div"):
    """lhs / rhs: correctly rounded for floats, toward minus infinity for integers"""


class Mod(Binary, name="mod"):
    """The integer remainder with the sign of rhs"""

    kinds = ("int", "uint")


class Min(Binary, name="min"):
    """The smaller"""


class Max(Binary, name="max"):
    """The larger"""


class And(Bitwise, name="and"):
    """Bitwise and"""


class Or(Bitwise, name="or"):
    """Bitwise or"""


class Xor(Bitwise, name="xor"):
    """Bitwise exclusive or"""


class ShiftLeft(Bitwise, name="shl"):
    """lhs << rhs; a shift by the width or more gives 0"""

    kinds = ("int", "uint")


class ShiftRight(Bitwise, name="shr"):
    """lhs >> rhs, with the sign for signed integers"""

    kinds = ("int", "uint")


class Equal(Comparison, name="eq"):
    """lhs == rhs (false where either is NaN)"""


class NotEqual(Comparison, name="ne"):
    """lhs != rhs (true where either is NaN)"""


class Less(Comparison, name="lt"):
    """lhs < rhs"""


class LessEqual(Comparison, name="le"):
    """lhs <= rhs"""


class Greater(Comparison, name="gt"):
    """lhs > rhs"""


class GreaterEqual(Comparison, name="ge"):
    """lhs >= rhs"""


class Neg(Unary, name="neg"):
    """-value"""


class Abs(Unary, name="abs"):
    """|value|"""


class Not(Unary, name="not"):
    """Each bit (or truth value) inverted"""

    kinds = ("int", "uint", "bool")


class Exp2(FloatUnary, name="exp2"):
    """2 ** value (approximate: 2 ulp in f32)"""


class Exp(FloatUnary, name="exp"):
    """e ** value (approximate)"""


class Log2(FloatUnary, name="log2"):
    """The binary logarithm (approximate)"""


class Log(FloatUnary, name="log"):
    """The natural logarithm (approximate)"""


class Sqrt(FloatUnary, name="sqrt"):
    """The square root, correctly rounded in f32"""


class Rsqrt(FloatUnary, name="rsqrt"):
    """1 / sqrt(value) (approximate: 2 ulp in f32)"""


class Rcp(FloatUnary, name="rcp"):
    """1 / value, correctly rounded in f32"""


class Tanh(FloatUnary, name="tanh"):
    """The hyperbolic tangent (approximate: relative error 2**-11 in f32)"""


class Sigmoid(FloatUnary, name="sigmoid"):
    """1 / (1 + e ** -value) (approximate)"""


class Round(FloatUnary, name="round"):
    """To the nearest integer, ties to even"""


class Floor(FloatUnary, name="floor"):
    """The largest integer not above"""


class Ceil(FloatUnary, name="ceil"):
    """The smallest integer not below"""


class Trunc(FloatUnary, name="trunc"):
    """The integer part"""


@instruction
class FusedMultiplyAdd(Elementwise, name="fma"):
    """a * b + c, rounded once for floats"""

    a: Operand
    b: Operand
    c: Operand


@instruction
class Where(Elementwise, name="where"):
    """`then` where `condition` (a bool tile) holds, else `otherwise`"""

    condition: Operand
    then: Operand
    otherwise: Operand

    def result_type(self, annotation: Type | None) -> Type:
        condition = reg(self, self.condition, "the condition")
        if condition.dtype.kind != "bool":
            fail(self, f"the condition is `{condition.dtype.name}`, not `bool`", self.condition)
        element = _common_dtype(self, self.then, self.otherwise)
        shape = broadcast_shape(self, self.condition, self.then, self.otherwise)
        return no_annotation(self, annotation, RegType(element, shape))


@instruction
class Clip(Elementwise, name="clip"):
    """value limited to [lower, upper]"""

    value: Operand
    lower: Operand
    upper: Operand
