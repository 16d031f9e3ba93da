"""Loads, stores and asynchronous copies: masks, strides, sub-byte elements, vector widths."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from execution import agree, emulate

from tileloom.compiler import compile_function
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

COPY = """func @f(%x: *{t}, %y: *{t}, %m: i32, %n: i32, %i: i32, %j: i32) warps = {warps} {{
  {assume}
  %gx = global_view %x : global<{t}, [%m, %n]>
  %gy = global_view %y : global<{t}, [16, 32]>
  %a = load %gx[%i, %j] : reg<{t}, [16, 32]{layout}>
  store %gy[0, 0], %a
}}"""
LAYOUTS = [
    "",
    ", local(2, 1) * spatial(8, 4) * local(1, 8)",
    ", column_local(2, 2) * spatial(8, 4) * local(1, 4)",
    ", local(4, 1) * column_spatial(4, 8) * local(1, 4)",
    ", spatial(16, 1) * local(1, 32)",
]
KINDS: dict[str, Any] = {
    "f32": np.float32, "f16": np.float16, "u8": np.uint8, "i64": np.int64, "f64": np.float64,
}  # fmt: skip


def copied(text: str, kind: str, m: int, n: int, i: int, j: int) -> None:
    rng = np.random.default_rng(m * n)
    x = rng.integers(0, 100, (m, n)).astype(KINDS[kind])
    y = np.full((16, 32), 77, KINDS[kind])
    found = agree(text, [x, y, m, n, i, j])[1]
    padded = np.zeros((m + 200, n + 200), KINDS[kind])
    padded[100 : 100 + m, 100 : 100 + n] = x
    np.testing.assert_array_equal(found, padded[100 + i : 116 + i, 100 + j : 132 + j])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    ("m", "n", "i", "j"), [(16, 32, 0, 0), (40, 72, 7, 11), (20, 35, 10, 15), (9, 40, -3, -5)]
)
def test_masked_loads(kind: str, layout: str, m: int, n: int, i: int, j: int) -> None:
    copied(COPY.format(t=kind, warps=1, layout=layout, assume=""), kind, m, n, i, j)


@pytest.mark.parametrize("warps", [2, 4])
def test_more_threads_than_the_layout(warps: int) -> None:
    copied(COPY.format(t="f32", warps=warps, layout=LAYOUTS[1], assume=""), "f32", 20, 35, 3, 4)


def widths(text: str, opcode: str) -> set[str]:
    """The widths of the loads or stores in the PTX of a program."""
    ptx = compile_function(parse(text)).ptx
    return set(re.findall(rf"{opcode}\.global(?:\.L1::no_allocate)?\.(\S+) ", ptx))


@pytest.mark.parametrize(
    ("alignment", "width"), [(2, "u16"), (4, "b32"), (8, "v2.b32"), (16, "v4.b32")]
)
def test_accesses_are_no_wider_than_pointers_are_aligned(alignment: int, width: str) -> None:
    text = f"""func @f(%x: *f16) warps = 1 {{
  %g = global_view %x {{alignment = {alignment}}} : global<f16, [32, 8]>
  %a = load %g[0, 0] : reg<f16, [32, 8], spatial(32, 1) * local(1, 8)>
  store %g[0, 0], %a
}}"""
    assert widths(text, "ld") == widths(text, "st") == {width}


TOGETHER = """func @f(%x: *f32, %y: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [2, 64]>
  %gy = global_view %y : global<f32, [2, 64]>
  %s = alloc_shared : shared<f32, [1, 64]>
  %u = alloc_shared : shared<f32, [1, 64]>
  %a = load %gx[0, 0] : reg<f32, [1, 64]>
  store %s[0, 0], %a
  %b = load %gx[1, 0] : reg<f32, [1, 64]>
  store %u[0, 0], %b
  barrier
  %c = load %s[0, 0] : reg<f32, [1, 64]>
  store %gy[0, 0], %c
  free_shared %s
  %d = load %u[0, 0] : reg<f32, [1, 64]>
  store %gy[1, 0], %d
}"""


def test_tiles_that_live_together_lie_apart() -> None:
    x = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    np.testing.assert_array_equal(agree(TOGETHER, [x, np.zeros_like(x)])[1], x)


SWIZZLED = """func @f(%x: *f32, %y: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [8, 32]>
  %gy = global_view %y : global<f32, [8, 32]>
  %s = alloc_shared : shared<f32, [8, 32], LAYOUT>
  %a = load %gx[0, 0] : reg<f32, [8, 32], local(8, 1) * spatial(1, 32)>
  store %s[0, 0], %a
  barrier
  %b = load %s[5, 0] {dims = [0, 1]} : reg<f32, [1, 32], local(1, 32)>
  store %gy[0, 0], %b
}"""


def test_places_known_at_compile_time_are_swizzled() -> None:
    from tileloom.layouts import swizzled

    x = np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32)
    text = SWIZZLED.replace("LAYOUT", str(swizzled((8, 32), 32)))
    found = agree(text, [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found[0], x[5])


def test_facts_make_vectors() -> None:
    fact = "assume %n % 8 == 0 and %j % 8 == 0 and %i >= 0 and %j >= 0"
    text = COPY.format(t="f16", warps=1, layout=LAYOUTS[1], assume=fact)
    assert widths(text, "ld") == {"v4.b32"}
    assert widths(text, "st") == {"v4.b32"}
    copied(text, "f16", 20, 40, 4, 16)
    fact = fact.replace("%n % 8", "%n % 4")
    assert widths(COPY.format(t="f16", warps=1, layout=LAYOUTS[1], assume=fact), "ld") == {"v2.b32"}
    assert widths(COPY.format(t="f16", warps=1, layout=LAYOUTS[1], assume=""), "ld") == {"u16"}


IN_LOOP = """func @f(%x: *f16, %y: *f32, %n: i32) warps = 4 {
  assume %n % 64 == 0
  %gx = global_view %x : global<f16, [128, %n]>
  %gy = global_view %y : global<f32, [128, 64]>
  %sum = full {fill = 0.0} : reg<f32, [128, 64], local(4, 2) * spatial(32, 4) * local(1, 8)>
  for %k in 0 to %n step 64 {
    %a = load %gx[0, %k] : reg<f16, [128, 64]>
    %b = cast %a {dtype = f32}
    %c = add %sum, %b
    assign %sum, %c
  }
  store %gy[0, 0], %sum
}"""


def test_addresses_in_loops_cost_one_instruction_a_tile() -> None:
    """Bounds are proven, and each distinct row step of the tile has one base: 4 additions."""
    ptx = compile_function(parse(IN_LOOP)).ptx
    body = ptx[ptx.index("$loop") : ptx.rindex("bra $loop")]
    assert body.count("ld.global.v4.b32") == 8
    assert "setp" not in body.replace("setp.lt.s32 %p", "", 1)
    assert len(re.findall(r"mad\.wide|add\.s64|mad\.lo\.s64|mul\.wide", body)) == 4
    x = np.random.default_rng(0).normal(size=(128, 192)).astype(np.float16)
    agree(IN_LOOP, [x, np.zeros((128, 64), np.float32), 192])


SUBBYTE = """func @f(%x: *{t}, %y: *{t}, %n: i32) warps = 1 {{
  {assume}
  %gx = global_view %x : global<{t}, [8, %n]>
  %gy = global_view %y : global<{t}, [8, 64]>
  %a = load %gx[0, 0] : reg<{t}, [8, 64], {layout}>
  %b = convert_layout %a : reg<{t}, [8, 64], spatial(8, 4) * local(1, 16)>
  store %gy[0, 0], %b
}}"""


def packed(codes: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    from tileloom.vm.dtypes.storage import pack_bits

    return np.concatenate([pack_bits(codes.reshape(-1), bits), np.zeros(0, np.uint8)])


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("n", [64, 80, 67])
@pytest.mark.parametrize("layout", ["spatial(8, 4) * local(1, 16)", "local(8, 2) * spatial(1, 32)"])
def test_subbyte_loads(bits: int, n: int, layout: str) -> None:
    """Rows of 67 elements begin inside a byte; 80 and 64 are known only at run time."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 1 << bits, (8, n)).astype(np.uint8)
    text = SUBBYTE.format(t=f"u{bits}", layout=layout, assume="")
    agree(text, [packed(codes, bits), np.zeros(8 * bits * 8, np.uint8), n])
    text = SUBBYTE.format(t=f"u{bits}", layout=layout, assume=f"assume %n % {n & -n} == 0")
    found = agree(text, [packed(codes, bits), np.zeros(8 * bits * 8, np.uint8), n])[1]
    np.testing.assert_array_equal(found, packed(codes[:, :64], bits))


