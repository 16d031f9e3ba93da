"""Elementwise operations, compiled, against their meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree
from numpy.typing import NDArray

from tileloom.compiler import compile_function
from tileloom.vm import parse

UNARY = """func @f(%x: *{t}, %y: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [96]>
  %gy = global_view %y : global<{t}, [96]>
  %a = load %gx[0] : reg<{t}, [96]>
  %b = {op} %a
  store %gy[0], %b
}}"""
BINARY = """func @f(%x: *{t}, %y: *{t}, %z: *{r}) warps = 1 {{
  %gx = global_view %x : global<{t}, [96]>
  %gy = global_view %y : global<{t}, [96]>
  %gz = global_view %z : global<{r}, [96]>
  %a = load %gx[0] : reg<{t}, [96]>
  %b = load %gy[0] : reg<{t}, [96]>
  %c = {op} %a, %b
  store %gz[0], %c
}}"""
KINDS: dict[str, Any] = {
    "f32": np.float32, "f16": np.float16, "i32": np.int32, "u32": np.uint32,
    "i8": np.int8, "u8": np.uint8, "i16": np.int16, "u16": np.uint16, "i64": np.int64,
    "u64": np.uint64,
}  # fmt: skip
INTEGERS = [name for name in KINDS if name[0] in "iu"]


def numbers(name: str, seed: int) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    kind = KINDS.get(name)
    if name == "bf16":
        return (rng.normal(size=96).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if name[0] == "f":
        values = rng.normal(size=96) * np.exp(rng.normal(size=96))
        values[:4] = [0.0, -0.0, 1.0, -2.5]
        return values.astype(kind)
    info = np.iinfo(kind)
    values = rng.integers(info.min, info.max, 96, kind, endpoint=True)
    values[:6] = np.array([0, 1, 2, 3, info.max, info.min], kind)
    return values


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "min", "max"])
def test_float_arithmetic_is_exact(op: str, name: str) -> None:
    x, y = numbers(name, 1), numbers(name, 2)
    y[y == 0] = x[2]
    agree(BINARY.format(t=name, r=name, op=op), [x, y, np.zeros_like(x)])


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_bf16_without_packed_arithmetic(op: str) -> None:
    x, y = numbers("bf16", 1), numbers("bf16", 2)
    agree(BINARY.format(t="bf16", r="bf16", op=op), [x, y, np.zeros_like(x)], target="sm_80")


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize(
    "op", ["add", "sub", "mul", "div", "mod", "min", "max", "and", "or", "xor"]
)
def test_integer_arithmetic(op: str, name: str) -> None:
    x, y = numbers(name, 1), numbers(name, 2)
    if op in ("div", "mod"):
        y[y == 0] = 3
        x[4:6] = 7  # the most negative number over -1 overflows
    agree(BINARY.format(t=name, r=name, op=op), [x, y, np.zeros_like(x)])


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("op", ["shl", "shr"])
def test_shifts(op: str, name: str) -> None:
    x = numbers(name, 1)
    y = (np.arange(96) % (x.dtype.itemsize * 8 + 3)).astype(x.dtype)
    y[90:] = x[90:]
    if x.dtype.itemsize == 8:  # more than fits the 32 bits of a shift's amount
        y[80:90] = [(1 << 32 + n) + n for n in range(10)]
    agree(BINARY.format(t=name, r=name, op=op), [x, y, np.zeros_like(x)])


@pytest.mark.parametrize("name", [*KINDS, "bf16"])
@pytest.mark.parametrize("op", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_select(op: str, name: str) -> None:
    x, y = numbers(name, 1), numbers(name, 2)
    y[::3] = x[::3]
    text = BINARY.format(t=name, r=name, op=op).replace(
        "store %gz[0], %c", "%d = where %c, %a, %b\n  store %gz[0], %d"
    )
    agree(text, [x, y, np.zeros_like(x)])


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("op", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons_with_nan(op: str, name: str) -> None:
    """A NaN is unequal to everything, itself included, and neither less nor greater."""
    x, y = numbers(name, 1), numbers(name, 2)
    nan = 0x7FC1 if name == "bf16" else np.nan
    x[::5], y[::7] = nan, nan
    text = BINARY.format(t=name, r=name, op=op).replace(
        "store %gz[0], %c",
        f"%p = full {{fill = 1.0}} : reg<{name}, [96]>\n"
        f"  %q = full {{fill = 0.0}} : reg<{name}, [96]>\n"
        "  %d = where %c, %p, %q\n  store %gz[0], %d",
    )
    found = agree(text, [x, y, np.zeros_like(x)])[2]
    assert ((found[::5] != 0) == (op == "ne")).all() and ((found[::7] != 0) == (op == "ne")).all()


@pytest.mark.parametrize("name", ["f32", "f16", "bf16", "i32", "i8", "i64"])
@pytest.mark.parametrize("op", ["neg", "abs"])
def test_signs(op: str, name: str) -> None:
    x = numbers(name, 3)
    agree(UNARY.format(t=name, op=op), [x, np.zeros_like(x)])


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("op", ["round", "floor", "ceil", "trunc"])
def test_rounding(op: str, name: str) -> None:
    x = numbers(name, 3)
    agree(UNARY.format(t=name, op=op), [x, np.zeros_like(x)])


@pytest.mark.parametrize("op", ["sqrt", "rcp"])
def test_correctly_rounded_functions(op: str) -> None:
    x = np.abs(numbers("f32", 3)) + np.float32(0.1)
    agree(UNARY.format(t="f32", op=op), [x, np.zeros_like(x)])


@pytest.mark.parametrize("op", ["exp2", "exp", "log2", "log", "rsqrt", "tanh", "sigmoid"])
def test_approximate_functions(op: str) -> None:
    x = np.abs(numbers("f32", 3)) + np.float32(0.1)
    tolerance = 1e-3 if op == "tanh" else 3e-6
    agree(UNARY.format(t="f32", op=op), [x, np.zeros_like(x)], rtol=tolerance)


def test_sigmoid_reaches_its_limits_without_a_division() -> None:
    x = np.array([-np.inf, -200, -88, -20, 0, 20, 200, np.inf] * 12, np.float32)
    program = UNARY.format(t="f32", op="sigmoid")
    found = agree(program, [x, np.full_like(x, 7)], rtol=3e-6)[1]
    np.testing.assert_array_equal(found[[0, 1, 4, 6, 7]], [0, 0, 0.5, 1, 1])
    assert found[2] > 0 and "rcp.rn" not in compile_function(parse(program)).ptx


@pytest.mark.parametrize("name", ["i32", "u8", "u64"])
def test_not(name: str) -> None:
    x = numbers(name, 3)
    agree(UNARY.format(t=name, op="not"), [x, np.zeros_like(x)])


FMA = """func @f(%x: *{t}, %y: *{t}, %s: f32) warps = 1 {{
  %gx = global_view %x : global<{t}, [96]>
  %gy = global_view %y : global<{t}, [96]>
  %a = load %gx[0] : reg<{t}, [96]>
  %b = fma %a, %s, %a
  %c = clip %b, -1.5, 1.25
  %d = add %c, %s
  store %gy[0], %d
}}"""


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
def test_scalar_operands(name: str) -> None:
    x = numbers(name, 3)
    agree(FMA.format(t=name), [x, np.zeros_like(x), 0.7])


BROADCAST = """
layout #c = local(1, 2) * spatial(8, 4) * local(1, 2)
func @f(%x: *{t}, %r: *{t}, %s: *{t}, %y: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [8, 16]>
  %gr = global_view %r : global<{t}, [8, 1]>
  %gs = global_view %s : global<{t}, [16]>
  %gy = global_view %y : global<{t}, [8, 16]>
  %a = load %gx[0, 0] : reg<{t}, [8, 16], #c>
  %b = load %gr[0, 0] : reg<{t}, [8, 1]{rows}>
  %c = load %gs[0] : reg<{t}, [16]>
  %d = mul %a, %b
  %e = add %d, %c
  store %gy[0, 0], %e
}}"""


@pytest.mark.parametrize("name", ["f32", "f16", "bf16", "u8"])
@pytest.mark.parametrize(
    "rows", ["", ", spatial(8, 1) * replicate(4)", ", replicate(4) * spatial(8, 1)"]
)
def test_broadcast_operands(name: str, rows: str) -> None:
    """The last layout needs a conversion between threads."""
    x = np.resize(numbers(name, 1), (8, 16))
    r, s = numbers(name, 2)[:8].reshape(8, 1).copy(), numbers(name, 3)[:16].copy()
    agree(BROADCAST.format(t=name, rows=rows), [x, r, s, np.zeros_like(x)])


BOOLEANS = """func @f(%x: *f32, %y: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [96]>
  %gy = global_view %y : global<f32, [96]>
  %a = load %gx[0] : reg<f32, [96]>
  %p = lt %a, 0.5
  %q = gt %a, -0.5
  %r = and %p, %q
  %s = xor %r, %q
  %t = not %s
  %u = or %t, %p
  %w = where %u, %a, 7.0
  store %gy[0], %w
}"""


def test_boolean_tiles() -> None:
    x = numbers("f32", 3)
    agree(BOOLEANS, [x, np.zeros_like(x)])
