"""Loads, stores and atomics, and the reports of wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError, parse_module

from .harness import kernel_text, run_kernel

OWN = "mul.wide.u32 %rd10, %r50, 4; add.u64 %rd11, %rd0, %rd10; add.u64 %rd12, %rd1, %rd10;\n"


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_vectors_through_shared_memory(bits: int, count: int) -> None:
    if bits * count > 128:
        pytest.skip("wider than any access")
    rng = np.random.default_rng(bits + count)
    source = rng.integers(0, 256, 64 * count * bits // 8, dtype=np.uint8)
    target = np.zeros_like(source)
    width = count * bits // 8
    kind = {8: "h", 16: "h", 32: "r", 64: "rd"}[bits]
    first = 20
    names = ", ".join(f"%{kind}{first + i}" for i in range(count))
    vector = "" if count == 1 else f".v{count}"
    operand = names if count == 1 else f"{{{names}}}"
    body = f"""
      mul.lo.u32 %r1, %r50, {width}; cvt.u64.u32 %rd10, %r1;
      add.u64 %rd11, %rd0, %rd10; add.u64 %rd12, %rd1, %rd10;
      mov.u32 %r2, smem; add.u32 %r3, %r2, %r1;
      ld.global.nc.L1::no_allocate{vector}.b{bits} {operand}, [%rd11];
      st.shared{vector}.b{bits} [%r3+{width}], {operand};
      bar.sync 0;
      xor.b32 %r4, %r50, 1; mul.lo.u32 %r4, %r4, {width}; add.u32 %r4, %r2, %r4;
      ld.shared{vector}.b{bits} {operand}, [%r4+{width}];
      st.global.cs{vector}.b{bits} [%rd12], {operand};"""
    run_kernel(body, [source, target], block=64, shared=65 * width)
    wanted = source.reshape(32, 2, width)[:, ::-1].reshape(-1)
    assert np.array_equal(target, wanted)


def test_narrow_loads_extend() -> None:
    source = np.array([0x80, 0x7F, 0xFF, 0x01] * 8, np.uint8)
    out = np.zeros((3, 32), np.uint32)
    body = """
      cvt.u64.u32 %rd10, %r50; add.u64 %rd11, %rd0, %rd10; shl.b64 %rd13, %rd10, 2;
      add.u64 %rd12, %rd1, %rd13;
      ld.global.u8 %r1, [%rd11]; ld.global.s8 %r2, [%rd11]; ld.global.s8 %h1, [%rd11];
      cvt.s32.s16 %r3, %h1; neg.s32 %r3, %r3;
      st.global.u32 [%rd12], %r1; st.global.u32 [%rd12+128], %r2; st.global.u32 [%rd12+256], %r3;
      st.global.u8 [%rd11], %r50;"""
    run_kernel(body, [source, out])
    loaded = np.array([0x80, 0x7F, 0xFF, 0x01] * 8, np.uint8)
    assert np.array_equal(out[0], loaded)
    assert np.array_equal(out[1].view(np.int32), loaded.view(np.int8))
    assert np.array_equal(out[2].view(np.int32), -loaded.view(np.int8).astype(np.int32))
    assert np.array_equal(source, np.arange(32))


def test_generic_addresses() -> None:
    source, target = np.arange(32, dtype=np.uint32), np.zeros(32, np.uint32)
    body = (
        OWN
        + """
      mov.u64 %rd20, smem; cvta.shared.u64 %rd20, %rd20; add.u64 %rd20, %rd20, %rd10;
      setp.lt.u32 %p1, %r50, 16; selp.b64 %rd21, %rd11, %rd20, %p1;
      ld.u32 %r1, [%rd11]; mul.lo.u32 %r2, %r1, 3; st.u32 [%rd20], %r2;
      ld.u32 %r3, [%rd21]; st.u32 [%rd12], %r3;
      cvta.to.shared.u64 %rd22, %rd20; ld.shared.u32 %r4, [%rd22]; add.u32 %r4, %r4, 1;
      st.u32 [%rd21], %r4;"""
    )
    run_kernel(body, [source, target], shared=128)
    thread = np.arange(32)
    assert np.array_equal(target, np.where(thread < 16, thread, 3 * thread))
    assert np.array_equal(source, np.where(thread < 16, 3 * thread + 1, thread))


def test_module_variables_and_local_memory() -> None:
    out = np.zeros(64, np.uint32)
    text = kernel_text(
        """ld.param.u64 %rd0, [p0]; mov.u32 %r50, %tid.x;
      and.b32 %r1, %r50, 3; mul.wide.u32 %rd1, %r1, 4; mov.u64 %rd2, table;
      add.u64 %rd3, %rd2, %rd1;
      ld.global.u32 %r2, [%rd3]; ld.const.u32 %r3, [offset];
      add.u32 %r2, %r2, %r3; mov.u64 %rd5, stack;
      st.local.u32 [stack+4], %r2; ld.local.u32 %r4, [%rd5+4];
      mul.wide.u32 %rd4, %r50, 4; add.u64 %rd4, %rd0, %rd4; st.global.u32 [%rd4], %r4;""",
        1,
        ".local .align 4 .b8 stack[8];",
    )
    text = text.replace(
        ".visible", ".global .b32 table[4] = {10, 20, 30, 40};\n.const .u32 offset = 5;\n.visible"
    )
    parse_module(text).kernels["k"].launch(1, 64, [out])
    assert out.tolist() == [15, 25, 35, 45] * 16


def test_scalar_parameters() -> None:
    text = """.version 8.0
