"""Scalars, loops and branches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree, emulate
from hypothesis import given, settings
from hypothesis import strategies as st

from tileloom.compiler import compile_function
from tileloom.runtime.emulator import EmulatorError
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

LOOP = """func @f(%y: *i32, %lo: i32, %hi: i32, %step: i32) warps = 1 {{
  assume %step >= 1
  %gy = global_view %y : global<i32, [64]>
  %n = var 0 : i32
  %sum = full : reg<i32, [32]>
  for %i in {lo} to {hi} step {step} {{
    %a = add %sum, %i * 3 + %n
    assign %sum, %a
    assign %n, %n + 1
    if %n == 5 {{
      break
    }}
  }}
  store %gy[0], %sum
  %b = full {{fill = 1}} : reg<i32, [32]>
  %c = mul %b, %n
  store %gy[32], %c
}}"""


@pytest.mark.parametrize(
    ("lo", "hi", "step"), [(0, 4, 1), (3, 3, 1), (5, 2, 1), (0, 100, 7), (2, 9, 3)]
)
@pytest.mark.parametrize("constant", [True, False])
def test_loops(lo: int, hi: int, step: int, constant: bool) -> None:
    bounds = (lo, hi, step) if constant else ("%lo", "%hi", "%step")
    text = LOOP.format(lo=bounds[0], hi=bounds[1], step=bounds[2])
    turns = min(len(range(lo, hi, step)), 5)
    found = agree(text, [np.zeros(64, np.int32), lo, hi, step])[0]
    assert (found[32:] == turns).all()


NESTED = """func @f(%y: *i32, %n: i32, %flag: bool) warps = 2 {
  %gy = global_view %y : global<i32, [%n, 64]>
  for %i in 0 to %n {
    %x = full : reg<i32, [64]>
    for %j in 0 to %i {
      %a = add %x, %j + %i * %n
      assign %x, %a
    }
    if %i % 2 == 0 and not %flag or %i > 4 {
      store %gy[%i, 0], %x {dims = [1]}
    } else {
      if %i == 3 {
        return
      }
      %b = neg %x
      store %gy[%i, 0], %b {dims = [1]}
    }
  }
}"""


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("n", [0, 1, 3, 7])
def test_nested_control(n: int, flag: bool) -> None:
    agree(NESTED, [np.full((max(n, 1), 64), 9, np.int32), n, flag])


WHILE = """func @f(%y: *i32, %n: i32) warps = 1 {
  %gy = global_view %y : global<i32, [32]>
  %k = var %n : i32
  %steps = var 0 : i64
  while %k != 1 {
    assign %k, select(%k % 2 == 0, %k / 2, 3 * %k + 1)
    assign %steps, %steps + 1
  }
  %a = full : reg<i32, [32]>
  %b = add %a, %steps
  store %gy[0], %b
}"""


def test_while() -> None:
    assert agree(WHILE, [np.zeros(32, np.int32), 27])[0][0] == 111


SCALARS = """func @f(%x: *f32, %i: *i8, %y: *f32, %s: f32, %h: f16) warps = 1 {
  %gx = global_view %x : global<f32, [5]>
  %gi = global_view %i : global<i8, [5]>
  %gy = global_view %y : global<f32, [4, 32]>
  %a = load_scalar %gx[3]
  %b = load_scalar %gi[2]
  %c = load_scalar %gx[7]
  %one = full {fill = 1.0} : reg<f32, [1, 32]>
  %t = mul %one, %a * %s + %h
  store %gy[0, 0], %t
  %u = mul %one, select(%b < -3, %b * 2, 7)
  store %gy[1, 0], %u
  %v = add %one, %c
  store %gy[2, 0], %v
  %m = reduce %t {op = max, dim = 1}
  %z = item %m
  %w = mul %one, %z + 1.0
  store %gy[3, 0], %w
}"""


def test_scalars() -> None:
    x = np.arange(1, 6).astype(np.float32)
    i = np.array([1, 2, -7, 4, 5], np.int8)
    agree(SCALARS, [x, i, np.zeros((4, 32), np.float32), 0.3, 1.5])


ITEM = """func @f(%x: *{t}, %y: *{t}) warps = 2 {{
  %gx = global_view %x : global<{t}, [1]>
  %gy = global_view %y : global<{t}, [64]>
  %a = load %gx[0] : reg<{t}, [1]{layout}>
  %b = item %a
  %c = full {{fill = 1}} : reg<{t}, [64]>
  %d = mul %c, %b
  store %gy[0], %d
}}"""


@pytest.mark.parametrize("kind", ["i32", "f32", "i64", "i8", "u8", "f16"])
@pytest.mark.parametrize("layout", ["", ", local(1)", ", replicate(32) * local(1)"])
def test_item(kind: str, layout: str) -> None:
    numpy: Any = {"i32": "i4", "f32": "f4", "i64": "i8", "i8": "i1", "u8": "u1", "f16": "f2"}[kind]
    x = np.array([-3 if kind[0] != "u" else 200]).astype(numpy)
    found = agree(ITEM.format(t=kind, layout=layout), [x, np.zeros(64, numpy)])[1]
    assert (found == x[0]).all()


# Integer expressions, over every sign of their operands.
PARAMS = "abc"
LEAVES = st.sampled_from(["%a", "%b", "%c", "block.x", "tid"]).filter(
    lambda s: s != "tid"
) | st.integers(-9, 40).map(str)


def grow(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.builds("({} {} {})".format, parts, st.sampled_from(["+", "-", "*"]), parts)
    divide = st.builds(
        "({} {} {})".format, parts, st.sampled_from(["/", "%"]), st.integers(1, 17).map(str)
    )
    bits = st.builds("({} {} {})".format, parts, st.sampled_from(["&", "|", "^"]), parts)
    shifts = st.builds(
        "({} {} {})".format, parts, st.sampled_from(["<<", ">>"]), st.integers(0, 3).map(str)
    )
    least = st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), parts, parts)
    chosen = st.builds(
        "select({} {} {}, {}, {})".format,
        parts,
        st.sampled_from(["<", "<=", "==", "!=", ">", ">="]),
        parts,
        parts,
        parts,
    )
    return binary | divide | bits | shifts | least | chosen


EXPRESSIONS = st.lists(st.recursive(LEAVES, grow, max_leaves=8), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    EXPRESSIONS,
    st.tuples(*(st.integers(-60, 60) for _ in PARAMS)),
    st.sampled_from(["", "assume %a >= 0 and %b >= 0", "assume %a % 4 == 0"]),
)
def test_integer_expressions(expressions: list[str], values: tuple[int, ...], fact: str) -> None:
    a, b, c = values
    if "b >= 0" in fact:
        a, b = abs(a), abs(b)
    elif fact:
        a -= a % 4
    lines = "\n".join(
        f"  %t{i} = mul %one, {text}\n  store %gy[{i}, block.x * 32], %t{i} {{dims = [1]}}"
        for i, text in enumerate(expressions)
    )
    text = f"""func @f(%y: *i64, %a: i32, %b: i32, %c: i64) warps = 1, grid = [3] {{
  {fact}
  %gy = global_view %y : global<i64, [6, 96]>
  %one = full {{fill = 1}} : reg<i64, [32]>
{lines}
}}"""
    try:
        parse(text)
    except VMError:
        return  # a constant expression out of range
    agree(text, [np.zeros((6, 96), np.int64), a, b, c])


QUOTIENTS = ["(%a * 4 + 6) / 8", "(%a * 2 + 3) / 4", "(%a * 6 + 11) / 12", "(block.x * 4 + 7) / 8",
             "(%a * 8 + 7) / 8", "(%a * 16 - 1) / 8"]  # fmt: skip


@pytest.mark.parametrize("a", [-3, 0, 1, 5])
def test_quotients_keep_the_constants_that_carry(a: int) -> None:
    lines = "\n".join(
        f"  %t{i} = mul %one, {text}\n  store %gy[{i}, block.x * 32], %t{i} {{dims = [1]}}"
        for i, text in enumerate(QUOTIENTS)
    )
    text = f"""func @f(%y: *i32, %a: i32) warps = 1, grid = [3] {{
  %gy = global_view %y : global<i32, [{len(QUOTIENTS)}, 96]>
  %one = full {{fill = 1}} : reg<i32, [32]>
{lines}
}}"""
    agree(text, [np.zeros((len(QUOTIENTS), 96), np.int32), a])


def test_division_by_run_time_numbers() -> None:
    text = """func @f(%y: *i32, %a: i32, %b: i32) warps = 1 {
  %gy = global_view %y : global<i32, [2, 32]>
  %one = full {fill = 1} : reg<i32, [1, 32]>
  %q = mul %one, %a / %b
  store %gy[0, 0], %q
  %r = mul %one, %a % %b
  store %gy[1, 0], %r
}"""
    for a, b in [(7, 2), (-7, 2), (7, -2), (-7, -2), (6, 3), (-6, 3), (0, 5)]:
        found = agree(text, [np.zeros((2, 32), np.int32), a, b])[0]
        assert (found[0, 0], found[1, 0]) == (a // b, a % b)
    bounded = text.replace("{\n  %gy", "{\n  assume %a >= 0 and %b >= 1\n  %gy", 1)
    ptx = compile_function(parse(bounded)).ptx
    assert "div.u32" in ptx and "div.s32" not in ptx
    agree(bounded, [np.zeros((2, 32), np.int32), 17, 5])


def test_asserts_stop_the_program() -> None:
    text = """func @f(%n: i32) warps = 1 {
  assert %n < 5
}"""
    emulate(text, [4])
    with pytest.raises(EmulatorError, match="assertion failed: %n < 5"):
        emulate(text, [5])


UNROLLED = """func @f(%y: *i32, %x: *f32, %z: *f32, %n: i32, %lo: i32) warps = 1 {{
  assume %n % {divisor} == 0
  %gy = global_view %y : global<i32, [64]>
  %gx = global_view %x : global<f32, [%n, 32]>
  %gz = global_view %z : global<f32, [%n, 32]>
  %sum = full : reg<i32, [32]>
  for %i in {lo} to {hi} step {step}{unroll} {{
    %a = mul %sum, 3
    %b = add %a, %i
    assign %sum, %b
    %c = load %gx[%i, 0] : reg<f32, [1, 32]>
    store %gz[%i, 0], %c
    if %i == 13 {{
      break
    }}
  }}
  store %gy[0], %sum
}}"""


@pytest.mark.parametrize("unroll", [0, 1, 2, 3, 8])
@pytest.mark.parametrize(
    ("lo", "hi", "step"), [("0", "%n", 1), ("%lo", "%n", 2), ("0", "12", 3), ("1", "8", 1)]
)
@pytest.mark.parametrize(("n", "divisor"), [(0, 1), (7, 1), (16, 4), (24, 8)])
def test_unrolled_loops(lo: str, hi: str, step: int, unroll: int, n: int, divisor: int) -> None:
    if unroll == 0 and hi == "%n":
        return  # only loops with constant bounds are unrolled whole
    text = UNROLLED.format(
        lo=lo, hi=hi, step=step, unroll=f" unroll = {unroll or 'all'}", divisor=divisor
    )
    x = np.random.default_rng(0).normal(size=(max(n, 1), 32)).astype(np.float32)
    agree(text, [np.zeros(64, np.int32), x, np.zeros_like(x), n, 3])


def test_a_known_number_of_turns_needs_no_loop_for_the_rest() -> None:
    text = UNROLLED.format(lo="0", hi="%n", step=1, unroll=" unroll = 4", divisor=8)
    assert compile_function(parse(text)).ptx.count("bra $loop") == 1
    rest = UNROLLED.format(lo="0", hi="%n", step=1, unroll=" unroll = 4", divisor=2)
    assert compile_function(parse(rest)).ptx.count("bra $loop") == 2


@pytest.mark.parametrize("n", [-1, 0, 3, 4, 8, 9])
@pytest.mark.parametrize("flag", [False, True])
def test_a_choice_between_truth_values(n: int, flag: bool) -> None:
    text = """func @f(%y: *i64, %n: i32, %b: bool) warps = 1 {
  %gy = global_view %y : global<i64, [4]>
  %one = full {fill = 1} : reg<i64, [1]>
  %c = var select(%n > 3, %n < 9, %b) : bool
  if %c {
    store %gy[0], %one
  }
  if select(%c, %n == 4, %n == 0) {
    store %gy[1], %one
  }
  if select(%n % 2 == 0, true, %b) {
    store %gy[2], %one
  }
  %t = mul %one, select(select(%b, %n > 0, %n < 0), 5, 7)
  store %gy[3], %t
}"""
    agree(text, [np.zeros(4, np.int64), n, flag])
