"""Exchange of elements between lanes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom import vm
from tileloom.layouts import RegisterLayout, parse_layout, spatial
from tileloom.vm import dtype, parse
from tileloom.vm.diagnostics import ExecutionError, VMError
from tileloom.vm.dtypes import pack_bits, unpack_bits
from tileloom.vm.interpreter import run

SHUFFLE = """func @f(%x: *{t}, %y: *{t}, %z: *{t}) warps = 2 {{
  %gx = global_view %x : global<{t}, [{m}, 16]>
  %gy = global_view %y : global<{t}, [{m}, 16]>
  %gz = global_view %z : global<{t}, [{m}, 16]>
  %a = load %gx[0, 0] : reg<{t}, [{m}, 16], {layout}>
  %b = shuffle %a {{mode = {mode}, lane = {lane}, width = {width}}}
  {change}
  store %gy[0, 0], %b
  store %gz[0, 0], %a
}}"""
LAYOUTS = {
    "warp": (32, "spatial(32, 1) * local(1, 16)"),
    "warps": (32, "local(8, 1) * column_spatial(4, 16) * local(1, 1)"),
    "three": (12, "spatial(3, 2) * local(4, 8)"),
    "partial": (40, "spatial(40, 1) * local(1, 16)"),
    "replicas": (32, "replicate(2) * spatial(32, 1) * local(1, 16)"),
    "inner replicas": (16, "spatial(16, 1) * replicate(2) * local(1, 16)"),
}
MODES = [
    ("up", 1, 32), ("up", 3, 8), ("down", 2, 16), ("down", 5, 32), ("xor", 4, 32), ("xor", 3, 4),
    ("index", 0, 32), ("index", 5, 8), ("index", 17, 32), ("xor", 0, 1),
]  # fmt: skip


def meant(x: Any, layout: RegisterLayout, mode: str, lane: int, width: int) -> Any:
    """Thread by thread, from the definition."""
    out = x.copy()
    for thread in range(layout.num_threads):
        place, first = thread % width, thread - thread % width
        source = {"up": place - lane, "down": place + lane, "xor": place ^ lane, "index": lane}[
            mode
        ]
        if not 0 <= source < width or first + source >= layout.num_threads:
            source = place
        for local in range(layout.num_locals):
            out[layout(thread, local)] = x[layout(first + source, local)]
    return out


@pytest.mark.parametrize("layout", ["warp", "warps", "three", "partial"])
@pytest.mark.parametrize(("mode", "lane", "width"), MODES)
def test_layouts(layout: str, mode: str, lane: int, width: int) -> None:
    m, text = LAYOUTS[layout]
    x = np.arange(m * 16, dtype=np.int32).reshape(m, 16)
    program = SHUFFLE.format(
        t="i32", m=m, layout=text, mode=mode, lane=lane, width=width, change=""
    )
    found = agree(program, [x, np.zeros_like(x), np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, meant(x, parse_layout(text), mode, lane, width))


@pytest.mark.parametrize(
    ("layout", "mode", "lane", "width"),
    [
        ("replicas", "up", 3, 8),
        ("replicas", "index", 1, 32),
        ("inner replicas", "xor", 2, 32),
        ("inner replicas", "xor", 1, 2),
        ("inner replicas", "index", 6, 8),
    ],
)
def test_replicas(layout: str, mode: str, lane: int, width: int) -> None:
    m, text = LAYOUTS[layout]
    x = np.random.default_rng(0).normal(size=(m, 16)).astype(np.float32)
    program = SHUFFLE.format(
        t="f32", m=m, layout=text, mode=mode, lane=lane, width=width, change=""
    )
    found = agree(program, [x, np.zeros_like(x), np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, meant(x, parse_layout(text), mode, lane, width))


@pytest.mark.parametrize("kind", ["u3", "u4", "f16", "i64", "e4m3"])
def test_elements_of_any_width(kind: str) -> None:
    element = dtype(kind)
    codes = np.random.default_rng(0).integers(0, 1 << min(element.bits, 16), (32, 16))
    layout = LAYOUTS["warp"][1]
    program = SHUFFLE.format(t=kind, m=32, layout=layout, mode="down", lane=9, width=16, change="")
    if element.bits < 8:
        x: Any = pack_bits(codes, element.bits)
    else:
        x = codes.astype(element.code_dtype)
        x = x if element.numpy is None else x.view(element.numpy)
    found = agree(program, [x, np.zeros_like(x), np.zeros_like(x)])[1]
    if element.bits < 8:
        back = unpack_bits(found, element.bits, 512).reshape(32, 16)
    else:
        back = found.view(element.code_dtype)
    np.testing.assert_array_equal(back, meant(codes, parse_layout(layout), "down", 9, 16))


def test_truth_values() -> None:
    text = """func @f(%x: *i32, %y: *i32) warps = 1 {
  %gx = global_view %x : global<i32, [32, 3]>
  %gy = global_view %y : global<i32, [32, 3]>
  %a = load %gx[0, 0] : reg<i32, [32, 3], spatial(32, 1) * local(1, 3)>
  %p = lt %a, 40 : reg<bool, [32, 3], spatial(32, 1) * local(1, 3)>
  %q = shuffle %p {mode = xor, lane = 16}
  %b = cast %q {dtype = i32}
  store %gy[0, 0], %b
}"""
    x = np.random.default_rng(0).integers(0, 80, (32, 3)).astype(np.int32)
    found = agree(text, [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, np.roll(x, 16, axis=0) < 40)


@pytest.mark.parametrize("changed", ["%a", "%b"])
def test_later_mutation(changed: str) -> None:
    m, layout = LAYOUTS["warp"]
    change = f"%one = full {{fill = 7}} : reg<i32, [32, 16]>\n  assign {changed}, %one"
    program = SHUFFLE.format(
        t="i32", m=m, layout=layout, mode="xor", lane=0, width=32, change=change
    )
    x = np.arange(512, dtype=np.int32).reshape(32, 16)
    found = agree(program, [x, np.zeros_like(x), np.zeros_like(x)])
    np.testing.assert_array_equal(found[1], np.where(changed == "%b", np.int32(7), x))
    np.testing.assert_array_equal(found[2], np.where(changed == "%a", np.int32(7), x))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("mode = left", "`shuffle`: unknown mode `left`"),
        ("width = 12", "`shuffle`: `width` 12 is no power of two up to 32"),
        ("lane = 8, width = 8", "`shuffle`: `lane` 8 of groups of 8 lanes"),
        (
            "mode = down, lane = 1",
            "`shuffle`: threads 0 and 1 hold the same elements, but would get different ones",
        ),
    ],
)
def test_mistakes(attributes: str, message: str) -> None:
    type_ = "reg<i32, [16], spatial(16) * replicate(2)>"
    with pytest.raises(VMError) as caught:
        parse(
            f"func @f() warps = 1 {{\n  %a = full : {type_}\n  %b = shuffle %a {{{attributes}}}\n}}"
        )
    assert caught.value.message == message


def test_the_interpreter_needs_a_layout() -> None:
    text = "func @f() warps = 1 {\n  %a = full : reg<i32, [32]>\n  %b = shuffle %a\n}"
    with pytest.raises(ExecutionError, match="has no layout"):
        run(parse(text), [])


def test_from_python() -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32]) -> None:
        a = vm.load(vm.global_view(x, [32]), [0], (32,), spatial(32))
        vm.store(vm.global_view(y, [32]), [0], vm.shuffle(a, "up", 1))

    x = np.arange(32, dtype=np.float32)
    found = agree(f.trace(), [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, np.maximum(x - 1, 0))
