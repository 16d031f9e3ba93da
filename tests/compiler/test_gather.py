"""Reads and writes at places that a tile of indices gives."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.layouts import swizzled
from tileloom.vm import parse
from tileloom.vm.diagnostics import ExecutionError, VMError
from tileloom.vm.dtypes import pack_bits, unpack_bits
from tileloom.vm.interpreter import run

# Rows by an index of one column, columns by an index of every element, places by an index alone.
ROWS = """func @f(%x: *{t}, %i: *{it}, %y: *{t}, %m: i32, %n: i32) warps = {warps} {{
  {assume}
  %gx = global_view %x : global<{t}, [%m, %n]>
  %gi = global_view %i : global<{it}, [24, 1]>
  %gy = global_view %y : global<{t}, [24, 32]>
  %k = load %gi[0, 0] : reg<{it}, [24, 1]>
  %a = gather %gx[{row}, {column}], %k {{dim = 0}} : reg<{t}, [24, 32]{layout}>
  %b = convert_layout %a : reg<{t}, [24, 32], spatial(24, 1) * local(1, 32)>
  store %gy[0, 0], %b
}}"""
LAYOUTS = [
    "",
    ", local(3, 1) * spatial(8, 4) * local(1, 8)",
    ", replicate(2) * local(2, 1) * spatial(3, 4) * local(4, 8)",
    ", column_spatial(8, 4) * column_local(3, 8)",
]
KINDS: dict[str, Any] = {"f32": np.float32, "f16": np.float16, "u8": np.uint8, "i64": np.int64}


def fetched(x: Any, index: Any, column: int) -> Any:
    inside = (index >= 0) & (index < len(x))
    padded = np.zeros((len(x), column + 32), x.dtype)
    padded[:, : x.shape[1]] = x[:, : column + 32]
    return np.where(inside, padded[np.clip(index[:, 0], 0, len(x) - 1), column:], 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(("m", "n", "column"), [(20, 40, 4), (37, 33, 9), (1, 64, 0)])
def test_rows(kind: str, layout: str, m: int, n: int, column: int) -> None:
    rng = np.random.default_rng(m)
    x = rng.integers(1, 90, (m, n)).astype(KINDS[kind])
    index = rng.integers(-3, m + 5, (24, 1)).astype(np.int32)
    text = ROWS.format(t=kind, it="i32", warps=2, assume="", row=0, column=column, layout=layout)
    found = agree(text, [x, index, np.zeros((24, 32), x.dtype), m, n])[2]
    np.testing.assert_array_equal(found, fetched(x, index, column))


@pytest.mark.parametrize("index_kind", ["i8", "u8", "i16", "u16", "u32", "i64", "u64"])
def test_dtypes_of_the_index(index_kind: str) -> None:
    """Extreme values are outside, whatever their sign."""
    dtype = np.dtype({"i": "int", "u": "uint"}[index_kind[0]] + index_kind[1:])
    info = np.iinfo(dtype)
    index = np.resize(np.array([0, 3, 19, 20, 100, info.max, info.min], dtype), (24, 1))
    x = np.random.default_rng(0).normal(size=(20, 40)).astype(np.float32)
    text = ROWS.format(
        t="f32", it=index_kind, warps=1, assume="", row=0, column=0, layout=LAYOUTS[1]
    )
    found = agree(text, [x, index, np.zeros((24, 32), np.float32), 20, 40])[2]
    meant = fetched(x, index.astype(np.float64).clip(-1, 1e6).astype(np.int64), 0)
    np.testing.assert_array_equal(found, meant)


@pytest.mark.parametrize("bits", [1, 3, 4, 6])
@pytest.mark.parametrize("n", [64, 67])
def test_elements_below_a_byte(bits: int, n: int) -> None:
    """Rows of 67 elements begin inside a byte."""
    codes = np.random.default_rng(0).integers(0, 1 << bits, (20, n)).astype(np.uint8)
    index = np.random.default_rng(1).integers(-1, 22, (24, 1)).astype(np.int32)
    text = ROWS.format(
        t=f"u{bits}", it="i32", warps=1, assume="", row=0, column=n - 64, layout=LAYOUTS[1]
    )
    y = np.zeros(24 * 32 * bits // 8, np.uint8)
    found = agree(text, [pack_bits(codes, bits), index, y, 20, n])[2]
    meant = fetched(codes, index, n - 64)
    np.testing.assert_array_equal(unpack_bits(found, bits, 24 * 32).reshape(24, 32), meant)


def test_rows_are_read_in_wide_pieces() -> None:
    text = ROWS.format(
        t="f16", it="i32", warps=1, assume="assume %n % 8 == 0", row=0, column=8, layout=LAYOUTS[1]
    )
    ptx = compile_function(parse(text)).ptx
    loads = re.findall(r"ld\.global\.(\S+) \{", ptx)
    assert loads == ["v4.b32"] * 3


ELEMENTS = """func @f(%x: *i32, %i: *i32, %y: *i32, %z: *i32, %n: i32) warps = 1 {
  %gx = global_view %x : global<i32, [6, %n, 5]>
  %gi = global_view %i : global<i32, [8, 10]>
  %gy = global_view %y : global<i32, [8, 10]>
  %gz = global_view %z : global<i32, [8, 10]>
  %k = load %gi[0, 0] : reg<i32, [8, 10]>
  %a = gather %gx[1, -2, 3], %k {dim = 1, dims = [0, 1]} : reg<i32, [8, 10]>
  store %gy[0, 0], %a
  %one = full {fill = 1} : reg<i32, [8, 10]>
  assign %a, %one
  %b = gather %gx[0, 0, 0], %k {dim = 2, dims = [1, 0]} : reg<i32, [8, 10]>
  assign %k, %one
  store %gz[0, 0], %b
}"""


def test_every_element_has_its_index() -> None:
    x = np.arange(6 * 9 * 5, dtype=np.int32).reshape(6, 9, 5) + 1
    index = np.random.default_rng(0).integers(-2, 14, (8, 10)).astype(np.int32)
    y = np.zeros((8, 10), np.int32)
    found = agree(ELEMENTS, [x, index, y, y.copy(), 9])
    padded = np.zeros((30, 30, 30), np.int32)
    padded[:6, :9, :5] = x
    rows, columns = np.indices((8, 10))
    first = padded[1 + rows, np.where(index - 2 < 0, 29, index - 2), 3]
    np.testing.assert_array_equal(found[2], first)
    second = padded[columns, rows, np.where(index < 0, 29, index)]
    np.testing.assert_array_equal(found[3], second)


SHARED = """func @f(%x: *f16, %i: *i32, %y: *f16, %z: *f16) warps = 2 {{
  %gx = global_view %x : global<f16, [32, 64]>
  %gi = global_view %i : global<i32, [32]>
  %gy = global_view %y : global<f16, [32, 64]>
  %gz = global_view %z : global<f16, [32, 64]>
  %s = alloc_shared : shared<f16, [32, 64]{memory}>
  %a = load %gx[0, 0] : reg<f16, [32, 64]>
  %i1 = load %gi[0] : reg<i32, [32]>
  %k = unsqueeze %i1 {{dims = [1]}}
  scatter %s[0, 0], %k, %a {{dim = 0, in_bounds = true}}
  barrier
  %b = load %s[0, 0] : reg<f16, [32, 64]>
  store %gy[0, 0], %b
  %c = gather %s[0, 0], %k {{dim = 0}} : reg<f16, [32, 64]{layout}>
  store %gz[0, 0], %c
}}"""


@pytest.mark.parametrize("layout", ["", ", local(8, 4) * spatial(4, 16)"])
@pytest.mark.parametrize("swizzle", [False, True])
def test_shared_memory(swizzle: bool, layout: str) -> None:
    memory = f", {swizzled((32, 64), 16)}" if swizzle else ""
    x = np.random.default_rng(0).integers(0, 99, (32, 64)).astype(np.float16)
    index = np.random.default_rng(1).permutation(32).astype(np.int32)
    y = np.zeros_like(x)
    found = agree(SHARED.format(memory=memory, layout=layout), [x, index, y, y.copy()])
    meant = np.zeros_like(x)
    meant[index] = x
    np.testing.assert_array_equal(found[2], meant)
    np.testing.assert_array_equal(found[3], x)


SCATTER = """func @f(%x: *{t}, %i: *i32, %y: *{t}, %n: i32) warps = 1 {{
  %gx = global_view %x : global<{t}, [20, 12]>
  %gi = global_view %i : global<i32, [20]>
  %gy = global_view %y : global<{t}, [12, %n]>
  %a = load %gx[0, 0] : reg<{t}, [20, 12]{layout}>
  %j = load %gi[0] : reg<i32, [20]>
  %k = unsqueeze %j {{dims = [1]}}
  scatter %gy[0, 5], %k, %a {{dim = 1, dims = [1, 0]}}
}}"""
SCATTER_LAYOUTS = [
    "",
    ", spatial(5, 3) * local(4, 4)",
    ", spatial(4, 4) * replicate(2) * local(5, 3)",
    ", local(10, 2) * column_spatial(2, 6)",
]


@pytest.mark.parametrize("layout", SCATTER_LAYOUTS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_scattered_columns(kind: str, layout: str) -> None:
    x = np.random.default_rng(0).integers(1, 99, (20, 12)).astype(KINDS[kind])
    index = (np.random.default_rng(1).permutation(40)[:20] - 8).astype(np.int32)
    y = np.zeros((12, 23), x.dtype)
    found = agree(SCATTER.format(t=kind, layout=layout), [x, index, y, 23])[2]
    for row, column in enumerate(index + 5):
        if 0 <= column < 23:
            y[:, column] = x[row]
    np.testing.assert_array_equal(found, y)


CLASH = """func @f(%i: *i32, %y: *i32) warps = 1 {{
  %gi = global_view %i : global<i32, [8]>
  %gy = global_view %y : global<i32, [8]>
  %k = load %gi[0] : reg<i32, [8]>
  {value}
  scatter %gy[0], %k, %a
}}"""


def test_two_values_for_one_place_are_an_error() -> None:
    index = np.array([3, 1, 0, 6, 3, 7, -1, -1], np.int32)
    equal = "%a = full {fill = 4} : reg<i32, [8]>"
    found = agree(CLASH.format(value=equal), [index, np.zeros(8, np.int32)])[1]
    np.testing.assert_array_equal(found, [4, 4, 0, 4, 0, 0, 4, 4])
    different = "%a = arange : reg<i32, [8]>"
    with pytest.raises(ExecutionError) as caught:
        run(parse(CLASH.format(value=different)), [index, np.zeros(8, np.int32)])
    assert caught.value.message == (
        "`scatter`: different values are scattered to element [3] of `%gy`"
    )


@pytest.mark.parametrize(
    ("index", "line", "message"),
    [
        (
            [0, 5],
            "%r = gather %g[0], %k {in_bounds = true} : reg<i32, [2]>",
            "`gather`: an index leaves `%g` of shape [4], but `in_bounds` promises that none does",
        ),
        (
            [0, 0],
            "%r = gather %s[0], %k : reg<i32, [2]>\n  store %g[0], %r",
            "`store`: an uninitialised value is stored to global memory",
        ),
        (
            [0, 0],
            "%u = alloc_registers : reg<i32, [2]>\n  scatter %g[0], %u, %k",
            "`scatter`: an uninitialised value is used as an index",
        ),
        (
            [1, 0],
            "%v = arange : reg<i32, [2], spatial(2)>\n  scatter %s[0], %v, %k\n"
            "  %r = gather %s[0], %k : reg<i32, [2], spatial(2)>",
            "`gather`: race on `%s`: element [1] is accessed by thread 0, and was written by "
            "thread 1 with no barrier in between",
        ),
    ],
)
def test_checks(index: list[int], line: str, message: str) -> None:
    text = f"""func @f(%i: *i32, %y: *i32) warps = 1 {{
  %gi = global_view %i : global<i32, [2]>
  %g = global_view %y : global<i32, [4]>
  %s = alloc_shared : shared<i32, [4]>
  %k = load %gi[0] : reg<i32, [2], spatial(2)>
  {line}
}}"""
    with pytest.raises(ExecutionError) as caught:
        run(parse(text), [np.array(index, np.int32), np.zeros(4, np.int32)])
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "%r = gather %g[0, 0], %x : reg<f32, [8, 4]>",
            "`gather`: the index is `f32`, not an integer of whole bytes",
        ),
        (
            "%r = gather %g[0, 0], %i {dim = 2} : reg<f32, [8, 4]>",
            "`gather`: `dim` 2 of memory of rank 2",
        ),
        (
            "%r = gather %g[0, 0], %i : reg<f32, [4, 4]>",
            "`gather`: an index of shape [8, 1] can't be broadcast to [4, 4]",
        ),
        (
            "%r = gather %g[0, 0], %i : reg<f16, [8, 4]>",
            "`gather`: the tile is `f16` but the memory is `f32`",
        ),
        (
            "scatter %h[0, 0], %i, %q",
            "`scatter`: elements of `u4` share bytes: two threads may write one",
        ),
        (
            "scatter %h[0, 0], %i, %x",
            "`scatter`: the value is `f32` but the memory is `u4`",
        ),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    text = f"""func @f(%p: *f32, %q0: *u4) warps = 1 {{
  %g = global_view %p : global<f32, [16, 16]>
  %h = global_view %q0 : global<u4, [16, 16]>
  %i = full : reg<i32, [8, 1]>
  %x = full : reg<f32, [8, 4]>
  %q = full : reg<u4, [8, 4]>
  {line}
}}"""
    with pytest.raises(VMError) as caught:
        parse(text)
    assert caught.value.message == message


def test_from_python() -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.f32], i: vm.Ptr[vm.i32], y: vm.Ptr[vm.f32]) -> None:
        table = vm.global_view(x, [10, 16])
        index = vm.unsqueeze(vm.load(vm.global_view(i, [8]), [0], (8,)), [1])
        rows = vm.gather(table, [0, 0], index, 0, (8, 16))
        vm.scatter(vm.global_view(y, [10, 16]), [0, 0], index, rows * 2.0, 0)

    x = np.arange(160, dtype=np.float32).reshape(10, 16)
    index = np.array([3, 0, 9, 5, 1, 2, 7, 8], np.int32)
    found = agree(f.trace(), [x, index, np.zeros_like(x)])[2]
    meant = np.zeros_like(x)
    meant[index] = 2 * x[index]
    np.testing.assert_array_equal(found, meant)