def test_a_store_that_shares_bytes_is_an_error() -> None:
    text = COPY.format(t="u4", warps=1, layout=", local(16, 1) * spatial(1, 32)", assume="")
    with pytest.raises(VMError, match="share bytes between threads") as caught:
        compile_function(parse(text))
    assert caught.value.location is not None


STRIDED = """func @f(%x: *f32, %y: *f32, %s: i32) warps = 1 {
  %gx = global_view %x : global<f32, [4, 8, 8], strides = [%s, 1, 8]>
  %gy = global_view %y : global<f32, [8, 4, 8]>
  %a = load %gx[1, 0, 0] {dims = [1, 0, 2]} : reg<f32, [8, 2, 8]>
  store %gy[0, 1, 0], %a
  %b = load %gx[0, 0, 2] {dims = [0, 1]} : reg<f32, [4, 8]>
  %c = reshape %b {shape = [4, 1, 8]}
  store %gy[4, 3, 0], %c
}"""


def test_strides_and_dims() -> None:
    x = np.random.default_rng(0).normal(size=400).astype(np.float32)
    agree(STRIDED, [x, np.zeros((8, 4, 8), np.float32), 70])


SHARED = """func @f(%x: *{t}, %y: *{t}) warps = 2 {{
  %gx = global_view %x : global<{t}, [32, 64]>
  %gy = global_view %y : global<{t}, [64, 32]>
  %s = alloc_shared : shared<{t}, [32, 64]{layout}>
  %a = load %gx[0, 0] : reg<{t}, [32, 64]>
  store %s[0, 0], %a
  barrier
  %b = load %s[0, 16] : reg<{t}, [32, 32], local(1, 2) * column_spatial(4, 16) * local(8, 1)>
  %c = transpose %b
  store %gy[16, 0], %c
  free_shared %s
  %u = alloc_shared : shared<{t}, [64, 32]>
  store %u[16, 0], %c
  barrier
  %d = load %u[16, 0] : reg<{t}, [16, 32]>
  store %gy[0, 0], %d
}}"""


