"""Scans along any dimension of any layout; products and places of extremes in reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

SCAN = """func @f(%x: *{t}, %y: *{t}) warps = 4 {{
  %gx = global_view %x : global<{t}, [8, 16, 12]>
  %gy = global_view %y : global<{t}, [8, 16, 12]>
  %a = load %gx[0, 0, 0] : reg<{t}, [8, 16, 12]{layout}>
  %b = scan %a {{op = {op}, dim = {dim}, exclusive = {exclusive}}}
  store %gy[0, 0, 0], %b
}}"""
LAYOUTS = {
    "inferred": "",
    "lanes": ", local(2, 1, 1) * spatial(4, 16, 2) * local(1, 1, 6)",
    "warps": ", spatial(4, 8, 4) * local(2, 2, 3)",
    "three": ", local(2, 1, 1) * spatial(1, 4, 3) * local(4, 4, 4)",
    "spans": ", local(4, 1, 1) * column_spatial(2, 16, 4) * local(1, 1, 3)",
    "replicas": ", replicate(4) * spatial(8, 2, 2) * local(1, 8, 6)",
    "mixed": ", spatial(2, 1, 3) * local(2, 4, 2) * spatial(2, 2, 1) * local(1, 2, 2)",
}
KINDS: dict[str, Any] = {
    "f32": np.float32, "f16": np.float16, "i32": np.int32, "u8": np.uint8, "i64": np.int64,
}  # fmt: skip
NUMPY: dict[str, Any] = {
    "add": np.add, "mul": np.multiply, "max": np.fmax, "min": np.fmin,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip


def neutral(op: str, dtype: Any) -> Any:
    """What numpy's own reduction of nothing gives, or the type's limits."""
    if op not in ("max", "min"):
        return NUMPY[op].identity
    if np.dtype(dtype).kind == "f":
        return -np.inf if op == "max" else np.inf
    info = np.iinfo(dtype)
    return info.min if op == "max" else info.max


def scanned(x: Any, op: str, dim: int, exclusive: bool) -> Any:
    meant = NUMPY[op].accumulate(x, axis=dim, dtype=x.dtype)
    if exclusive:
        box = [slice(None)] * x.ndim
        box[dim] = slice(0, 1)
        first = np.zeros_like(x[tuple(box)]) + np.array(neutral(op, x.dtype)).astype(x.dtype)
        box[dim] = slice(0, -1)
        meant = np.concatenate([first, meant[tuple(box)]], axis=dim)
    return meant


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("op", ["add", "max"])
@pytest.mark.parametrize("kind", ["f16", "i32"])
def test_layouts(kind: str, op: str, exclusive: bool, dim: int, layout: str) -> None:
    x = np.random.default_rng(dim).integers(0, 90, (8, 16, 12)).astype(KINDS[kind])
    word = str(exclusive).lower()
    text = SCAN.format(t=kind, op=op, dim=dim, exclusive=word, layout=LAYOUTS[layout])
    found = agree(text, [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, scanned(x, op, dim, exclusive))


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("op", sorted(NUMPY))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_operations(kind: str, op: str, exclusive: bool) -> None:
    if kind[0] == "f" and op in ("and", "or", "xor"):
        pytest.skip("no bitwise operations on floats")
    rng = np.random.default_rng(3)
    values = [-1, 1, 2, 0.5] if kind[0] == "f" and op == "mul" else np.arange(1, 60)
    x = rng.choice(values, (8, 16, 12)).astype(KINDS[kind])
    for layout in ("warps", "mixed"):
        text = SCAN.format(
            t=kind, op=op, dim=1, exclusive=str(exclusive).lower(), layout=LAYOUTS[layout]
        )
        found = agree(text, [x, np.zeros_like(x)])[1]
        np.testing.assert_array_equal(found, scanned(x, op, 1, exclusive))


BOOLEAN = """func @f(%x: *i32, %y: *i32) warps = 2 {{
  %gx = global_view %x : global<i32, [6, 64]>
  %gy = global_view %y : global<i32, [6, 64]>
  %a = load %gx[0, 0] : reg<i32, [6, 64], spatial(1, 64) * local(6, 1)>
  %p = lt %a, 50
  %b = scan %p {{op = {op}, dim = 1, exclusive = {exclusive}}}
  %c = cast %b {{dtype = i32}}
  store %gy[0, 0], %c
}}"""


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("op", ["and", "or", "xor"])
def test_truth_values(op: str, exclusive: bool) -> None:
    x = np.random.default_rng(0).integers(0, 100, (6, 64)).astype(np.int32)
    x[:2, :9] = [[0], [99]]
    text = BOOLEAN.format(op=op, exclusive=str(exclusive).lower())
    found = agree(text, [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, scanned(x < 50, op, 1, exclusive))


RAGGED = """func @f(%x: *f32, %y: *f32, %z: *f32, %n: i32) warps = 2, grid = [2] {
  %gx = global_view %x : global<f32, [%n]>
  %gy = global_view %y : global<f32, [%n]>
  %gz = global_view %z : global<f32, [%n]>
  %a = load %gx[block.x * 96] : reg<f32, [96]>
  %b = scan %a
  store %gy[block.x * 96], %b
  %two = full {fill = 2} : reg<f32, [96]>
  assign %b, %two
  %c = scan %a {op = min}
  assign %a, %two
  store %gy[block.x * 96], %c
  store %gz[block.x * 96], %b
}"""


def test_ragged_tiles_and_later_mutation() -> None:
    x = np.random.default_rng(0).integers(1, 50, 107).astype(np.float32)
    found = agree(RAGGED, [x, np.zeros_like(x), np.zeros_like(x), 107])
    meant = np.concatenate([np.minimum.accumulate(part) for part in (x[:96], x[96:])])
    np.testing.assert_array_equal(found[1], meant)
    assert (found[2] == 2).all()


def test_rounded_sums_stay_near_and_repeat() -> None:
    x = np.random.default_rng(0).normal(size=(8, 16, 12)).astype(np.float32)
    text = SCAN.format(t="f32", op="add", dim=1, exclusive="false", layout=LAYOUTS["warps"])
    found = agree(text, [x, np.zeros_like(x)], rtol=1e-5)[1]
    np.testing.assert_array_equal(found, agree(text, [x, np.zeros_like(x)], rtol=1e-5)[1])


def test_scans_within_a_warp_need_no_shared_memory() -> None:
    def shared(dim: int) -> int:
        text = SCAN.format(t="f32", op="add", dim=dim, exclusive="false", layout=LAYOUTS["warps"])
        return compile_function(parse(text)).shared_bytes

    assert shared(0) == 4 * 128 * 6
    assert shared(1) == shared(2) == 0


REDUCE = """func @f(%x: *{t}, %y: *{r}) warps = 4 {{
  %gx = global_view %x : global<{t}, [8, 16, 12]>
  %gy = global_view %y : global<{r}, [8, 16, 12]>
  %a = load %gx[0, 0, 0] : reg<{t}, [8, 16, 12]{layout}>
  %b = reduce %a {{op = {op}, dim = {dim}}}
  store %gy[0, 0, 0], %b
}}"""


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_places_of_extremes(kind: str, op: str, dim: int, layout: str) -> None:
    """Few different values, so that the first of several is wanted."""
    x = np.random.default_rng(dim).integers(0, 4, (8, 16, 12)).astype(KINDS[kind])
    text = REDUCE.format(t=kind, r="i32", op=op, dim=dim, layout=LAYOUTS[layout])
    found = agree(text, [x, np.zeros(x.shape, np.int32)])[1]
    meant = {"argmax": np.argmax, "argmin": np.argmin}[op](x, axis=dim, keepdims=True)
    np.testing.assert_array_equal(found[tuple(slice(0, e) for e in meant.shape)], meant)


def test_places_skip_nan() -> None:
    x = np.random.default_rng(0).normal(size=(8, 16, 12)).astype(np.float32)
    x[x < -0.5] = np.nan
    x[3, 5], x[0, 0, :5] = np.nan, [np.nan, -np.inf, -0.0, 0.0, -1]
    text = REDUCE.format(t="f32", r="i32", op="argmax", dim=2, layout=LAYOUTS["lanes"])
    found = agree(text, [x, np.zeros(x.shape, np.int32)])[1][:, :, :1]
    filled = np.where(np.isnan(x), -np.inf, x)
    meant = np.argmax(filled, axis=2, keepdims=True)
    meant[3, 5] = 0
    np.testing.assert_array_equal(found, meant)


@pytest.mark.parametrize("layout", ["inferred", "three", "replicas"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_products(kind: str, layout: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.choice([1, 2, 3] if kind[0] != "f" else [0.5, 2, 1], (8, 16, 12)).astype(KINDS[kind])
    text = REDUCE.format(t=kind, r=kind, op="prod", dim=1, layout=LAYOUTS[layout])
    found = agree(text, [x, np.zeros_like(x)])[1][:, :1]
    np.testing.assert_array_equal(found, np.prod(x, axis=1, keepdims=True, dtype=x.dtype))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("scan %a {op = sub}", "`scan`: unknown operation `sub`"),
        ("scan %a {dim = 1}", "`scan`: `dim` 1 of a tile of rank 1"),
        ("scan %a {op = xor}", "`scan`: has no arithmetic on `f32`"),
        ("scan %q", "`scan`: has no arithmetic on `u3`"),
        ("reduce %q", "`reduce`: has no arithmetic on `u3`"),
        ("reduce %p {op = argmax}", "`reduce`: `argmax` of `bool`"),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    head = "%a = full : reg<f32, [8]>\n  %q = full : reg<u3, [8]>\n  %p = full : reg<bool, [8]>"
    with pytest.raises(VMError) as caught:
        parse(f"func @f() warps = 1 {{\n  {head}\n  %b = {line}\n}}")
    assert caught.value.message == message


def test_from_python() -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.i32], y: vm.Ptr[vm.i32]) -> None:
        row = vm.load(vm.global_view(x, [64]), [0], (64,))
        vm.store(vm.global_view(y, [64]), [0], vm.scan(row, "add", 0, exclusive=True))

    x = np.arange(64, dtype=np.int32)
    found = agree(f.trace(), [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, np.cumsum(x) - x)
