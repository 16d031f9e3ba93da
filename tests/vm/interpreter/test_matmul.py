"""Products and reductions."""

from typing import Any

import numpy as np
import pytest

from tileloom.vm import dtype

MMA = """func @f(%pa: *{a}, %pb: *{a}, %pc: *{c}) warps = 1 {{
  %ga = global_view %pa : global<{a}, [3, 16, 32]>
  %gb = global_view %pb : global<{a}, [3, 32, 8]>
  %gc = global_view %pc : global<{c}, [3, 16, 8]>
  %x = load %ga[0, 0, 0] : reg<{a}, [3, 16, 32]>
  %y = load %gb[0, 0, 0] : reg<{a}, [3, 32, 8]>
  %acc = load %gc[0, 0, 0] : reg<{c}, [3, 16, 8]>
  {op} %acc, %x, %y
  store %gc[0, 0, 0], %acc
}}"""


def operands(name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    element = dtype(name)
    shapes = ((3, 16, 32), (3, 32, 8))
    if element.kind == "float":
        a, b = (element.encode(rng.standard_normal(shape)) for shape in shapes)
    else:
        a, b = (rng.integers(0, 1 << element.bits, shape).astype(np.uint8) for shape in shapes)
    return a, b


@pytest.mark.parametrize("name", ["f16", "bf16", "tf32"])
def test_mma_floats(interpret: Any, name: str) -> None:
    rng, element = np.random.default_rng(0), dtype(name)
    a, b = operands(name, rng)
    c = rng.standard_normal((3, 16, 8)).astype(np.float32)
    wanted = c + element.decode(a) @ element.decode(b)
    interpret(MMA.format(op="mma", a=name, c="f32"), [a, b, c])
    np.testing.assert_allclose(c, wanted, rtol=2e-6, atol=2e-6)


def test_mma_into_halves(interpret: Any) -> None:
    rng, f16 = np.random.default_rng(1), dtype("f16")
    a, b = operands("f16", rng)
    c = rng.standard_normal((3, 16, 8)).astype(np.float16)
    wanted = c + f16.decode(a) @ f16.decode(b)
    interpret(MMA.format(op="mma", a="f16", c="f16"), [a, b, c])
    np.testing.assert_allclose(c, wanted, rtol=1e-3, atol=1e-3)


def test_mma_multiplies_subnormal_halves_exactly(interpret: Any) -> None:
    a, b = np.zeros((3, 16, 32), np.uint16), np.zeros((3, 32, 8), np.float16)
    a[..., 0], b[:, 0, :] = np.arange(16)[:, None][None, :, 0], 3.0
    c = np.zeros((3, 16, 8), np.float32)
    interpret(MMA.format(op="mma", a="f16", c="f32"), [a, b, c])
    np.testing.assert_array_equal(c[0, :, 0] * 2.0**24, 3.0 * np.arange(16))


@pytest.mark.parametrize("name", ["i8", "u8"])
def test_mma_integers_wrap(interpret: Any, name: str) -> None:
    rng, element = np.random.default_rng(2), dtype(name)
    a, b = operands(name, rng)
    c = rng.integers(2**31 - 70000, 2**31, (3, 16, 8)).astype(np.int32)
    wanted = (c + element.decode(a) @ element.decode(b)).astype(np.int32)
    interpret(MMA.format(op="mma", a=name, c="i32"), [a, b, c])
    np.testing.assert_array_equal(c, wanted)
    assert (wanted < 0).any()


@pytest.mark.parametrize("name", ["f16", "f32", "bf16", "i32", "u8"])
def test_simt_dot_is_a_chain_of_fmas(interpret: Any, name: str) -> None:
    rng, element = np.random.default_rng(3), dtype(name)
    a, b = operands(name, rng)
    a, b = a.astype(element.code_dtype), b.astype(element.code_dtype)
    c = element.encode(rng.integers(0, 9, (3, 16, 8))).astype(element.code_dtype)
    total = element.decode(c)
    x, y = element.decode(a), element.decode(b)
    for k in range(32):
        # float64 holds each product of two halves, and rounds sums far below their last place
        step = total + x[:, :, k, None] * y[:, None, k, :]
        if element.is_float:
            total = element.decode(element.encode(step))
        else:
            total = element.decode((step & ((1 << element.bits) - 1)).astype(element.code_dtype))
    interpret(MMA.format(op="simt_dot", a=name, c=name), [a, b, c])
    if name == "f32":
        np.testing.assert_allclose(element.decode(c), total, rtol=1e-6)
    else:
        np.testing.assert_array_equal(element.decode(c), total)


def test_a_product_passes_poison_by_rows_and_columns(interpret: Any) -> None:
    text = """func @f(%p: *f32) warps = 1 {
  %s = alloc_shared : shared<f32, [4, 4]>
  %one = full {fill = 1.0} : reg<f32, [2, 4]>
  store %s[0, 0], %one
  barrier
  %a = load %s[0, 0] : reg<f32, [4, 4]>
  %b = full {fill = 1.0} : reg<f32, [4, 4]>
  %acc = full : reg<f32, [4, 4]>
  simt_dot %acc, %a, %b
  %top = slice %acc {offsets = [0, 0], shape = [2, 4]}
  %g = global_view %p : global<f32, [2, 4]>
  store %g[0, 0], %top
}"""
    out = np.zeros((2, 4), np.float32)
    interpret(text, [out])
    assert (out == 4).all()


REDUCE = """func @f(%p: *{t}, %q: *{t}) warps = 1 {{
  %g = global_view %p : global<{t}, [6, 5, 4]>
  %x = load %g[0, 0, 0] : reg<{t}, [6, 5, 4]>
  %y = reduce %x {{op = {op}, dim = {dim}}}
  %h = global_view %q : global<{t}, {shape}>
  store %h[0, 0, 0], %y
}}"""


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("op", ["sum", "max", "min"])
@pytest.mark.parametrize("name", ["f32", "f16", "bf16", "i32", "u8"])
def test_reductions(interpret: Any, name: str, op: str, dim: int) -> None:
    element = dtype(name)
    rng = np.random.default_rng(4)
    x = element.encode(rng.integers(-40, 90, (6, 5, 4)))
    values = element.decode(x)
    wanted = getattr(values, op)(axis=dim, keepdims=True)
    wanted = wanted % 256 if name == "u8" else element.decode(element.encode(wanted))
    out = np.zeros(wanted.shape, element.code_dtype)
    interpret(REDUCE.format(t=name, op=op, dim=dim, shape=list(wanted.shape)), [x, out])
    np.testing.assert_array_equal(element.decode(out), wanted)


def test_reductions_of_truths_and_nan(interpret: Any) -> None:
    text = """func @f(%p: *f32, %q: *f32) warps = 1 {
  %g = global_view %p : global<f32, [2, 4]>
  %x = load %g[0, 0] : reg<f32, [2, 4]>
  %positive = gt %x, 0.0
  %any = reduce %positive {op = any, dim = 1}
  %all = reduce %positive {op = all, dim = 1}
  %largest = reduce %x {op = max, dim = 1}
  %a = cast %any {dtype = f32}
  %b = cast %all {dtype = f32}
  %ab = concat %a, %b {dim = 1} : reg<f32, [2, 2]>
  %abc = concat %ab, %largest {dim = 1} : reg<f32, [2, 3]>
  %h = global_view %q : global<f32, [2, 3]>
  store %h[0, 0], %abc
}"""
    x = np.array([[1, 2, 3, np.nan], [1, 2, 3, 4]], np.float32)
    out = np.zeros((2, 3), np.float32)
    interpret(text, [x, out])
    assert out.tolist() == [[1, 0, 3], [1, 1, 4]]
