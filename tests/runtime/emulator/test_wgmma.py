"""wgmma: operands by the manual's definitions, asynchrony, and what is found to be wrong.

Kernels are of one warp group unless said otherwise. Operands lie in shared memory as a test puts
them there byte by byte, and descriptors are spelled out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError

from .harness import run_kernel

UNIT = 16


def place(i: int, k: int, width: int, row: int, stride: int, leading: int, mn_major: bool) -> int:
    """The byte of element (i, k), of `width` bytes; `row` units in a row, strides in bytes."""
    per = UNIT // width
    if mn_major and row == 1:
        at = i % per * width + i // per * stride + k % 8 * UNIT + k // 8 * leading
    elif mn_major:
        at = i % per * width + i // per % row * UNIT + i // (per * row) * leading
        at += k % 8 * row * UNIT + k // 8 * stride
    else:
        at = k % per * width + k // per * (leading if row == 1 else UNIT)
        at += i % 8 * row * UNIT + i // 8 * stride
    return at ^ (at >> 7 & row - 1) << 4


MODES = {1: 0, 2: 3, 4: 2, 8: 1}


def descriptor(start: int, row: int, stride: int, leading: int) -> int:
    return start >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | MODES[row] << 62


def image(matrix: Any, size: int, start: int, **form: Any) -> Any:
    """Shared memory with a matrix [mn, k] of raw elements."""
    memory = np.zeros(size, np.uint8)
    for i, k in np.ndindex(matrix.shape):
        at = start + place(i, k, matrix.itemsize, **form)
        memory[at : at + matrix.itemsize] = matrix[i, k : k + 1].view(np.uint8)
    return memory


FILL = """
  mov.u32 %r1, smem; mov.u32 %r2, 0;
FILL: mad.lo.u32 %r3, %r2, 128, %r50; shl.b32 %r3, %r3, 2; cvt.u64.u32 %rd20, %r3;
  add.u64 %rd20, %rd0, %rd20; ld.global.b32 %r4, [%rd20]; add.u32 %r3, %r1, %r3;
  st.shared.b32 [%r3], %r4; add.u32 %r2, %r2, 1; setp.lt.u32 %p0, %r2, TURNS; @%p0 bra FILL;
"""
PROXY, BARRIER = "  fence.proxy.async;\n", "  bar.sync 0;\n"
FENCE, COMMIT = "  wgmma.fence.sync.aligned;\n", "  wgmma.commit_group.sync.aligned;\n"
WAIT = "  wgmma.wait_group.sync.aligned 0;\n"


def registers(n: int) -> str:
    return "{" + ", ".join(f"%q{i}" for i in range(n)) + "}"


def zeros(n: int) -> str:
    return "".join(f"  mov.b32 %q{i}, 0;\n" for i in range(n))


def stored(n: int) -> str:
    """Register i of thread t at word 128 i + t of p1."""
    lines = ["  mul.wide.u32 %rd21, %r50, 4; add.u64 %rd21, %rd1, %rd21;\n"]
    lines += [f"  st.global.b32 [%rd21+{512 * i}], %q{i};\n" for i in range(n)]
    return "".join(lines)


def launch(body: str, memory: Any, count: int, block: int = 128, **options: Any) -> Any:
    out = np.zeros(max(1, count) * 128, np.uint32)
    run_kernel(
        body.replace("TURNS", str(len(memory) // 512)),
        [memory, out],
        block=block,
        shared=len(memory),
        registers="  .reg .b32 %q<128>; .reg .b32 %a<8>;\n",
        **options,
    )
    return out.reshape(-1, 128)


def matrix_of(words: Any, n: int) -> Any:
    """D [64, n] from registers of one element each, by the manual's figure."""
    d = np.zeros((64, n), words.dtype)
    for t in range(128):
        warp, g, p = t // 32, t % 32 // 4, t % 4
        for e in range(n // 2):
            d[16 * warp + g + 8 * (e // 2 % 2), 8 * (e // 4) + 2 * p + e % 2] = words[e, t]
    return d


def half(shape: tuple[int, int], seed: int) -> Any:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float16)


FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no swizzle": (
        {"row": 1, "stride": 128, "leading": 1024, "mn_major": False},
        {"row": 1, "stride": 256, "leading": 128, "mn_major": False},
    ),
    "no swizzle, mn-major": (
        {"row": 1, "stride": 256, "leading": 128, "mn_major": True},
        {"row": 1, "stride": 128, "leading": 512, "mn_major": True},
    ),
    "32 bytes": ({"row": 2, "stride": 256, "leading": 16, "mn_major": False},) * 2,
    "64 bytes": ({"row": 4, "stride": 512, "leading": 16, "mn_major": False},) * 2,
    "128 bytes": ({"row": 8, "stride": 1024, "leading": 16, "mn_major": False},) * 2,
    "mn-major in 32 and 64 bytes": (
        {"row": 2, "stride": 256, "leading": 512, "mn_major": True},
        {"row": 4, "stride": 512, "leading": 16, "mn_major": True},
    ),
    "mn-major in 128 bytes": (
        {"row": 8, "stride": 1024, "leading": 2048, "mn_major": True},
        {"row": 8, "stride": 1024, "leading": 2048, "mn_major": True},
    ),
}


