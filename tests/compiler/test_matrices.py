"""Matrix fragments loaded from shared memory by `ldmatrix`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom.compiler import compile_function
from tileloom.layouts import swizzled
from tileloom.vm import parse

A16 = "column_local(2, 2) * spatial(8, 4) * local(1, 2)"
B16 = "local(2, 1) * column_spatial(4, 8) * local(2, 1)"
LOAD = """func @f(%x: *{t}, %y: *{t}, %n: i32) warps = {warps} {{
  assume %n >= 0 and %n % 16 == 0 and %n <= 32
  %gx = global_view %x : global<{t}, [64, 64]>
  %gy = global_view %y : global<{t}, [{shape}]>
  %s = alloc_shared : shared<{t}, [64, 64]{memory}>
  %a = load %gx[0, 0] : reg<{t}, [64, 64]>
  store %s[0, 0], %a
  barrier
  %b = load %s[16, %n] {{in_bounds = true{dims}}} : reg<{t}, [{shape}], {layout}>
  store %gy[0, 0], %b
}}"""
CASES = {
    "a": (A16, (16, 16), "", 1, "x4.shared"),
    "a tiles": (f"local(2, 2) * {A16}", (32, 32), "", 1, "x4.shared"),
    "a warps": (f"spatial(2, 2) * {A16}", (32, 32), "", 4, "x4.shared"),
    "b trans": (f"local(2, 2) * {B16}", (32, 16), "", 1, "x4.trans"),
    "b of its transpose": (B16, (16, 8), ", dims = [1, 0]", 1, "x2.shared"),
    "one transposed": ("column_spatial(4, 8) * local(2, 1)", (8, 8), "", 1, "x1.trans"),
    "half the threads": (A16, (16, 16), "", 2, "x4.shared"),
}


@pytest.mark.parametrize("kind", ["f16", "bf16"])
@pytest.mark.parametrize("swizzle", [False, True])
@pytest.mark.parametrize("name", sorted(CASES))
def test_fragments(name: str, swizzle: bool, kind: str) -> None:
    layout, shape, dims, warps, opcode = CASES[name]
    text = LOAD.format(
        t=kind,
        warps=warps,
        layout=layout,
        shape=", ".join(map(str, shape)),
        dims=dims,
        memory=f", {swizzled((64, 64), 16)}" if swizzle else "",
    )
    numpy: Any = np.float16 if kind == "f16" else np.uint16
    x = np.random.default_rng(0).integers(0, 99, (64, 64)).astype(numpy)
    agree(text, [x, np.zeros(shape, numpy), 32])
    assert f"ldmatrix.sync.aligned.m8n8.{opcode}" in compile_function(parse(text)).ptx


def test_bytes_and_words_too() -> None:
    for kind, layout, shape in [
        ("u8", "column_local(2, 2) * spatial(8, 4) * local(1, 4)", (16, 32)),
        ("f32", "column_local(2, 2) * spatial(8, 4)", (16, 8)),
    ]:
        text = LOAD.format(
            t=kind, warps=1, layout=layout, shape=f"{shape[0]}, {shape[1]}", dims="", memory=""
        )
        numpy: Any = {"u8": np.uint8, "f32": np.float32}[kind]
        x = np.random.default_rng(0).integers(0, 99, (64, 64)).astype(numpy)
        agree(text, [x, np.zeros(shape, numpy), 16])
        assert "ldmatrix.sync.aligned.m8n8.x4" in compile_function(parse(text)).ptx


@pytest.mark.parametrize(
    "change",
    [
        ("%n % 16", "%n % 4"),  # rows of 16 bytes that may start inside one
        ("in_bounds = true", "in_bounds = false"),  # masked elements
        (A16, "column_local(2, 2) * spatial(4, 8) * local(2, 1)"),  # no lane pattern
        (A16, "spatial(16, 2) * local(1, 8)"),  # one vector a thread
    ],
)
def test_other_loads_stay_plain(change: tuple[str, str]) -> None:
    text = LOAD.format(t="f16", warps=1, layout=A16, shape="16, 16", dims="", memory="")
    if change[0] == "in_bounds = true":
        text = text.replace("%n <= 32", "%n <= 64")
    text = text.replace(*change)
    assert "ldmatrix" not in compile_function(parse(text)).ptx
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float16)
    agree(text, [x, np.zeros((16, 16), np.float16), 16])
