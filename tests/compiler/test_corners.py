"""Corners of the compiler that random programs led to: each of these was wrong once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import TARGETS, agree, as_function, assemble

from tileloom.compiler import compile_function
from tileloom.vm.dtypes import pack_bits


def drawn(count: int, dtype: Any, seed: int = 0) -> np.ndarray[Any, Any]:
    source = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return source.normal(0, 4, count).astype(dtype)
    limits = np.iinfo(dtype)
    return source.integers(limits.min, limits.max, count, dtype, endpoint=True)


def test_wide_scalars_index_shared_memory() -> None:
    """A shared address has 32 bits, whatever its index is computed from."""
    text = """func @f(%x: *f32, %y: *f32, %i: i64, %s: i64) warps = 1 {
  %gx = global_view %x : global<f32, [16, 16]>
  %gy = global_view %y : global<f32, [16, 16]>
  %a = load %gx[0, 0] : reg<f32, [16, 16]>
  %m = alloc_shared : shared<f32, [16, 16], row_major(16, 16) ^ swizzle(2, 4, 3)>
  store %m[0, 0], %a
  barrier
  %b = load %m[%i % 5, %i >> %s] : reg<f32, [16, 16]>
  store %gy[0, 0], %b
}"""
    x = drawn(256, np.float32).reshape(16, 16)
    found = agree(text, [x, np.zeros_like(x), 2**33 + 7, 33])
    expected = np.zeros_like(x)
    expected[:12, :15] = x[4:, 1:]
    np.testing.assert_array_equal(found[1], expected)


@pytest.mark.parametrize("alignment", [1, 2, 4, 8])
def test_wide_elements_of_any_alignment(alignment: int) -> None:
    text = f"""func @f(%x: *i64, %y: *i64, %m: i32) warps = 1 {{
  %gx = global_view %x {{alignment = {alignment}}} : global<i64, [%m, 8]>
  %gy = global_view %y {{alignment = {alignment}}} : global<i64, [%m, 8]>
  %a = load %gx[0, 0] : reg<i64, [8, 8], spatial(8, 4) * local(1, 2)>
  store %gy[0, 0], %a
}}"""
    x = drawn(48, np.int64).reshape(6, 8)
    found = agree(text, [x, np.zeros_like(x), 6])
    np.testing.assert_array_equal(found[1], x)


@pytest.mark.parametrize("layout", ["column_major(8, 16)", "strided([8, 16], [20, 1])", ""])
@pytest.mark.parametrize(("element", "alignment"), [("f32", 2), ("i64", 4), ("f16", 16)])
def test_copies_land_where_the_target_lies(element: str, alignment: int, layout: str) -> None:
    """Source and target need not lie alike, nor be aligned to whole elements."""
    tail = f", {layout}" if layout else ""
    text = f"""func @f(%x: *{element}, %y: *{element}, %n: i32) warps = 1 {{
  %gx = global_view %x {{alignment = {alignment}}} : global<{element}, [8, %n]>
  %gy = global_view %y : global<{element}, [8, 16]>
  %m = alloc_shared : shared<{element}, [8, 16]{tail}>
  copy_async %m[0, 0], %gx[0, 0] {{shape = [8, 16]}}
  copy_async_commit
  copy_async_wait
  barrier
  %a = load %m[0, 0] : reg<{element}, [8, 16]>
  store %gy[0, 0], %a
}}"""
    kind = {"f32": np.float32, "i64": np.int64, "f16": np.float16}[element]
    x = drawn(8 * 15, kind).reshape(8, 15)
    found = agree(text, [x, np.ones((8, 16), kind), 15])
    np.testing.assert_array_equal(found[1][:, :15], x)
    assert not found[1][:, 15].any()


@pytest.mark.parametrize("bits", [3, 5, 6, 7])
def test_joined_elements_across_words(bits: int) -> None:
    text = f"""func @f(%x: *u{bits}, %y: *u8) warps = 1 {{
  %gx = global_view %x : global<u{bits}, [2, 8, 32]>
  %gy = global_view %y : global<u8, [8, 64]>
  %a = load %gx[0, 0, 0] : reg<u{bits}, [8, 32], spatial(8, 2) * local(1, 16)>
  %b = load %gx[1, 0, 0] : reg<u{bits}, [8, 32], spatial(8, 2) * local(1, 16)>
  %c = concat %a, %b {{dim = 1}} : reg<u{bits}, [8, 64], local(1, 2) * spatial(8, 2) * local(1, 16)>
  %d = cast %c {{dtype = u8}}
  store %gy[0, 0], %d
}}"""
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (2, 8, 32))
    found = agree(text, [pack_bits(codes, bits), np.zeros((8, 64), np.uint8)])
    np.testing.assert_array_equal(found[1], np.concatenate([codes[0], codes[1]], axis=1))


CONSTANTS = """func @f(%x: *{t}, %y: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [64]>
  %gy = global_view %y : global<{t}, [64]>
  %a = load %gx[0] : reg<{t}, [64]>
  %b = max %a, 0.1
  %c = min 2.5, %b
  %d = add %c, 0.5
  %e = mul -3.0, %d
  %f = sub 1.0, %e
  %g = fma %f, -1.0, 0.25
  %h = cast %g {{dtype = bool}}
  %i = where %h, %g, %a
  store %gy[0], %i
}}"""


@pytest.mark.parametrize("element", ["f16", "bf16", "f32", "f64", "tf32"])
def test_float_constants(element: str, tmp_path: Path) -> None:
    """Not every instruction takes immediates: the assembler must agree too."""
    kind = {"f16": np.float16, "f64": np.float64}.get(element, np.float32)
    x = drawn(64, kind)
    if element in ("bf16", "tf32"):
        x = (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.uint32)
        x = (x >> 16).astype(np.uint16) if element == "bf16" else x
    program = CONSTANTS.format(t=element)
    agree(program, [x, np.zeros_like(x)])
    for target in TARGETS:
        assemble(compile_function(as_function(program), target).ptx, target, tmp_path)


@pytest.mark.parametrize("element", ["f16", "bf16"])
def test_dot_products_round_each_step(element: str) -> None:
    text = f"""func @f(%x: *{element}, %z: *{element}, %y: *{element}) warps = 1 {{
  %gx = global_view %x : global<{element}, [4, 8]>
  %gz = global_view %z : global<{element}, [8, 3]>
  %gy = global_view %y : global<{element}, [4, 3]>
  %a = load %gx[0, 0] : reg<{element}, [4, 8]>
  %b = load %gz[0, 0] : reg<{element}, [8, 3]>
  %c = full {{fill = 1.0}} : reg<{element}, [4, 3], spatial(4, 1) * local(1, 3)>
  simt_dot %c, %a, %b
  store %gy[0, 0], %c
}}"""
    x, z = drawn(32, np.float32), drawn(24, np.float32, 1)
    if element == "bf16":
        args = [(v.view(np.uint32) >> 16).astype(np.uint16) for v in (x, z)]
    else:
        args = [v.astype(np.float16) for v in (x, z)]
    agree(text, [*args, np.zeros(12, args[0].dtype)])


@pytest.mark.parametrize("source", ["i64", "u64"])
@pytest.mark.parametrize("dest", ["i8", "u8", "i16", "u16", "i32", "u32"])
def test_wide_integers_saturate(source: str, dest: str) -> None:
    text = f"""func @f(%x: *{source}, %y: *{dest}) warps = 1 {{
  %gx = global_view %x : global<{source}, [64]>
  %gy = global_view %y : global<{dest}, [64]>
  %a = load %gx[0] : reg<{source}, [64]>
  %b = cast %a {{dtype = {dest}}}
  store %gy[0], %b
}}"""
    x = drawn(64, {"i64": np.int64, "u64": np.uint64}[source])
    x[:8] = [0, 1, 127, 128, 255, 256, 32768, 65536]
    kind = np.dtype({"i": "int", "u": "uint"}[dest[0]] + dest[1:])
    found = agree(text, [x, np.zeros(64, kind)])
    limits = np.iinfo(kind)
    low = limits.min if source == "i64" else 0
    np.testing.assert_array_equal(found[1], np.clip(x, low, limits.max).astype(kind))


@pytest.mark.parametrize("bits", [9, 12, 20, 24, 31, 33, 48])
def test_odd_widths_travel_between_threads(bits: int) -> None:
    text = f"""func @f(%x: *u{bits}, %y: *u{bits}) warps = 1 {{
  %gx = global_view %x : global<u{bits}, [8, 32]>
  %gy = global_view %y : global<u{bits}, [8, 32]>
  %a = load %gx[0, 0] : reg<u{bits}, [8, 32], spatial(8, 4) * local(1, 8)>
  %b = convert_layout %a : reg<u{bits}, [8, 32], local(4, 1) * spatial(2, 4) * local(1, 8)>
  store %gy[0, 0], %b
}}"""
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (8, 32), np.uint64)
    packed = pack_bits(codes, bits)
    found = agree(text, [packed, np.zeros_like(packed)])
    np.testing.assert_array_equal(found[1], packed)


def test_decoded_zeros_keep_their_sign() -> None:
    text = """func @f(%x: *e3m2, %y: *bf16) warps = 1 {
  %gx = global_view %x : global<e3m2, [1, 64]>
  %gy = global_view %y : global<bf16, [1, 64]>
  %a = load %gx[0, 0] : reg<e3m2, [1, 64], local(1, 64)>
  %b = repack %a : reg<e3m2, [1, 64], local(1, 64), paired>
  %c = decode %b {dtype = bf16}
  store %gy[0, 0], %c
}"""
    found = agree(text, [pack_bits(np.arange(64), 6), np.zeros(64, np.uint16)])
    assert found[1][32] == 0x8000


@pytest.mark.parametrize(
    ("element", "kind"), [("u8", np.uint8), ("i8", np.int8), ("u64", np.uint64)]
)
def test_counted_tiles_saturate(element: str, kind: Any) -> None:
    text = f"""func @f(%y: *{element}) warps = 1 {{
  %gy = global_view %y : global<{element}, [64]>
  %a = arange {{start = 150, step = -5}} : reg<{element}, [64]>
  store %gy[0], %a
}}"""
    found = agree(text, [np.zeros(64, kind)])
    limits = np.iinfo(kind)
    expected = [min(max(150 - 5 * i, limits.min), limits.max) for i in range(64)]
    assert found[0].tolist() == expected


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_paired_tiles_change_threads(bits: int) -> None:
    text = f"""func @f(%x: *u{bits}, %y: *u{bits}) warps = 1 {{
  %gx = global_view %x : global<u{bits}, [8, 64]>
  %gy = global_view %y : global<u{bits}, [8, 64]>
  %a = load %gx[0, 0] : reg<u{bits}, [8, 64], spatial(8, 2) * local(1, 32), paired>
  %b = convert_layout %a : reg<u{bits}, [8, 64], local(8, 1) * spatial(1, 2) * local(1, 32), paired>
  %c = repack %b : reg<u{bits}, [8, 64], local(8, 1) * spatial(1, 2) * local(1, 32)>
  store %gy[0, 0], %c
}}"""
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (8, 64))
    packed = pack_bits(codes, bits)
    found = agree(text, [packed, np.zeros_like(packed)])
    np.testing.assert_array_equal(found[1], packed)
