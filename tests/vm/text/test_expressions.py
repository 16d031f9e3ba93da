"""Expressions keep their meaning through text, whatever their operators."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tileloom.vm import dtype, parse
from tileloom.vm.expr import Binary, Const, Expr, Ref, Select, Special, Unary, apply_binary
from tileloom.vm.instruction import REGISTRY
from tileloom.vm.ir import Function, Value, instructions
from tileloom.vm.types import ScalarType

SCALARS = [Value(name, ScalarType(dtype("i32"))) for name in "mn"]
NUMBERS = {"m": 12, "n": -5, "block.x": 3, "grid.z": 7}
ARITHMETIC = ("+", "-", "*", "&", "|", "^", "min", "max")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def grow(integers: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    conditions = st.builds(Binary, st.sampled_from(COMPARISONS), integers, integers)
    conditions |= st.builds(Binary, st.sampled_from(("and", "or")), conditions, conditions)
    conditions |= st.builds(Unary, st.just("not"), conditions)
    return (
        st.builds(Binary, st.sampled_from(ARITHMETIC), integers, integers)
        | st.builds(Binary, st.sampled_from(("/", "%")), integers, st.integers(1, 9).map(Const))
        | st.builds(Binary, st.sampled_from(("<<", ">>")), integers, st.integers(0, 3).map(Const))
        | st.builds(Unary, st.just("-"), integers)
        | st.builds(Select, conditions, integers, integers)
    )


LEAVES = (
    st.sampled_from([Ref(v) for v in SCALARS])
    | st.sampled_from([Special("block.x"), Special("grid.z")])
    | st.integers(-20, 20).map(Const)
)
EXPRESSIONS = st.recursive(LEAVES, grow, max_leaves=12)


def evaluate(expr: Expr) -> int | bool:
    match expr:
        case Const(value):
            assert isinstance(value, int)
            return value
        case Ref(value):
            return NUMBERS[value.name]
        case Special(name):
            return NUMBERS[name]
        case Unary("-", operand):
            return -evaluate(operand)
        case Unary("not", operand):
            return not evaluate(operand)
        case Select(condition, then, otherwise):
            return evaluate(then) if evaluate(condition) else evaluate(otherwise)
        case Binary(op, lhs, rhs):
            result = apply_binary(op, evaluate(lhs), evaluate(rhs))
            assert isinstance(result, int)
            return result
    raise AssertionError(expr)


def program(expr: Expr) -> Function:
    result = Value("x", ScalarType(dtype("i64")))
    statement = REGISTRY["var"](expr, result=result)  # type: ignore[call-arg]
    return Function("f", tuple(SCALARS), 1, (Const(1),), (statement,))


@given(EXPRESSIONS)
def test_printing_and_parsing_keep_the_value(expr: Expr) -> None:
    function = program(expr)
    again = parse(function.text())
    (statement,) = instructions(again.body)
    (read,) = statement.expressions()
    assert evaluate(read) == evaluate(expr)
    # Constants are folded while parsing, so the second text is the canonical one.
    assert parse(again.text()).text() == again.text()


def test_parentheses_are_printed_where_they_are_needed_only() -> None:
    text = """func @f(%a: i32, %b: i32, %c: bool) warps = 1 {
  assume not %c and %a | %b ^ 1 & %a << 2 == %a + %b * -%a or %c
  assume (%a - (%b - %a)) / (%a * %b) % 4 > (%a | 1) % 3
  assume not (%c and %c) == (%a < %b)
}
"""
    assert parse(text.replace("%a < %b", "((%a) < (%b))")).text() == text