@pytest.mark.parametrize("asynchronous", ["late", "early"])
@pytest.mark.parametrize("name", FORMS)
def test_shared_operands(name: str, asynchronous: str) -> None:
    n, forms = 32, FORMS[name]
    a, b = half((64, 16), 0), half((n, 16), 1)
    memory = image(a, 16384, 0, **forms[0]) | image(b, 16384, 8192, **forms[1])
    descs = [
        descriptor(start, f["row"], f["stride"], f["leading"])
        for start, f in zip((0, 8192), forms, strict=True)
    ]
    majors = ", ".join(str(int(f["mn_major"])) for f in forms)
    body = FILL + PROXY + BARRIER + zeros(16)
    body += f"  mov.b64 %rd10, {descs[0]}; mov.b64 %rd11, {descs[1]}; setp.eq.u32 %p1, 0, 0;\n"
    body += FENCE + "  wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 "
    body += f"{registers(16)}, %rd10, %rd11, %p1, 1, 1, {majors};\n" + COMMIT + WAIT + stored(16)
    found = matrix_of(launch(body, memory, 16, asynchronous=asynchronous).view(np.float32), n)
    np.testing.assert_array_equal(found, a.astype(np.float32) @ b.T.astype(np.float32))


B_FORM = {"row": 2, "stride": 256, "leading": 16, "mn_major": False}


def left_registers() -> str:
    """Loads the words [4, 128] of a, which lie behind the first 4096 bytes of p0."""
    lines = ["  mul.wide.u32 %rd22, %r50, 4; add.u64 %rd22, %rd0, %rd22;\n"]
    lines += [f"  ld.global.b32 %a{i}, [%rd22+{4096 + 512 * i}];\n" for i in range(4)]
    return "".join(lines)


