"""Scalar expressions of every dtype: the executors agree on width, sign and rounding."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from execution import agree, assemble
from hypothesis import given, settings
from hypothesis import strategies as st

from tileloom.compiler import compile_function
from tileloom.vm import dtype, parse
from tileloom.vm.expr import Binary, Const, Expr, Ref, Select, Special, Unary, expr_dtype
from tileloom.vm.ir import Value
from tileloom.vm.text import print_expr
from tileloom.vm.types import ScalarType
from tileloom.vm.verifier import scalar_kind

KINDS = ("u8", "i8", "i32", "u32", "i64", "u64", "f32", "f64")
NAMES = {
    kind: Value(f"{kind}_{number}", ScalarType(dtype(kind))) for kind in KINDS for number in "a"
}
REFS = [Ref(value) for value in NAMES.values()]
INTEGERS = [ref for ref in REFS if not ref.value.type.dtype.is_float]  # type: ignore[union-attr]

STORE = """  %v{n} = var {expression} : {kind}
  %t{n} = mul %one_{kind}, %v{n}
  store %g_{kind}[block.x, {n}], %t{n} {{dims = [1]}}
"""


def program(expressions: list[Expr]) -> tuple[str, list[str]]:
    """Stores every expression in the array of its dtype; gives the dtypes too."""
    kinds = [expr_dtype(e).name for e in expressions]
    used = sorted({"i32" if kind == "bool" else kind for kind in kinds})
    params = [f"%p_{kind}: *{kind}" for kind in used]
    params += [f"%{value.name}: {kind}" for kind, value in NAMES.items()]
    count = len(expressions)
    text = f"func @f({', '.join(params)}) warps = 1, grid = [2] {{\n"
    for kind in used:
        text += f"  %g_{kind} = global_view %p_{kind} : global<{kind}, [2, {count}]>\n"
        text += f"  %one_{kind} = full {{fill = 1}} : reg<{kind}, [1]>\n"
    for number, (expr, kind) in enumerate(zip(expressions, kinds, strict=True)):
        printed = print_expr(expr)
        if kind == "bool":
            printed, kind = f"select({printed}, 1, 0)", "i32"
        text += STORE.format(n=number, expression=printed, kind=kind)
    return text + "}\n", used


def compared(expressions: list[Expr], values: dict[str, Any]) -> None:
    text, used = program(expressions)
    arrays = [np.zeros((2, len(expressions)), dtype(kind).numpy) for kind in used]
    agree(text, [*arrays, *(values[kind] for kind in NAMES)])


def value_of(kind: str) -> st.SearchStrategy[Any]:
    """Numbers at the edges; i32 small, since its overflow is left open in indices."""
    if kind[0] == "f":
        return st.sampled_from([0.0, 1.5, -2.25, 1e10, -3e9, 0.1])
    if kind == "i32":
        return st.integers(-9, 9)
    info = np.iinfo(np.dtype({"i": "int", "u": "uint"}[kind[0]] + kind[1:]))
    edges = [info.min, info.max, info.max // 2, info.max // 2 + 1, 1, 7, 100]
    return st.sampled_from([edge for edge in edges if info.min <= edge <= info.max])


leaves = st.one_of(
    st.sampled_from(REFS),
    st.sampled_from(INTEGERS),
    st.integers(-9, 9).map(Const),
    st.just(Special("block.x")),
)


def grown(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    operators = st.sampled_from(["+", "-", "*", "min", "max", "&", "|", "^"])
    comparisons = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])

    def binary(op: str, a: Expr, b: Expr) -> Expr:
        floats = "float" in (expr_dtype(a).kind, expr_dtype(b).kind)
        return Binary("+" if floats and op in "&|^" else op, a, b)

    def halved(op: str, a: Expr, by: int) -> Expr:
        return a if expr_dtype(a).is_float else Binary(op, a, Const(by))

    return st.one_of(
        st.builds(binary, operators, inner, inner),
        st.builds(halved, st.sampled_from(["/", "%"]), inner, st.sampled_from([1, 2, 3, 8, 10])),
        st.builds(halved, st.sampled_from(["<<", ">>"]), inner, st.integers(0, 3)),
        st.builds(lambda a: Unary("-", a), inner),
        st.builds(
            lambda op, a, b, x, y: Select(Binary(op, a, b), x, y),
            comparisons, inner, inner, inner, inner,
        ),
    )  # fmt: skip


expressions = st.recursive(leaves, grown, max_leaves=10)
conditions = st.builds(
    Binary, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), expressions, expressions
)
worlds = st.fixed_dictionaries({kind: value_of(kind) for kind in KINDS})


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(expressions, conditions), min_size=4, max_size=8), worlds)
def test_drawn_expressions(drawn: list[Expr], values: dict[str, Any]) -> None:
    compared(drawn, values)
    for expr in drawn:
        kind = expr_dtype(expr).kind
        assert scalar_kind(expr) == {"uint": "int"}.get(kind, kind)


def ref(kind: str) -> Ref:
    return Ref(NAMES[kind])


COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@pytest.mark.parametrize("lhs", ["u8", "i8", "i32", "u32", "i64", "u64"])
@pytest.mark.parametrize("rhs", ["u8", "i8", "i32", "u32", "i64", "u64"])
def test_integers_compare_as_the_numbers_they_are(lhs: str, rhs: str) -> None:
    small = {"u8": 255, "i8": -1, "i32": -1, "u32": 2**32 - 1, "i64": -1, "u64": 2**64 - 1}
    large = {"u8": 0, "i8": 127, "i32": 2**31 - 1, "u32": 2**31, "i64": 2**63 - 1, "u64": 2**63}
    for values in (small, large, small | {rhs: large[rhs]}, large | {rhs: small[rhs]}):
        text, _ = program([Binary(op, ref(lhs), ref(rhs)) for op in COMPARE])
        floats = {"f32": 0.0, "f64": 0.0}
        arguments = [(values | floats)[kind] for kind in NAMES]
        found = agree(text, [np.zeros((2, 6), np.int32), *arguments])[0][0]
        meant = [int(f(values[lhs], values[rhs])) for f in COMPARE.values()]
        assert found.tolist() == meant


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        (Binary("/", ref("u32"), Const(2)), 2**31 - 1),
        (Binary("%", ref("u32"), Const(10)), 5),
        (Binary(">>", ref("u32"), Const(4)), 2**28 - 1),
        (Binary("-", Const(3), ref("u32")), 4),
        (Binary("min", ref("u32"), Const(-1)), 2**32 - 1),
        (Binary("+", ref("u32"), ref("i32")), 2**32 + 2),
        (Binary("*", ref("u32"), Const(4_000_000_000)), 2**32 - 4_000_000_000),
        (Binary("*", ref("u32"), Const(2**33)), 2**64 - 2**33),
        (Unary("-", ref("u32")), 1),
        (Binary("+", ref("u8"), ref("u8")), 510),
        (Binary("/", ref("u64"), Const(3)), (2**64 - 1) // 3),
        (Binary("-", ref("u64"), ref("i64")), 4),
    ],
)
def test_results(expr: Expr, value: int) -> None:
    values = {
        "u8": 255, "i8": -1, "i32": 3, "u32": 2**32 - 1, "i64": -5, "u64": 2**64 - 1,
        "f32": 0.0, "f64": 0.0,
    }  # fmt: skip
    text, used = program([expr])
    out = np.zeros((2, 1), dtype(used[0]).numpy)
    assert agree(text, [out, *(values[kind] for kind in NAMES)])[0][0, 0] == value


INDEX = """func @f(%x: *i32, %y: *i32, %u: u32, %n: i64) warps = 1 {
  %gx = global_view %x : global<i32, [%n], strides = [1]>
  %gy = global_view %y : global<i32, [4, 32]>
  %a = load %gx[%u - 4294967264] : reg<i32, [32]>
  store %gy[0, 0], %a {dims = [1]}
  %b = load %gx[%u] : reg<i32, [32]>
  store %gy[1, 0], %b {dims = [1]}
  %k = %u
  for %i in 0 to 2 {
    store %gy[2 + %i, 0], %a {dims = [1]}
  }
}"""


def test_large_indices_are_outside_not_negative() -> None:
    x = np.arange(64, dtype=np.int32)
    text = INDEX.replace("  %k = %u\n", "")
    found = agree(text, [x, np.ones((4, 32), np.int32), 2**32 - 20, 64])[1]
    np.testing.assert_array_equal(found[0], x[12:44])
    np.testing.assert_array_equal(found[1], 0)


def test_bytes_wrap(tmp_path: Any) -> None:
    text = """func @f(%y: *i32, %n: i32, %d: f64) warps = 1 {
  %g = global_view %y : global<i32, [4]>
  %a = var %n : u8
  assign %a, %a + 250
  %b = var %n : i8
  assign %b, %b * 100
  %c = var %n : u32
  assign %c, %c - 20
  %one = full {fill = 1} : reg<i32, [1]>
  %w = var select(%c > 4294967285, 1, 0) + select(%d + 1e-9 > 1.0, 2, 0) : i32
  %ta = mul %one, %a
  %tb = mul %one, %b
  %tw = mul %one, %w
  store %g[0], %ta
  store %g[1], %tb
  store %g[2], %tw
}"""
    found = agree(text, [np.zeros(4, np.int32), 10, 1.0])[0]
    assert found.tolist() == [4, -24, 3, 0]
    assemble(compile_function(parse(text)).ptx, "sm_90a", tmp_path)


def test_doubles_with_constants_assemble(tmp_path: Any) -> None:
    text = """func @f(%x: *f64, %s: f64, %t: f32) warps = 1 {
  %g = global_view %x : global<f64, [32]>
  %a = load %g[0] : reg<f64, [32]>
  %b = add %a, 1.5
  %c = clip %b, %s / 3.0 - 0.1, max(%s, %t)
  store %g[0], %c
}"""
    x = np.linspace(-4, 4, 32)
    found = agree(text, [x, 2.5, 3.0])[0]
    np.testing.assert_array_equal(found, np.clip(x + 1.5, 2.5 / 3 - 0.1, 3.0))
    assemble(compile_function(parse(text)).ptx, "sm_90a", tmp_path)
