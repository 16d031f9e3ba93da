"""Products of warp groups: every type, shape and place of the operands, against the interpreter and
numpy; what is emitted; and what can't be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import PTXAS, agree, assemble, emulate

from tileloom.compiler import compile_function
from tileloom.layouts import fragments, matrix_operand
from tileloom.vm import dtype, parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.ir import instructions
from tileloom.vm.types import RegType, SharedType

DTYPES = [
    ("f16", "f16", "f32"), ("f16", "f16", "f16"), ("bf16", "bf16", "f32"), ("tf32", "tf32", "f32"),
    ("e4m3", "e4m3", "f32"), ("e5m2", "e4m3", "f32"), ("e4m3", "e5m2", "f16"),
    ("i8", "i8", "i32"), ("u8", "i8", "i32"), ("i8", "u8", "i32"), ("u8", "u8", "i32"),
]  # fmt: skip
PROGRAM = """func @f(%x: *{a}, %w: *{b}, %y: *{d}) warps = {warps} {{
  %gx = global_view %x : global<{a}, [{m}, {k}]>
  %gw = global_view %w : global<{b}, [{k}, {n}]>
  %gy = global_view %y : global<{d}, [{m}, {n}]>
  %p = load %gx[0, 0] : reg<{a}, [{m}, {k}]>
  %q = load %gw[0, 0] : reg<{b}, [{k}, {n}]>
  {left}
  %b = alloc_shared : shared<{b}, [{k}, {n}]{right}>
  store %b[0, 0], %q
  fence_proxy_async
  barrier
  %acc = full {{fill = {fill}}} : reg<{d}, [{m}, {n}]{layout}>
  wgmma %acc, {a_from}, %b[0, 0]
  wgmma_commit
  wgmma_wait
  store %gy[0, 0], %acc
}}"""
IN_SHARED = """%a = alloc_shared : shared<{a}, [{m}, {k}]{of_left}>
  store %a[0, 0], %p"""


def program(
    kinds: tuple[str, str, str],
    m: int,
    n: int,
    k: int,
    in_registers: bool,
    right: str = "",
    layout: str = "",
    of_left: str = "",
) -> str:
    a, b, d = kinds
    left = "" if in_registers else IN_SHARED.format(a=a, m=m, k=k, of_left=of_left)
    return PROGRAM.format(
        a=a, b=b, d=d, m=m, n=n, k=k, left=left, right=right, layout=layout,
        warps=4 * max(1, min(2, m // 64)), fill="3" if d == "i32" else "3.0",
        a_from="%p" if in_registers else "%a[0, 0]",
    )  # fmt: skip


def numbers(kind: str, shape: tuple[int, ...], seed: int) -> Any:
    """Small whole numbers as stored: exact in every type, and so are their sums."""
    low = 0 if kind.startswith("u") else -2
    values = np.random.default_rng(seed).integers(low, 3, shape)
    type_ = dtype(kind)
    if kind == "tf32":
        return values.astype(np.float32)
    return values.astype(type_.numpy) if type_.numpy is not None else type_.encode(values)


def check(text: str, kinds: tuple[str, str, str], m: int, n: int, k: int) -> None:
    a, b = numbers(kinds[0], (m, k), 0), numbers(kinds[1], (k, n), 1)
    kind: Any = dtype(kinds[2]).numpy
    found = agree(text, [a, b, np.zeros((m, n), kind)])[-1]
    x, w = (
        c.astype(np.float64) if t == "tf32" or dtype(t).numpy is not None else dtype(t).decode(c)
        for c, t in ((a, kinds[0]), (b, kinds[1]))
    )
    np.testing.assert_array_equal(found, (x @ w + 3).astype(kind))


@pytest.mark.parametrize("in_registers", [False, True], ids=["shared", "registers"])
@pytest.mark.parametrize("kinds", DTYPES, ids=lambda kinds: "-".join(kinds))
def test_every_type(kinds: tuple[str, str, str], in_registers: bool, tmp_path: Path) -> None:
    text = program(kinds, 64, 32, 64, in_registers)
    check(text, kinds, 64, 32, 64)
    said = assemble(compile_function(parse(text)).ptx, "sm_90a", tmp_path)
    assert "C75" not in said, said


@pytest.mark.parametrize("kinds", [("f16", "f16", "f32"), ("i8", "i8", "i32")])
@pytest.mark.parametrize("n", [8, 24, 40, 96, 256, 264, 320, 512])
def test_every_width(n: int, kinds: tuple[str, str, str]) -> None:
    """Wider tiles than an instruction are several, and so are widths that integers lack."""
    check(program(kinds, 64, n, 32, False), kinds, 64, n, 32)


@pytest.mark.parametrize("in_registers", [False, True], ids=["shared", "registers"])
@pytest.mark.parametrize(
    ("m", "n", "layout"),
    [
        (128, 16, ""),
        (256, 24, ""),
        (192, 16, ""),
        (128, 32, ", local(2, 1) * spatial(1, 2) * spatial(4, 1) * local(1, 2) * {c}"),
        (256, 16, ", local(2, 1) * spatial(2, 1) * spatial(4, 1) * local(1, 2) * {c}"),
        (128, 32, ", local(1, 2) * spatial(2, 1) * spatial(4, 1) * local(1, 2) * {c}"),
        (128, 16, ", replicate(2) * local(2, 1) * spatial(4, 1) * local(1, 2) * {c}"),
    ],
)
def test_several_warp_groups(m: int, n: int, layout: str, in_registers: bool) -> None:
    kinds = ("f16", "f16", "f32")
    layout = layout.format(c=fragments.MMA_C)
    check(program(kinds, m, n, 32, in_registers, layout=layout), kinds, m, n, 32)


LAYOUTS = {
    "k-major": lambda rows, columns: matrix_operand(columns, rows, 16).permute(1, 0),
    "n-major": lambda rows, columns: matrix_operand(columns, rows, 16, True).permute(1, 0),
}


@pytest.mark.parametrize("n", [16, 24, 32, 64, 128])
@pytest.mark.parametrize("right", LAYOUTS)
def test_majors_of_b(right: str, n: int) -> None:
    layout = f", {LAYOUTS[right](64, n)}"
    kinds = ("bf16", "bf16", "f32")
    text = program(kinds, 64, n, 64, False, right=layout)
    check(text, kinds, 64, n, 64)
    last = {"k-major": "0;", "n-major": "1;"}[right]
    lines = [x for x in compile_function(parse(text)).ptx.splitlines() if "mma_async" in x]
    assert lines and all(line.endswith(last) for line in lines)


@pytest.mark.parametrize("k", [16, 32, 64, 128])
def test_majors_of_a(k: int) -> None:
    """Rows of 32, 64 and 128 bytes, and the other major."""
    kinds = ("f16", "f16", "f32")
    for mn_major in (False, True):
        layout = f", {matrix_operand(64, k, 16, mn_major)}"
        text = program(kinds, 64, 16, k, False, of_left=layout)
        check(text, kinds, 64, 16, k)
        assert f", 1, 1, {int(mn_major)}, " in compile_function(parse(text)).ptx


CORE_MATRICES = (
    "memory(shape=[64, 32], digits=[[8, 8], [4, 8]], strides=[[64, 8], [512, 1]], start=0)"
)


def test_operands_without_swizzle() -> None:
    kinds = ("f16", "f16", "f32")
    transposed = CORE_MATRICES.replace("64, 32", "32, 64").replace(
        "[[8, 8], [4, 8]], strides=[[64, 8], [512, 1]]",
        "[[4, 8], [8, 8]], strides=[[512, 1], [64, 8]]",
    )
    text = program(kinds, 64, 64, 32, False, right=f", {transposed}", of_left=f", {CORE_MATRICES}")
    check(text, kinds, 64, 64, 32)


RING = """func @f(%x: *f16, %w: *f16, %y: *f32, %n: i32) warps = 4 {
  %gx = global_view %x : global<f16, [64, %n * 32]>
  %gw = global_view %w : global<f16, [%n * 32, 64]>
  %gy = global_view %y : global<f32, [64, 64]>
  %a = alloc_shared : shared<f16, [3, 64, 32]>
  %b = alloc_shared : shared<f16, [3, 32, 64]>
  %acc = alloc_registers : reg<f32, [64, 64]>
  for %i in 0 to 2 {
    copy_async %a[%i, 0, 0], %gx[0, %i * 32] {shape = [64, 32]}
    copy_async %b[%i, 0, 0], %gw[%i * 32, 0] {shape = [32, 64]}
    copy_async_commit
  }
  for %i in 0 to %n {
    copy_async_wait {pending = 1}
    fence_proxy_async
    barrier
    wgmma %acc, %a[%i % 3, 0, 0], %b[%i % 3, 0, 0], %i > 0
    wgmma_commit
    wgmma_wait {pending = 1}
    barrier
    copy_async %a[(%i + 2) % 3, 0, 0], %gx[0, (%i + 2) * 32] {shape = [64, 32]}
    copy_async %b[(%i + 2) % 3, 0, 0], %gw[(%i + 2) * 32, 0] {shape = [32, 64]}
    copy_async_commit
  }
  wgmma_wait
  store %gy[0, 0], %acc
}"""


def test_a_ring_of_stages(tmp_path: Path) -> None:
    """The accumulator without values counts nothing in the first turn."""
    a, b = numbers("f16", (64, 160), 0), numbers("f16", (160, 64), 1)
    found = agree(RING, [a, b, np.zeros((64, 64), np.float32), 5])[2]
    np.testing.assert_array_equal(found, a.astype(np.float32) @ b.astype(np.float32))
    ptx = compile_function(parse(RING)).ptx
    assert "C75" not in assemble(ptx, "sm_90a", tmp_path)
    assert ptx.count("wgmma.fence.sync.aligned;") == 1


BETWEEN = """func @f(%x: *f16, %w: *f16, %y: *f32) warps = 4 {
  %gx = global_view %x : global<f16, [64, 16]>
  %gw = global_view %w : global<f16, [16, 16]>
  %gy = global_view %y : global<f32, [64, 16]>
  %q = load %gw[0, 0] : reg<f16, [16, 16]>
  %b = alloc_shared : shared<f16, [16, 16]>
  store %b[0, 0], %q
  fence_proxy_async
  barrier
  %acc = full {fill = 0.0} : reg<f32, [64, 16]>
  %first = load %gx[0, 0] : reg<f16, [64, 16]>
  %other = load %gx[0, 0] : reg<f16, [64, 16]>
  wgmma %acc, %first, %b[0, 0]
  %second = mul %other, 2.0 : reg<f16, [64, 16]>
  wgmma %acc, %first, %b[0, 0]
  wgmma %acc, %second, %b[0, 0]
  wgmma_commit
  wgmma_wait
  store %gy[0, 0], %acc
}"""


def test_an_operand_made_between_products_that_need_no_fence(tmp_path: Path) -> None:
    """It needs one, though a product stands between what made it and its own."""
    a, b = numbers("f16", (64, 16), 0), numbers("f16", (16, 16), 1)
    found = agree(BETWEEN, [a, b, np.zeros((64, 16), np.float32)])[2]
    np.testing.assert_array_equal(found, 4 * (a.astype(np.float32) @ b.astype(np.float32)))
    ptx = compile_function(parse(BETWEEN)).ptx
    assert ptx.count("wgmma.fence.sync.aligned;") == 2
    assert "C75" not in assemble(ptx, "sm_90a", tmp_path)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_warps_in_any_order(seed: int) -> None:
    text = program(("f16", "f16", "f32"), 128, 16, 32, False)
    a, b = numbers("f16", (128, 32), 0), numbers("f16", (32, 16), 1)
    y = np.zeros((128, 16), np.float32)
    emulate(text, [a, b, y], seed=seed)
    np.testing.assert_array_equal(y, a.astype(np.float32) @ b.astype(np.float32) + 3)


PARTS = """func @f(%x: *f16, %w: *f16, %y: *f32) warps = 4 {
  %gx = global_view %x : global<f16, [128, 64]>
  %gw = global_view %w : global<f16, [64, 64]>
  %gy = global_view %y : global<f32, [64, 16]>
  %p = load %gx[0, 0] : reg<f16, [128, 64]>
  %q = load %gw[0, 0] : reg<f16, [64, 64]>
  %a = alloc_shared : shared<f16, [128, 64]>
  %b = alloc_shared : shared<f16, [64, 64], LAYOUT>
  store %a[0, 0], %p
  store %b[0, 0], %q
  fence_proxy_async
  barrier
  %acc = full {fill = 0.0} : reg<f32, [64, 16]>
  wgmma %acc, %a[64, 16], %b[32, 48] {depth = 32}
  wgmma_commit
  wgmma_wait
  store %gy[0, 0], %acc
}""".replace("LAYOUT", str(matrix_operand(64, 64, 16).permute(1, 0)))


def test_parts_of_shared_tiles() -> None:
    a, b = numbers("f16", (128, 64), 0), numbers("f16", (64, 64), 1)
    found = agree(PARTS, [a, b, np.zeros((64, 16), np.float32)])[2]
    expected = a[64:, 16:48].astype(np.float32) @ b[32:, 48:].astype(np.float32)
    np.testing.assert_array_equal(found, expected)


def sass(ptx: str, folder: Path) -> str:
    assemble(ptx, "sm_90a", folder)
    assert PTXAS is not None
    tool = Path(PTXAS).with_name("cuobjdump")
    if not tool.exists():
        pytest.skip("no cuobjdump")
    command = [str(tool), "-sass", str(folder / "kernel.cubin")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        (("f16", "f16", "f32"), "HGMMA"),
        (("tf32", "tf32", "f32"), "HGMMA"),
        (("e4m3", "e4m3", "f32"), "QGMMA"),
        (("u8", "i8", "i32"), "IGMMA"),
    ],
)
@pytest.mark.parametrize("in_registers", [False, True], ids=["shared", "registers"])
def test_machine_code(
    kinds: tuple[str, str, str], name: str, in_registers: bool, tmp_path: Path
) -> None:
    text = program(kinds, 64, 64, 128, in_registers)
    code = sass(compile_function(parse(text)).ptx, tmp_path)
    found = re.findall(rf"{name}\.64x64x\d+\.\S+ R\d+, (R\d+|gdesc)", code)
    assert len(found) == 128 // fragments.wgmma_depth(kinds[0])
    assert all(source.startswith("R" if in_registers else "gdesc") for source in found)


def test_inference_proposes_layouts() -> None:
    lowered = compile_function(parse(program(("f16", "f16", "f32"), 128, 96, 64, True)))
    types = {
        i.result.name: i.result.type
        for i in instructions(lowered.function.body)
        if i.result is not None
    }
    acc, a, b = types["acc"], types["p"], types["b"]
    assert isinstance(acc, RegType) and isinstance(a, RegType) and isinstance(b, SharedType)
    warps = fragments.spatial(2, 1)
    assert acc.layout == warps * fragments.wgmma_d(96)
    assert a.layout == warps * fragments.local(1, 4) * fragments.wgmma_a("f16")
    assert b.layout == matrix_operand(96, 64, 16, True).permute(1, 0)
    assert not lowered.conversions


def test_a_left_operand_elsewhere_is_converted() -> None:
    text = program(("f16", "f16", "f32"), 64, 16, 32, True).replace(
        "reg<f16, [64, 32]>", "reg<f16, [64, 32], spatial(64, 2) * local(1, 16)>"
    )
    check(text, ("f16", "f16", "f32"), 64, 16, 32)
    assert len(compile_function(parse(text)).conversions) == 1


def fails(text: str, target: str = "sm_90a") -> VMError:
    with pytest.raises(VMError) as caught:
        compile_function(parse(text), target)
    return caught.value


def test_what_cant_be_compiled() -> None:
    kinds = ("f16", "f16", "f32")
    text = program(kinds, 64, 16, 32, False)
    error = fails(text.replace("  fence_proxy_async\n", ""), "sm_89")
    assert error.message == "`sm_89` has no products of warp groups"
    error = fails(text.replace("warps = 4", "warps = 6"))
    assert error.message == "warps 0 to 6 are no whole warp groups of 128 threads"
    error = fails(program(kinds, 64, 16, 32, False, layout=", spatial(64, 2) * local(1, 8)"))
    assert error.message == "the layout of acc is no `wgmma_d` of whole warp groups"
    error = fails(program(kinds, 64, 16, 32, False, right=", row_major(32, 16)"))
    assert error.message.startswith("tensor cores can't read `%b`: no matrix descriptor fits")
    legal = matrix_operand(16, 32, 16, True).permute(1, 0)
    assert error.hint == f"leave its layout away, or write one like `{legal}`"
    error = fails(program(("i8", "i8", "i32"), 64, 32, 32, False, right=", row_major(32, 32)"))
    assert "is not k-major as wgmma reads it" in error.message
    error = fails(program(kinds, 64, 16, 32, False, of_left=", row_major(64, 32)"))
    assert error.message.startswith("tensor cores can't read `%a`")
    odd = PARTS.replace("(%x: *f16,", "(%j: i32, %x: *f16,").replace("%a[64, 16]", "%a[64, %j]")
    error = fails(odd)
    assert error.message == "index 1 of `%a` may be no multiple of 16"
    assert error.location is not None


IDLE = """func @f(%x: *i8, %w: *i8, %y: *i32) warps = 8 {
  %gx = global_view %x : global<i8, [64, 64]>
  %gw = global_view %w : global<i8, [64, 24]>
  %gy = global_view %y : global<i32, [64, 24]>
  %acc = full {fill = -2} : reg<i32, [64, 24]>
  %a = load %gx[0, 0] : reg<i8, [64, 64]>
  %b = load %gw[0, 0] : reg<i8, [64, 24]>
  %s = alloc_shared : shared<i8, [64, 24]>
  store %s[0, 0], %b
  fence_proxy_async
  barrier
  wgmma %acc, %a, %s[0, 0]
  wgmma_commit
  wgmma_wait
  store %gy[0, 0], %acc
}"""


def test_no_warp_group_stays_idle(tmp_path: Path) -> None:
    """Two of them share neither 64 rows nor 3 columns of blocks, so both have all."""
    a, b = numbers("i8", (64, 64), 0), numbers("i8", (64, 24), 1)
    found = agree(IDLE, [a, b, np.zeros((64, 24), np.int32)])[2]
    np.testing.assert_array_equal(found, a.astype(np.int32) @ b.astype(np.int32) - 2)
    assert "C75" not in assemble(compile_function(parse(IDLE)).ptx, "sm_90a", tmp_path)