KINDS: dict[str, tuple[str, Any, int]] = {
    "f16": ("f32.f16.f16", np.float16, 16),
    "tf32": ("f32.tf32.tf32", np.float32, 8),
    "s8": ("s32.s8.s8", np.int8, 32),
    "u8": ("s32.u8.u8", np.uint8, 32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_left_operands_in_registers(kind: str) -> None:
    types, element, k = KINDS[kind]
    rng = np.random.default_rng(2)
    low = 0 if kind == "u8" else -3
    a, b = (rng.integers(low, 4, shape).astype(element) for shape in ((64, k), (16, k)))
    per = 4 // a.itemsize
    words = np.zeros((4, 128), np.uint32)
    for t in range(128):
        warp, g, p = t // 32, t % 32 // 4, t % 4
        for register in range(4):
            row, column = 16 * warp + g + 8 * (register % 2), per * (p + 4 * (register // 2))
            words[register, t] = a[row, column : column + per].view(np.uint32)[0]
    memory = np.concatenate((image(b, 4096, 0, **B_FORM), words.view(np.uint8).reshape(-1)))
    body = FILL + PROXY + BARRIER + zeros(8) + left_registers()
    body += f"  mov.b64 %rd11, {descriptor(0, 2, 256, 16)}; setp.eq.u32 %p1, 0, 0;\n" + FENCE
    rest = {"f16": ", 1, 1, 0", "tf32": ", 1, 1"}.get(kind, "")
    body += f"  wgmma.mma_async.sync.aligned.m64n16k{k}.{types} {registers(8)}, "
    body += f"{{%a0, %a1, %a2, %a3}}, %rd11, %p1{rest};\n" + COMMIT + WAIT + stored(8)
    found = matrix_of(launch(body, memory, 8).view(np.int32 if k == 32 else np.float32), 16)
    np.testing.assert_array_equal(found, a.astype(np.float64) @ b.T.astype(np.float64))


# ---- asynchrony

MEMORY = image(half((16, 16), 3), 4096, 0, **B_FORM)
SET = (
    FILL + PROXY + BARRIER + zeros(8)
    + "".join(f"  mov.b32 %a{i}, %r50;\n" for i in range(4))
    + f"  mov.b64 %rd11, {descriptor(0, 2, 256, 16)}; setp.eq.u32 %p1, 0, 0;\n"
)  # fmt: skip
PRODUCT = (
    f"  wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {registers(8)}, "
    "{%a0, %a1, %a2, %a3}, %rd11, %p1, 1, 1, 0;\n"
)
OVERWRITE = "  st.shared.b32 [%r1], %r50;\n"
WRONG = {
    "no fence": (SET + PRODUCT, "wgmma.fence is missing"),
    "a register set after the fence": (
        SET + FENCE + "  mov.b32 %q3, 0;\n" + PRODUCT, "wgmma.fence is missing",
    ),
    "an operand set after the fence, on one path": (
        SET + FENCE + "  setp.eq.u32 %p2, %r50, 500; @!%p2 bra GO;\n  mov.b32 %a1, 0;\nGO:\n"
        + PRODUCT, "wgmma.fence is missing",
    ),
    "read before the wait": (
        SET + FENCE + PRODUCT + COMMIT + stored(8), "`%q0` has no defined value",
    ),
    "waited for without a commit": (
        SET + FENCE + PRODUCT + WAIT + stored(8), "`%q0` has no defined value",
    ),
    "accumulator written in flight": (
        SET + FENCE + PRODUCT + COMMIT + "  mov.b32 %q2, 0;\n" + WAIT,
        "`%q2` was written while the wgmma in line",
    ),
    "operand written in flight": (
        SET + FENCE + PRODUCT + COMMIT + "  mov.b32 %a2, 77;\n" + WAIT,
        "`%a2` was written while the wgmma in line",
    ),
    "shared operand written in flight": (
        SET + FENCE + PRODUCT + COMMIT + BARRIER + OVERWRITE + WAIT, "race: ",
    ),
    "another accumulator": (
        SET + FENCE + PRODUCT + PRODUCT.replace("%q7}", "%q9}"),
        "an accumulator of another shape, in flight",
    ),
    "no proxy fence": (
        SET.replace(PROXY, "") + FENCE + PRODUCT, "through the asynchronous proxy, written in line",
    ),
    "a proxy fence before the stores": (
        PROXY + SET.replace(PROXY, "") + FENCE + PRODUCT, "proxy: ",
    ),
    "no barrier": (SET.replace(BARRIER, "") + FENCE + PRODUCT, "race: "),
    "undefined shared memory": (
        SET.replace("st.shared.b32 [%r3], %r4;", "") + FENCE + PRODUCT,
        "which wgmma reads, has no defined value",
    ),
    "outside shared memory": (
        SET.replace(str(descriptor(0, 2, 256, 16)), str(descriptor(4096, 2, 256, 16)))
        + FENCE + PRODUCT, "a matrix reaches to shared address",
    ),
    "a base offset": (
        SET.replace(str(descriptor(0, 2, 256, 16)), str(descriptor(0, 2, 256, 16) | 1 << 49))
        + FENCE + PRODUCT, "a base offset",
    ),
    "a descriptor that differs": (
        SET + "  cvt.u64.u32 %rd12, %r50; add.u64 %rd11, %rd11, %rd12;\n" + FENCE + PRODUCT,
        "a descriptor or scale differs in block (0, 0, 0), warp 0, lane 1",
    ),
    "a warp that stays away": (
        SET + "  setp.lt.u32 %p2, %r50, 32; @%p2 bra END;\n" + FENCE + PRODUCT + COMMIT + WAIT
        + "END:\n", "only 3 warps of warp group 0 issued this product",
    ),
    "another descriptor in one warp": (
        SET + "  setp.lt.u32 %p2, %r50, 32; selp.b64 %rd12, 0, 16, %p2;\n"
        "  add.u64 %rd11, %rd11, %rd12;\n"
        + FENCE + PRODUCT, "issues another product than its warp group",
    ),
    "wrong immediates": (SET + FENCE + PRODUCT.replace("1, 1, 0;", "1, 1, 2;"), "immediates"),
    "a shape that isn't": (
        SET + FENCE + PRODUCT.replace("m64n16k16", "m64n16k8"), "no such combination",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong(name: str) -> None:
    body, expected = WRONG[name]
    with pytest.raises(EmulatorError) as caught:
        launch(body, MEMORY, 8)
    assert expected in str(caught.value)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("asynchronous", ["late", "early"])
def test_what_is_right(asynchronous: str, seed: int) -> None:
    """Several products of one shape in flight, groups waited for one by one, then all is free."""
    body = SET + FENCE + PRODUCT + COMMIT + PRODUCT + PRODUCT + COMMIT
    body += WAIT.replace(" 0;", " 1;") + WAIT + BARRIER + OVERWRITE.replace("%r50", "0")
    once = launch(SET + FENCE + PRODUCT + COMMIT + WAIT + stored(8), MEMORY, 8).view(np.float32)
    body += "  mov.b32 %a0, 0;\n" + stored(8)
    found = launch(body, MEMORY, 8, asynchronous=asynchronous, seed=seed).view(np.float32)
    np.testing.assert_allclose(found, 3 * once, rtol=1e-6)


def test_without_the_old_value() -> None:
    """The accumulator needs no value then."""
    fresh = SET.replace(zeros(8), "").replace("setp.eq.u32 %p1", "setp.ne.u32 %p1")
    found = launch(fresh + FENCE + PRODUCT + COMMIT + WAIT + stored(8), MEMORY, 8)
    expected = launch(SET + FENCE + PRODUCT + COMMIT + WAIT + stored(8), MEMORY, 8)
    np.testing.assert_array_equal(found, expected)


def test_undefined_values_spread_by_row() -> None:
    body = SET.replace("  mov.b32 %a1, %r50;\n", "  setp.ge.u32 %p2, %r50, 64;\n"
                       "  @%p2 mov.b32 %a1, %r50;\n")  # fmt: skip
    done = FENCE + PRODUCT + COMMIT + WAIT
    kept = "  setp.ge.u32 %p3, %r50, 64; @!%p3 bra END;\n" + stored(8) + "END:\n"
    launch(body + done + kept, MEMORY, 8)
    launch(body + done + stored(2), MEMORY, 8)  # rows g, which registers 1 and 3 of a don't reach
    with pytest.raises(EmulatorError, match="`%q2` has no defined value"):
        launch(body + done + stored(8), MEMORY, 8)


def test_signs() -> None:
    plain = launch(SET + FENCE + PRODUCT + COMMIT + WAIT + stored(8), MEMORY, 8).view(np.float32)
    for signs, factor in (("-1, 1", -1), ("1, -1", -1), ("-1, -1", 1)):
        product = PRODUCT.replace("1, 1, 0;", f"{signs}, 0;")
        found = launch(SET + FENCE + product + COMMIT + WAIT + stored(8), MEMORY, 8)
        np.testing.assert_array_equal(found.view(np.float32), factor * plain)
