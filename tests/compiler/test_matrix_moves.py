"""Explicit matrix loads and stores of shared tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.layouts import swizzled
from tileloom.vm import parse
from tileloom.vm.diagnostics import ExecutionError, LayoutMismatchError, VMError
from tileloom.vm.interpreter import run

A16 = "column_local(2, 2) * spatial(8, 4) * local(1, 2)"
B16 = "local(2, 1) * column_spatial(4, 8) * local(2, 1)"
MOVE = """func @f(%x: *{t}, %y: *{t}, %z: *{t}, %n: i32) warps = {warps} {{
  assume %n >= 0 and %n % 16 == 0
  %gx = global_view %x : global<{t}, [48, 64]>
  %gy = global_view %y : global<{t}, [{shape}]>
  %gz = global_view %z : global<{t}, [48, 64]>
  %s = alloc_shared : shared<{t}, [48, 64]{memory}>
  %u = alloc_shared : shared<{t}, [48, 64]{memory}>
  %a = load %gx[0, 0] : reg<{t}, [48, 64]>
  store %s[0, 0], %a
  store %u[0, 0], %a
  barrier
  %b = load_matrix %s[{row}, %n]{dims} : reg<{t}, [{shape}]{layout}>
  store %gy[0, 0], %b
  store_matrix %u[0, 0], %b{dims}
  barrier
  %c = load %u[0, 0] : reg<{t}, [48, 64]>
  store %gz[0, 0], %c
}}"""
# name: layout, shape, warps, dims along memory, elements
CASES: dict[str, tuple[str, tuple[int, int], int, str, str]] = {
    "a": (f", {A16}", (16, 16), 1, "", "f16"),
    "a tiles": (f", local(3, 2) * {A16}", (48, 32), 1, "", "f16"),
    "a warps": (f", spatial(3, 1) * local(1, 2) * {A16}", (48, 32), 4, "", "f16"),
    "replicas": (f", replicate(2) * local(3, 2) * {A16}", (48, 32), 2, "", "f16"),
    "b, transposed": (f", local(3, 2) * {B16}", (48, 16), 1, "", "f16"),
    "b of its transpose": (f", {B16}", (16, 8), 1, " {dims = [1, 0]}", "f16"),
    "bytes": (", column_local(2, 2) * spatial(8, 4) * local(1, 4)", (16, 32), 1, "", "u8"),
    "words": (", local(3, 1) * spatial(8, 4)", (24, 4), 1, "", "f32"),
    "inferred": ("", (48, 32), 3, "", "f16"),
    "inferred, copies": ("", (24, 16), 2, "", "f16"),
}
NUMPY: dict[str, Any] = {"f16": np.float16, "u8": np.uint8, "f32": np.float32}


@pytest.mark.parametrize("target", ["sm_90a", "sm_80"])
@pytest.mark.parametrize("swizzle", [False, True])
@pytest.mark.parametrize("name", sorted(CASES))
def test_moves(name: str, swizzle: bool, target: str) -> None:
    layout, shape, warps, dims, kind = CASES[name]
    bits = 8 * np.dtype(NUMPY[kind]).itemsize
    if swizzle and bits == 32:
        pytest.skip("rows of 64 words are two swizzled boxes")
    text = MOVE.format(
        t=kind,
        warps=warps,
        layout=layout,
        shape=", ".join(map(str, shape)),
        dims=dims,
        row=0 if shape[0] == 48 else 16,
        memory=f", {swizzled((48, 64), bits)}" if swizzle else "",
    )
    x = np.random.default_rng(0).integers(0, 99, (48, 64)).astype(NUMPY[kind])
    found = agree(text, [x, np.zeros(shape, x.dtype), np.zeros_like(x), 16], target)
    first = 0 if shape[0] == 48 else 16
    source = x.T[16:, first:].T if not dims else x[first:, 16:].T
    np.testing.assert_array_equal(found[1], source[: shape[0], : shape[1]])
    ptx = compile_function(parse(text), target).ptx
    assert "ldmatrix.sync" in ptx
    assert ("stmatrix.sync" in ptx) == (target == "sm_90a")


def moved_once() -> str:
    return MOVE.format(
        t="f16", warps=1, layout=f", {A16}", shape="16, 16", dims="", row=0, memory=""
    )


def test_later_mutation() -> None:
    layout = f", {A16}"
    text = moved_once()
    text = text.replace(
        "  store %gy",
        f"  %one = full {{fill = 1}} : reg<f16, [16, 16]{layout}>\n  assign %b, %one\n  store %gy",
    )
    x = np.random.default_rng(0).integers(0, 99, (48, 64)).astype(np.float16)
    found = agree(text, [x, np.zeros((16, 16), np.float16), np.zeros_like(x), 16])
    assert (found[1] == 1).all() and (found[2][:16, :16] == 1).all()


@pytest.mark.parametrize(
    ("change", "with_store"),
    [
        (("%n % 16", "%n % 4"), False),
        ((f", {A16}", ", column_local(2, 2) * spatial(4, 8) * local(2, 1)"), False),
        ((f", {A16}", ", spatial(16, 1) * local(1, 16)"), True),
    ],
)
def test_other_tiles_are_refused(change: tuple[str, str], with_store: bool) -> None:
    text = moved_once()
    text = text.replace(*change)
    name = "load_matrix"
    if with_store:
        name, text = "store_matrix", text.replace("%b = load_matrix", "%b = load")
    with pytest.raises(LayoutMismatchError) as caught:
        compile_function(parse(text))
    assert caught.value.message == (
        f"`{name}`: the tile is not made of whole matrices of 8 rows of 16 bytes, "
        "aligned to 16 bytes"
    )


def test_leaving_the_memory_is_an_error() -> None:
    text = moved_once()
    x = np.zeros((48, 64), np.float16)
    with pytest.raises(ExecutionError, match="leaves `%s` of shape"):
        run(parse(text), [x, np.zeros((16, 16), np.float16), x.copy(), 64])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "%r = load_matrix %g[0, 0] : reg<f16, [16, 16]>",
            "`load_matrix`: works on tiles in shared memory",
        ),
        (
            "%r = load_matrix %s[0, 0] : reg<f32, [16, 16]>",
            "`load_matrix`: the tile is `f32` but the memory is `f16`",
        ),
        (
            "store_matrix %q[0, 0], %t",
            "`store_matrix`: moves elements of 8, 16 or 32 bits, not `u4`",
        ),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    text = f"""func @f(%p: *f16) warps = 1 {{
  %g = global_view %p : global<f16, [16, 16]>
  %s = alloc_shared : shared<f16, [16, 16]>
  %q = alloc_shared : shared<u4, [16, 32]>
  %t = full : reg<u4, [16, 32]>
  {line}
}}"""
    with pytest.raises(VMError) as caught:
        parse(text)
    assert caught.value.message == message


def test_from_python() -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.f16], y: vm.Ptr[vm.f16]) -> None:
        s = vm.alloc_shared(vm.f16, (16, 16))
        vm.store(s, [0, 0], vm.load(vm.global_view(x, [16, 16]), [0, 0], (16, 16)))
        vm.barrier()
        a = vm.load_matrix(s, [0, 0], (16, 16))
        vm.barrier()
        vm.store_matrix(s, [0, 0], a + a)
        vm.barrier()
        vm.store(vm.global_view(y, [16, 16]), [0, 0], vm.load(s, [0, 0], (16, 16)))

    x = np.arange(256, dtype=np.float16).reshape(16, 16)
    np.testing.assert_array_equal(agree(f.trace(), [x, np.zeros_like(x)])[1], x + x)
