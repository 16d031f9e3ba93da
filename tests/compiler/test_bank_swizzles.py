"""Shared tiles: the layouts that the compiler chooses, and accesses of layouts of many digits."""

from __future__ import annotations

import random
import re
from math import prod

import numpy as np
import pytest
from execution import agree
from test_drawn import drawn_layout

from tileloom.compiler import Lowered, compile_function
from tileloom.layouts import MemoryLayout, Swizzle, swizzled
from tileloom.layouts.memory_layout import Digit
from tileloom.runtime.inspect.accesses import SharedAccess, shared_accesses
from tileloom.vm import parse
from tileloom.vm.ir import instructions
from tileloom.vm.types import SharedType

PRODUCT = """func @f(%x: *f16, %y: *f16, %z: *f32) warps = 1 {{
  %gx = global_view %x : global<f16, [16, {k}]>
  %gy = global_view %y : global<f16, [{k}, 32]>
  %gz = global_view %z : global<f32, [16, 32]>
  %a = alloc_shared : shared<f16, [16, {k}]{layout}>
  %b = alloc_shared : shared<f16, [{k}, 32]>
  %acc = full : reg<f32, [16, 32]>
  {fill}
  barrier
  %p = load %a[0, 0] : reg<f16, [16, {k}]>
  %q = load %b[0, 0] : reg<f16, [{k}, 32]>
  mma %acc, %p, %q
  store %gz[0, 0], %acc
}}"""
COPIES = """copy_async %a[0, 0], %gx[0, 0] {{shape = [16, {k}]}}
  copy_async %b[0, 0], %gy[0, 0] {{shape = [{k}, 32]}}
  copy_async_commit
  copy_async_wait"""
STORES = """%u = load %gx[0, 0] : reg<f16, [16, {k}]>
  %v = load %gy[0, 0] : reg<f16, [{k}, 32]>
  store %a[0, 0], %u
  store %b[0, 0], %v"""


def product(k: int, fill: str = STORES, layout: str = "") -> str:
    return PRODUCT.format(k=k, layout=layout, fill=fill.format(k=k))


def tiles(lowered: Lowered) -> list[MemoryLayout | None]:
    results = [i.result for i in instructions(lowered.function.body)]
    return [r.type.layout for r in results if r is not None and isinstance(r.type, SharedType)]


def accesses(lowered: Lowered) -> list[SharedAccess]:
    return shared_accesses(lowered.ptx, lowered.kernel_name, lowered.num_threads)


