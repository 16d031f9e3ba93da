"""Views, reshapes, slices and conversions; every result is a value of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom.vm.dtypes import pack_bits, unpack_bits

VIEW = """func @f(%x: *u8, %y: *u16, %z: *f32) warps = 1 {
  %gx = global_view %x : global<u8, [256]>
  %gy = global_view %y : global<u16, [32, 4]>
  %gz = global_view %z : global<f32, [64]>
  %a = load %gx[0] : reg<u8, [256], spatial(32) * local(8)>
  %b = view %a : reg<u16, [32, 4], spatial(32, 1) * local(1, 4)>
  store %gy[0, 0], %b
  %c = view %a : reg<f32, [64], spatial(32) * local(2)>
  store %gz[0], %c
}"""


def test_views() -> None:
    x = np.random.default_rng(0).integers(0, 60, 256).astype(np.uint8)
    found = agree(VIEW, [x, np.zeros((32, 4), np.uint16), np.zeros(64, np.float32)])
    np.testing.assert_array_equal(found[1].reshape(-1), x.view(np.uint16))
    np.testing.assert_array_equal(found[2], x.view(np.float32))


# Each operation's result, or its source, is changed afterwards: the other must not see it.
ALIAS = """func @f(%x: *{t}, %y: *{t}, %z: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [8, 16]>
  %gy = global_view %y : global<{t}, [8, 16]>
  %gz = global_view %z : global<{t}, [{out}]>
  %a = load %gx[0, 0] : reg<{t}, [8, 16], local(2, 2) * spatial(4, 8)>
  %b = {op} %a {attrs}
  %one = full {{fill = 5}} : reg<{t}, [{shape}]>
  assign {target}, %one
  store %gy[0, 0], %a
  store %gz[{zeros}], %b
}}"""
OPERATIONS = {
    "transpose": ("", (16, 8)),
    "reshape": ("{shape = [4, 2, 16]}", (4, 2, 16)),
    "slice": ("{offsets = [4, 0], shape = [4, 16]}", (4, 16)),
    "view": (": reg<i32, [8, 16], local(2, 2) * spatial(4, 8)>", (8, 16)),
}


@pytest.mark.parametrize("target", ["%a", "%b"])
@pytest.mark.parametrize("op", sorted(OPERATIONS))
def test_results_and_sources_are_independent(op: str, target: str) -> None:
    attrs, shape = OPERATIONS[op]
    changed = (8, 16) if target == "%a" else shape
    text = ALIAS.format(
        t="i32",
        op=op,
        attrs=attrs,
        target=target,
        out=", ".join(map(str, shape)),
        shape=", ".join(map(str, changed)),
        zeros=", ".join("0" for _ in shape),
    )
    x = np.arange(128, dtype=np.int32).reshape(8, 16)
    found = agree(text, [x, np.zeros_like(x), np.zeros(shape, np.int32)])
    assert (found[1] == 5).all() == (target == "%a")
    assert (found[2] == 5).all() == (target == "%b")


SLICES = """func @f(%x: *{t}, %y: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [16, 32]>
  %gy = global_view %y : global<{t}, [16, 32]>
  %a = load %gx[0, 0] : reg<{t}, [16, 32], local(2, 4) * spatial(8, 4) * local(1, 2)>
  %b = slice %a {{offsets = [8, 0], shape = [8, 32]}}
  %c = slice %b {{offsets = [0, 8], shape = [8, 8]}}
  store %gy[0, 8], %c
  %d = slice %a {{offsets = [0, 16], shape = [16, 16]}}
  store %gy[0, 16], %d
  %e = concat %c, %c {{dim = 0}} : reg<{t}, [16, 8], local(2, 1) * spatial(8, 4) * local(1, 2)>
  store %gy[0, 0], %e
}}"""


@pytest.mark.parametrize("kind", ["f32", "f16", "u8"])
def test_slices_and_joins(kind: str) -> None:
    numpy: Any = {"f32": np.float32, "f16": np.float16, "u8": np.uint8}[kind]
    x = np.random.default_rng(0).integers(0, 99, (16, 32)).astype(numpy)
    found = agree(SLICES.format(t=kind), [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found[:, 16:], x[:, 16:])
    np.testing.assert_array_equal(found[:8, :8], x[8:, 8:16])


TWICE = """func @f(%x: *f32, %y: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [16, 32]>
  %gy = global_view %y : global<f32, [16, 24]>
  %a = load %gx[0, 0] : reg<f32, [16, 32], local(2, 4) * spatial(8, 4) * local(1, 2)>
  %b = slice %a {offsets = [0, 8], shape = [16, 8]}
  %c = slice %a {offsets = [0, 24], shape = [16, 8]}
  %d = slice %a {offsets = [0, 0], shape = [16, 16]}
  %e = concat %c, %d {dim = 1} : reg<f32, [16, 24], local(2, 3) * spatial(8, 4) * local(1, 2)>
  store %gy[0, 0], %e
  %f = sub %c, %b
  store %gy[0, 0], %f
}"""


def test_slices_of_one_shape_and_joins_of_different_ones() -> None:
    x = np.random.default_rng(0).normal(size=(16, 32)).astype(np.float32)
    found = agree(TWICE, [x, np.zeros((16, 24), np.float32)])[1]
    np.testing.assert_array_equal(found[:, :8], x[:, 24:] - x[:, 8:16])
    np.testing.assert_array_equal(found[:, 8:], x[:, :16])


JOINED = """func @f(%x: *{t}, %y: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [32, 32]>
  %gy = global_view %y : global<{t}, [32, 64]>
  %a = load %gx[0, 0] : reg<{t}, [32, 32], spatial(32, 1) * local(1, 32)>
  %b = repack %a : reg<{t}, [32, 32], spatial(32, 1) * local(1, 32), paired>
  %c = concat %{sides} {{dim = 1}} : reg<{t}, [32, 64], spatial(32, 1) * local(1, 64)>
  store %gy[0, 0], %c
}}"""


@pytest.mark.parametrize("sides", ["b, %b", "a, %b", "b, %a"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_packings_are_joined(bits: int, sides: str) -> None:
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (32, 32))
    x, y = pack_bits(codes.reshape(-1), bits), np.zeros(32 * 64 * bits // 8, np.uint8)
    found = agree(JOINED.format(t=f"u{bits}", sides=sides), [x, y])[1]
    joined = unpack_bits(found, bits, 32 * 64).reshape(32, 64)
    np.testing.assert_array_equal(joined, np.concatenate([codes, codes], 1))


CONVERT = """func @f(%x: *{t}, %y: *{t}) warps = 2 {{
  %gx = global_view %x : global<{t}, [16, 64]>
  %gy = global_view %y : global<{t}, [16, 64]>
  %a = load %gx[0, 0] : reg<{t}, [16, 64], {old}>
  %b = convert_layout %a : reg<{t}, [16, 64], {new}>
  %c = convert_layout %b : reg<{t}, [16, 64], spatial(16, 4) * local(1, 16)>
  store %gy[0, 0], %c
}}"""
PLACES = [
    "spatial(16, 4) * local(1, 16)",
    "local(2, 8) * spatial(8, 8)",
    "replicate(2) * local(8, 1) * spatial(2, 16) * local(1, 4)",
    "column_spatial(8, 8) * column_local(2, 8)",
]


@pytest.mark.parametrize("kind", ["f32", "f16", "u8", "i64", "u4", "u3"])
@pytest.mark.parametrize("old", PLACES)
@pytest.mark.parametrize("new", PLACES)
def test_conversions(kind: str, old: str, new: str) -> None:
    from tileloom.vm import dtype
    from tileloom.vm.dtypes.storage import pack_bits

    element = dtype(kind)
    codes = np.random.default_rng(0).integers(0, 1 << min(element.bits, 9), (16, 64))
    if element.bits < 8:
        x = pack_bits(codes.reshape(-1), element.bits)
    else:
        x = codes.astype(element.numpy)
    text = CONVERT.format(t=kind, old=old, new=new)
    if element.bits < 8 and old == PLACES[1]:
        pytest.skip("one element a thread shares its byte")
    found = agree(text, [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, x)


REPACK = """func @f(%x: *u4, %y: *u32, %z: *u4) warps = 1 {
  %gx = global_view %x : global<u4, [32, 16]>
  %gy = global_view %y : global<u32, [32, 2]>
  %gz = global_view %z : global<u4, [32, 16]>
  %a = load %gx[0, 0] : reg<u4, [32, 16], spatial(32, 1) * local(1, 16)>
  %b = repack %a : reg<u4, [32, 16], spatial(32, 1) * local(1, 16), paired>
  %c = view %b : reg<u32, [32, 2], spatial(32, 1) * local(1, 2)>
  store %gy[0, 0], %c
  %d = repack %b : reg<u4, [32, 16], spatial(32, 1) * local(1, 16)>
  store %gz[0, 0], %d
}"""


def test_repack() -> None:
    x = np.random.default_rng(0).integers(0, 256, 256).astype(np.uint8)
    found = agree(REPACK, [x, np.zeros((32, 2), np.uint32), np.zeros_like(x)])
    np.testing.assert_array_equal(found[2], x)
    assert not np.array_equal(found[1].view(np.uint8).reshape(-1), x)


BROADCAST = """func @f(%x: *{t}, %y: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [16, 1]>
  %gy = global_view %y : global<{t}, [16, 8]>
  %a = load %gx[0, 0] : reg<{t}, [16, 1]{layout}>
  %b = broadcast %a {{shape = [16, 8]}}{result}
  store %gy[0, 0], %b
}}"""


@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize(
    "layout", ["", ", spatial(16, 1) * replicate(2)", ", replicate(2) * spatial(16, 1)"]
)
@pytest.mark.parametrize("placed", [True, False])
def test_broadcast(kind: str, layout: str, placed: bool) -> None:
    numpy: Any = {"f32": np.float32, "f16": np.float16}[kind]
    result = f" : reg<{kind}, [16, 8], spatial(16, 2) * local(1, 4)>" if placed else ""
    x = np.arange(16).astype(numpy).reshape(16, 1)
    text = BROADCAST.format(t=kind, layout=layout, result=result)
    found = agree(text, [x, np.zeros((16, 8), numpy)])[1]
    np.testing.assert_array_equal(found, np.broadcast_to(x, (16, 8)))


CREATE = """func @f(%x: *{t}, %n: i32) warps = 2 {{
  %gx = global_view %x : global<{t}, [3, 16, 8]>
  %a = arange {{dim = 1, start = 3, step = -2}} : reg<{t}, [16, 8]>
  %b = arange {{dim = 0, start = 1}} : reg<{t}, [16, 8]>
  %c = mul %a, %b
  %d = reshape %c {{shape = [1, 16, 8]}}
  store %gx[0, 0, 0], %d
  %e = full {{fill = 3}} : reg<{t}, [1, 16, 8]>
  store %gx[1, 0, 0], %e
}}"""


@pytest.mark.parametrize("kind", ["f32", "i32", "f16", "i64"])
def test_created_tiles(kind: str) -> None:
    numpy: Any = {"f32": np.float32, "i32": np.int32, "f16": np.float16, "i64": np.int64}[kind]
    agree(CREATE.format(t=kind), [np.zeros((3, 16, 8), numpy), 4])


UNCHANGED = """func @f(%x: *u32, %y: *u32, %z: *u32) warps = 1 {{
  %gx = global_view %x : global<u32, [8, 4]>
  %gy = global_view %y : global<u32, [8, 4]>
  %gz = global_view %z : global<u32, [8, 4]>
  %a = load %gx[0, 0] : reg<u32, [8, 4]>
  %b = {op}
  %one = full {{fill = 5}} : reg<u32, [8, 4]>
  assign {target}, %one
  store %gy[0, 0], %a
  store %gz[0, 0], %b
}}"""


@pytest.mark.parametrize("target", ["%a", "%b"])
@pytest.mark.parametrize(
    "op", ["abs %a", "cast %a {dtype = u32}", "broadcast %a {shape = [8, 4]}", "max %a, 0"]
)
def test_operations_that_change_nothing_still_make_a_value(op: str, target: str) -> None:
    x = np.arange(32, dtype=np.uint32).reshape(8, 4)
    found = agree(UNCHANGED.format(op=op, target=target), [x, np.zeros_like(x), np.zeros_like(x)])
    np.testing.assert_array_equal(found[1 if target == "%b" else 2], x)


def test_a_reduction_of_one_element_makes_a_value() -> None:
    text = UNCHANGED.format(op="reduce %a {dim = 0}", target="%a").replace("[8, 4]", "[1, 32]")
    x = np.arange(32, dtype=np.uint32).reshape(1, 32)
    np.testing.assert_array_equal(agree(text, [x, np.zeros_like(x), np.zeros_like(x)])[2], x)