@pytest.mark.parametrize("kind", ["f32", "f16", "u8"])
@pytest.mark.parametrize(
    "layout",
    ["", ", strided([32, 64], [72, 1])", ", SWIZZLED"],
)
def test_shared_tiles(kind: str, layout: str) -> None:
    from tileloom.layouts import swizzled

    bits = np.dtype(KINDS[kind]).itemsize * 8
    layout = layout.replace("SWIZZLED", str(swizzled((32, 64), bits)))
    x = np.random.default_rng(0).integers(0, 99, (32, 64)).astype(KINDS[kind])
    agree(SHARED.format(t=kind, layout=layout), [x, np.zeros((64, 32), KINDS[kind])])


ASYNC = """func @f(%x: *{t}, %y: *{t}, %m: i32, %n: i32) warps = 2 {{
  assume %n % {divisor} == 0
  %gx = global_view %x : global<{t}, [%m, %n]>
  %gy = global_view %y : global<{t}, [2, 16, 64]>
  %s = alloc_shared : shared<{t}, [2, 16, 64]>
  copy_async %s[0, 0, 0], %gx[0, 0] {{shape = [16, 64]}}
  copy_async_commit
  copy_async %s[1, 0, 0], %gx[8, 32] {{shape = [16, 64]}}
  copy_async_commit
  copy_async_wait {{pending = 0}}
  barrier
  %b = load %s[0, 0, 0] : reg<{t}, [2, 16, 64]>
  store %gy[0, 0, 0], %b
}}"""