@pytest.mark.parametrize("k", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("fill", [STORES, COPIES])
def test_products_wait_for_no_bank(k: int, fill: str) -> None:
    text = product(k, fill)
    lowered = compile_function(parse(text))
    assert not any(access.is_conflicting for access in accesses(lowered))
    assert "ldmatrix" in lowered.ptx and "swizzle" in str(tiles(lowered)[0])
    draw = np.random.default_rng(k)
    x, y = (draw.integers(-3, 4, shape).astype(np.float16) for shape in ((16, k), (k, 32)))
    *_, z = agree(text, [x, y, np.zeros((16, 32), np.float32)])
    np.testing.assert_array_equal(z, x.astype(np.float32) @ y.astype(np.float32))


def test_what_the_program_states_stays() -> None:
    lowered = compile_function(parse(product(64, layout=", row_major(16, 64)")))
    stated, chosen = tiles(lowered)
    assert str(stated) == "row_major(16, 64)" and "swizzle" in str(chosen)
    assert any(access.is_conflicting for access in accesses(lowered))


def test_it_is_a_stage_of_its_own() -> None:
    stages = compile_function(parse(product(64)), keep_stages=True).stages
    assert list(stages) == ["source", "layouts", "shared", "ptx"]
    assert "swizzle" in stages["shared"] and "swizzle" not in stages["layouts"]


def test_what_has_no_conflicts_stays() -> None:
    text = """func @f(%x: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [32, 32]>
  %s = alloc_shared : shared<f32, [32, 32]>
  %a = load %gx[0, 0] : reg<f32, [32, 32]>
  store %s[0, 0], %a
  barrier
  %b = load %s[0, 0] : reg<f32, [32, 32], local(32, 1) * spatial(1, 32)>
  store %gx[0, 0], %b
}"""
    assert tiles(compile_function(parse(text))) == [None]


def test_tiles_that_others_see_stay() -> None:
    """The addresses of an atomic are its own business."""
    text = product(64).replace("barrier", "barrier\n  atomic %a[0, 0], %u {op = add}")
    text = text.replace("store %a[0, 0], %u\n", "")
    first, second = tiles(compile_function(parse(text)))
    assert first is None and second is not None


def drawn_memory(shape: tuple[int, int], draw: random.Random) -> MemoryLayout:
    """Digits of both dimensions in any order, perhaps swizzled."""
    digits: list[tuple[int, int]] = []
    for dim, extent in enumerate(shape):
        while extent > 1:
            factor = draw.choice([f for f in (2, 4, 8, 3, 5) if extent % f == 0])
            digits.append((dim, factor))
            extent //= factor
    strides, span = [0] * len(digits), 1
    for number in draw.sample(range(len(digits)), len(digits)):
        strides[number] = span
        span *= digits[number][1]
    by_dim = tuple(
        tuple(Digit(n, strides[i]) for i, (d, n) in enumerate(digits) if d == dim)
        for dim in range(2)
    )
    swizzle = draw.choice([None, Swizzle(2, 4, 3), Swizzle(3, 4, 3), Swizzle(1, 4, 5)])
    return MemoryLayout(shape, by_dim, swizzle if prod(shape) % 128 == 0 else None)


@pytest.mark.parametrize("seed", range(60))
def test_drawn_memory_layouts(seed: int) -> None:
    """Stored under one register layout, loaded under another, at run-time places."""
    draw = random.Random(seed)
    shape = (draw.choice([8, 16, 32, 12]), draw.choice([16, 32, 64, 24]))
    kind, numpy = draw.choice([("f16", np.float16), ("f32", np.float32), ("u8", np.uint8)])
    first, second = (drawn_layout(shape, 64, draw) for _ in range(2))
    half = (shape[0] // 2, shape[1])
    text = f"""func @f(%x: *{kind}, %y: *{kind}, %z: *{kind}, %i: i32) warps = 2 {{
  %gx = global_view %x : global<{kind}, {list(shape)}>
  %gy = global_view %y : global<{kind}, {list(shape)}>
  %gz = global_view %z : global<{kind}, {list(half)}>
  %s = alloc_shared : shared<{kind}, {list(shape)}, {drawn_memory(shape, draw)}>
  %a = load %gx[0, 0] : reg<{kind}, {list(shape)}, {first}>
  store %s[0, 0], %a
  barrier
  %b = load %s[0, 0] : reg<{kind}, {list(shape)}, {second}>
  store %gy[0, 0], %b
  %c = load %s[%i, %i - 3] : reg<{kind}, {list(half)}>
  store %gz[0, 0], %c
}}"""
    x = np.random.default_rng(seed).integers(0, 100, shape).astype(numpy)
    agree(text, [x, np.zeros_like(x), np.zeros(half, numpy), draw.randrange(0, 7)], checks=False)


def test_boxes_are_accessed_in_vectors() -> None:
    """A swizzled tile of two boxes: its columns are two digits."""
    layout = swizzled([64, 128], 16)
    text = f"""func @f(%x: *f16, %y: *f16) warps = 4 {{
  %gx = global_view %x : global<f16, [64, 128]>
  %gy = global_view %y : global<f16, [64, 128]>
  %s = alloc_shared : shared<f16, [64, 128], {layout}>
  %a = load %gx[0, 0] : reg<f16, [64, 128], local(8, 1) * spatial(8, 16) * local(1, 8)>
  store %s[0, 0], %a
  barrier
  %b = load %s[0, 0] : reg<f16, [64, 128], spatial(64, 2) * local(1, 64)>
  store %gy[0, 0], %b
}}"""
    opcodes = re.findall(r"\b(?:ld|st)\.shared[\w.]*", compile_function(parse(text)).ptx)
    assert opcodes == ["st.shared.v4.b32"] * 8 + ["ld.shared.v4.b32"] * 8
