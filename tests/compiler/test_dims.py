"""Dropped and inserted dimensions of extent 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom import vm
from tileloom.layouts import local, spatial
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

# The result or its source is changed afterwards: the other must not see it.
PROGRAM = """func @f(%x: *{t}, %y: *{t}, %z: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [{source}]>
  %gy = global_view %y : global<{t}, [{source}]>
  %gz = global_view %z : global<{t}, [{out}]>
  %a = load %gx[{zeros}] : reg<{t}, [{source}]{layout}>
  %b = {op} %a{attrs}
  {change}
  store %gy[{zeros}], %a
  store %gz[{out_zeros}], %b
}}"""
OPERATIONS: list[tuple[str, str, tuple[int, ...], tuple[int, ...]]] = [
    ("squeeze", "", (1, 24, 1, 6), (24, 6)),
    ("squeeze", " {dims = [2]}", (1, 24, 1, 6), (1, 24, 6)),
    ("squeeze", " {dims = [2, 0]}", (1, 24, 1, 6), (24, 6)),
    ("squeeze", "", (1,), ()),
    ("squeeze", " {dims = []}", (3, 5), (3, 5)),
    ("unsqueeze", " {dims = [0, 3]}", (24, 6), (1, 24, 6, 1)),
    ("unsqueeze", " {dims = [1]}", (24, 6), (24, 1, 6)),
]


def program(
    op: str, attrs: str, source: tuple[int, ...], out: tuple[int, ...], layout: str, change: str
) -> str:
    return PROGRAM.format(
        t="i32",
        source=", ".join(map(str, source)),
        out=", ".join(map(str, out)),
        zeros=", ".join("0" for _ in source),
        out_zeros=", ".join("0" for _ in out),
        op=op,
        attrs=attrs,
        layout=layout,
        change=change,
    )


@pytest.mark.parametrize("changed", ["", "%a", "%b"])
@pytest.mark.parametrize(("op", "attrs", "source", "out"), OPERATIONS)
def test_shapes(
    op: str, attrs: str, source: tuple[int, ...], out: tuple[int, ...], changed: str
) -> None:
    change = ""
    if changed:
        shape = list(source if changed == "%a" else out)
        change = f"%five = full {{fill = 5}} : reg<i32, {shape}>\n  assign {changed}, %five"
    x = np.arange(np.prod(source), dtype=np.int32).reshape(source)
    text = program(op, attrs, source, out, "", change)
    found = agree(text, [x, np.zeros_like(x), np.zeros(out or (1,), np.int32)])
    five = np.int32(5)
    np.testing.assert_array_equal(found[1], np.where(changed == "%a", five, x))
    np.testing.assert_array_equal(found[2], np.where(changed == "%b", five, x.reshape(out or (1,))))


LAYOUTS = [
    "local(1, 3, 1, 2) * spatial(1, 8, 1, 3)",
    "replicate(2) * local(1, 6, 1, 1) * spatial(1, 4, 1, 1) * local(1, 1, 1, 6)",
    "column_spatial(1, 8, 1, 2) * local(1, 3, 1, 3)",
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["u3", "f16", "i64"])
def test_layouts_and_dtypes(kind: str, layout: str) -> None:
    text = """func @f(%x: *{t}, %z: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [1, 24, 1, 6]>
  %gz = global_view %z : global<{t}, [24, 6]>
  %a = load %gx[0, 0, 0, 0] : reg<{t}, [1, 24, 1, 6], {layout}>
  %b = squeeze %a
  %c = unsqueeze %b {{dims = [1]}}
  %d = squeeze %c {{dims = [1]}}
  %e = convert_layout %d : reg<{t}, [24, 6], spatial(6, 1) * local(4, 6)>
  store %gz[0, 0], %e
}}"""
    numpy: Any = {"u3": np.uint8, "f16": np.float16, "i64": np.int64}[kind]
    size = 24 * 6 * 3 // 8 if kind == "u3" else 24 * 6
    x = np.random.default_rng(1).integers(0, 200, size).astype(numpy)
    found = agree(text.format(t=kind, layout=layout), [x, np.zeros_like(x)])
    np.testing.assert_array_equal(found[1], x)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("squeeze %a {dims = [1]}", "`squeeze`: dimension 1 of [1, 4] has extent 4, not 1"),
        (
            "squeeze %a {dims = [2]}",
            "`squeeze`: [2] are no different dimensions of a tile of rank 2",
        ),
        (
            "unsqueeze %a {dims = [1, 1]}",
            "`unsqueeze`: [1, 1] are no different dimensions of a tile of rank 4",
        ),
        (
            "unsqueeze %a {dims = [3]}",
            "`unsqueeze`: [3] are no different dimensions of a tile of rank 3",
        ),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    with pytest.raises(VMError) as caught:
        parse(f"func @f() warps = 1 {{\n  %a = full : reg<i32, [1, 4]>\n  %b = {line}\n}}")
    assert caught.value.message == message


def test_from_python() -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32]) -> None:
        row = vm.load(vm.global_view(x, [1, 8]), [0, 0], (1, 8), spatial(1, 8) * local(1, 1))
        flat = vm.squeeze(row)
        vm.store(vm.global_view(y, [8, 1]), [0, 0], vm.unsqueeze(flat, [1]))

    agree(f.trace(), [np.arange(8, dtype=np.float32), np.zeros(8, np.float32)])