@pytest.mark.parametrize("kind", ["f32", "f16", "u8"])
@pytest.mark.parametrize(
    ("m", "n", "divisor"), [(24, 96, 32), (12, 50, 1), (12, 50, 2), (9, 40, 8)]
)
def test_asynchronous_copies(kind: str, m: int, n: int, divisor: int) -> None:
    x = np.random.default_rng(0).integers(1, 99, (m, n)).astype(KINDS[kind])
    text = ASYNC.format(t=kind, divisor=divisor)
    agree(text, [x, np.zeros((2, 16, 64), KINDS[kind]), m, n])


def test_too_much_shared_memory_is_an_error_with_the_tiles() -> None:
    text = """func @f() warps = 1 {
  %s = alloc_shared : shared<f32, [200, 128]>
  %u = alloc_shared : shared<f32, [256, 128]>
}"""
    with pytest.raises(VMError) as caught:
        compile_function(parse(text))
    assert caught.value.message == ("`@f` needs 233472 bytes of shared memory, `sm_90a` has 232448")
    assert [note for note, _ in caught.value.notes] == [
        "`%s` takes 102400 bytes",
        "`%u` takes 131072 bytes",
    ]
    assert compile_function(parse(text.replace("256, 128", "250, 128"))).shared_bytes == 230400


def test_freed_shared_memory_is_used_again() -> None:
    lowered = emulate(
        SHARED.format(t="f32", layout=""), [np.zeros((32, 64), "f4"), np.zeros((64, 32), "f4")]
    )
    assert lowered.shared_bytes == 32 * 64 * 4


IN_TURNS = """func @f(%x: *f32, %y: *f32, %n: i32) warps = 4 {
  %gx = global_view %x : global<f32, [%n, 128]>
  %gy = global_view %y : global<f32, [%n, 128]>
  for %i in 0 to %n {
    %s = alloc_shared : shared<f32, [1, 128]>
    %a = load %gx[%i, 0] : reg<f32, [1, 128], spatial(1, 128)>
    store %s[0, 0], %a
    barrier
    %b = load %s[0, 0] : reg<f32, [1, 128], column_spatial(1, 32) * local(1, 4)>
    %c = convert_layout %b : reg<f32, [1, 128], local(1, 32) * spatial(1, 4)>
    store %gy[%i, 0], %c
    free_shared %s
  }
}"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_tile_allocated_in_a_loop_waits_for_its_readers(seed: int) -> None:
    x = np.random.default_rng(0).normal(size=(6, 128)).astype(np.float32)
    y = np.zeros_like(x)
    emulate(IN_TURNS, [x, y, 6], seed=seed)
    np.testing.assert_array_equal(y, x)


def test_asynchronous_copies_of_parts_of_bytes_are_refused() -> None:
    """A row may end in the middle of a byte, whose other half a copy would lose."""
    text = """func @f(%x: *u4, %n: i64) warps = 1 {
  %g = global_view %x : global<u4, [3, %n], strides = [16, 1]>
  %s = alloc_shared : shared<u4, [3, 16]>
  copy_async %s[0, 0], %g[0, 0] {shape = [3, 16]}
}"""
    with pytest.raises(VMError, match="elements of one byte"):
        compile_function(parse(text))
    compile_function(parse(text.replace("  %g", "  assume %n % 2 == 0\n  %g", 1)))