.target sm_80
.address_size 64
.entry k(.param .u64 out, .param .f32 a, .param .s32 b, .param .u8 c, .param .f64 d,
         .param .align 8 .b8 e[16]) {
  .reg .b64 %o; .reg .f32 %a; .reg .b32 %b, %c, %e; .reg .f64 %d;
  ld.param.u64 %o, [out]; ld.param.f32 %a, [a]; ld.param.s32 %b, [b]; ld.param.u8 %c, [c];
  ld.param.f64 %d, [d]; ld.param.u32 %e, [e+12];
  st.global.f32 [%o], %a; st.global.s32 [%o+4], %b; st.global.u32 [%o+8], %c;
  st.global.u32 [%o+12], %e; st.global.f64 [%o+16], %d;
  ret;
}"""
    out = np.zeros(24, np.uint8)
    blob = bytes(12) + (99).to_bytes(4, "little")
    kernel = parse_module(text).kernels["k"]
    kernel.launch(1, 1, [out, 1.5, -7, 200, np.float64(2.5), blob])
    assert out[:4].view("f4")[0] == 1.5
    assert out[4:8].view("i4")[0] == -7
    assert out[8:16].view("u4").tolist() == [200, 99]
    assert out[16:].view("f8")[0] == 2.5
    for wrong in ([out, 1.5, 2**33, 0, 0.0, blob], [out, 1, 1, 1], [1.5, 1.0, 1, 1, 1.0, blob]):
        with pytest.raises(ValueError):
            kernel.launch(1, 1, wrong)


ATOMICS = [
    ("add.u32", np.uint32, lambda old, b: old + b),
    ("add.f32", np.float32, lambda old, b: old + b),
    ("add.u64", np.uint64, lambda old, b: old + b),
    ("add.noftz.f16x2", np.uint32, None),
    ("min.s32", np.int32, min),
    ("max.u64", np.uint64, max),
    ("and.b32", np.uint32, lambda old, b: old & b),
    ("or.b32", np.uint32, lambda old, b: old | b),
    ("xor.b32", np.uint32, lambda old, b: old ^ b),
    ("exch.b32", np.uint32, lambda old, b: b),
    ("inc.u32", np.uint32, lambda old, b: 0 if old >= b else old + 1),
    ("dec.u32", np.uint32, lambda old, b: b if old == 0 or old > b else old - 1),
]


@pytest.mark.parametrize("space", ["global", "shared"])
@pytest.mark.parametrize(("name", "kind", "update"), ATOMICS)
def test_atomics(name: str, kind: Any, update: Any, space: str) -> None:
    """Lanes act in lane order, so old values and the result follow from a plain loop."""
    rng = np.random.default_rng(5)
    values = rng.integers(1, 9, 64).astype(kind)
    cells = np.full(4, 100, kind)
    if update is None:
        values, cells = np.full(64, 0x3C003800, np.uint32), np.zeros(4, np.uint32)
    old = np.zeros(64, kind)
    size = values.dtype.itemsize
    r = "%rd3" if size == 8 else "%r3"
    place = "[%rd20]" if space == "global" else "[%r21]"
    body = f"""
      mul.wide.u32 %rd10, %r50, {size}; add.u64 %rd11, %rd0, %rd10; add.u64 %rd12, %rd2, %rd10;
      and.b32 %r1, %r50, 3; mul.wide.u32 %rd20, %r1, {size}; add.u64 %rd20, %rd1, %rd20;
      mov.u32 %r21, smem; mad.lo.u32 %r21, %r1, {size}, %r21;
      setp.lt.u32 %p1, %r50, 4;
      ld.global.b{8 * size} {r}0, [%rd20]; @%p1 st.shared.b{8 * size} [%r21], {r}0; bar.sync 0;
      ld.global.b{8 * size} {r}1, [%rd11];
      atom.{space}.{name} {r}2, {place}, {r}1; st.global.b{8 * size} [%rd12], {r}2;
      red.{"relaxed.gpu.global" if space == "global" else space}.{name} {place}, {r}1; 
      bar.sync 0;
      @%p1 ld.{space}.b{8 * size} {r}4, {place}; @%p1 st.global.b{8 * size} [%rd20], {r}4;"""
    if name.startswith("exch"):
        body = body.replace("      red.", "      // red.")
    wanted = cells.copy().tolist()
    run_kernel(body, [values, cells, old], block=64, shared=32)
    if update is None:
        # Sums of ones and halves: 16 lanes a cell, each twice.
        assert np.array_equal(cells.view(np.float16).reshape(4, 2), [[16.0, 32.0]] * 4)
        return
    for turn in range(2):
        for thread in range(64):
            if turn and name.startswith("exch"):
                continue
            if not turn:
                assert old[thread] == wanted[thread % 4]
            wanted[thread % 4] = update(wanted[thread % 4], values[thread].item())
    assert cells.tolist() == wanted


def test_compare_and_swap_and_vector_reductions() -> None:
    cells, old = np.zeros(8, np.float32), np.zeros(32, np.uint32)
    body = """
      mul.wide.u32 %rd10, %r50, 4; add.u64 %rd11, %rd1, %rd10;
      atom.global.cas.b32 %r1, [%rd0], %r50, 7; st.global.u32 [%rd11], %r1;
      mov.f32 %r2, 1.0; mov.f32 %r3, 2.0;
      red.global.add.v4.f32 [%rd0+16], {%r2, %r3, %r2, %r3};"""
    run_kernel(body, [cells, old])
    assert cells.view(np.uint32)[0] == 7
    assert old.tolist() == [0] + [7] * 31
    assert cells[4:].tolist() == [32.0, 64.0, 32.0, 64.0]


@pytest.mark.parametrize("seed", [0, 3])
def test_atomics_of_many_blocks(seed: int) -> None:
    total = np.zeros(1, np.uint32)
    run_kernel("red.global.add.u32 [%rd0], %r50;", [total], grid=9, block=64, seed=seed)
    assert total[0] == 9 * 2016


WRONG = [
    (
        "red.global.add.v2.f32 [%rd11+4], {%r50, %r50};",
        "a vector of 8 bytes is not aligned to them",
        "",
    ),
    ("red.shared.add.v2.f32 [%r50], {%r50, %r50};", "updated in global memory only", ""),
    ("ld.global.u32 %r1, [%rd11+4];", "4 bytes at 0x", "lane 31"),
    ("ld.global.u32 %r1, [%rd0+-4];", "out of bounds", "lane 0"),
    ("st.global.u32 [%rd11+4096], %r50;", "4096 bytes into `p0`, which has 128", "lane 0"),
    ("ld.global.u16 %h1, [%rd11+1];", "`p0` at byte 1 is not aligned to 2", "lane 0"),
    ("st.shared.v2.u32 [%r50+8], {%r50, %r50};", "shared address 9 is not aligned to 8", "lane 1"),
    ("mov.u64 %rd5, 0; st.global.u32 [%rd5], %r50;", "4 bytes at 0x0 are out of bounds", "lane 0"),
    ("mov.u32 %r1, smem; st.shared.u32 [%r1+128], %r50;", "shared address 128 are out", "lane 0"),
    ("st.shared.u32 [%r50], %r50;", "shared address 1 is not aligned to 4", "lane 1"),
    ("mov.u32 %r1, 0; st.shared.u32 [%r1+-4], %r50;", "shared address", "lane 0"),
    ("mov.u32 %r1, %r9; st.global.u32 [%rd11], %r1;", "`%r1` has no defined value", "lane 0"),
    ("st.global.u32 [%rd11], %r9;", "`%r9` has no defined value", "lane 0"),
    ("ld.global.u32 %r1, [%rd9];", "`%rd9` has no defined value", "lane 0"),
    ("@%p1 bra DONE;\nDONE:", "register `%p1` was never written", ""),
    ("@%p1 mov.u32 %r1, 5;", "the guard was never written", "lane 0"),
    ("ld.shared.u32 %r1, [smem]; st.global.u32 [%rd11], %r1;",
     "`%r1` has no defined value", "lane 0"),
    ("setp.gt.u32 %p1, %r50, 3; @%p1 mov.u32 %r1, 0; st.global.u32 [%rd11], %r1;",
     "`%r1` has no defined value", "lane 0"),
    ("mov.u32 %r9, 7; st.shared.u16 [smem], %r9; ld.shared.u32 %r1, [smem]; add.u32 %r2, %r1, 1;"
     "setp.eq.u32 %p1, %r2, 5; @%p1 bra DONE;\nDONE:", "the guard was never written", "lane 0"),
    ("atom.shared.add.u32 %r1, [smem], 1;", "memory that was never written", ""),
    ("trap;", "`trap` was executed", "lane 0"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message", "who"), WRONG)
def test_reports(body: str, message: str, who: str) -> None:
    data = np.zeros(32, np.uint32)
    start = "  // %v = load %x\n  mul.wide.u32 %rd10, %r50, 4; add.u64 %rd11, %rd0, %rd10;\n"
    with pytest.raises(EmulatorError) as caught:
        run_kernel(start + body, [data], shared=128)
    assert message in caught.value.message
    assert who in caught.value.message
    assert caught.value.comment == "%v = load %x"
    assert caught.value.text.strip() in body


def test_registers_that_were_never_written_are_no_error() -> None:
    data = np.zeros(32, np.uint32)
    run_kernel("add.u32 %r2, %r9, 1; mov.u32 %r9, 4; st.global.u32 [%rd0], %r9;", [data])
    assert data[0] == 4


def test_undefined_padding_is_no_error() -> None:
    """Only what reaches memory, addresses or branches must be defined."""
    data = np.zeros(32, np.uint32)
    body = """
      mul.wide.u32 %rd10, %r50, 4; add.u64 %rd11, %rd0, %rd10; setp.lt.u32 %p1, %r50, 20;
      @%p1 ld.global.u32 %r1, [%rd11];
      add.u32 %r2, %r1, 5; shfl.sync.bfly.b32 %r3, %r2, 1, 31, 0xffffffff;
      @%p1 st.global.u32 [%rd11], %r3;"""
    run_kernel(body, [data])
    assert data.tolist() == [5] * 20 + [0] * 12
    spoiled = body.replace("%r2, 1, 31", "%r2, 16, 31")
    with pytest.raises(EmulatorError, match="`%r3` has no defined value"):
        run_kernel(spoiled, [data])
