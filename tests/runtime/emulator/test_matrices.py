"""mma.sync, ldmatrix, stmatrix, movmatrix: fragment by fragment from the manual's formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError

from .exact import BF16, E4M3, E5M2, F16, Kind
from .harness import run_kernel

Array = np.ndarray[Any, Any]
Place = tuple[int, int]


# The manual gives row and column of element i of a fragment, by type. g = lane / 4, t = lane % 4.
def a_16bit(k: int, g: int, t: int, i: int) -> Place:
    if k == 8:
        return (g if i < 2 else g + 8), t * 2 + (i & 1)
    row = g if i < 2 or 4 <= i < 6 else g + 8
    return row, t * 2 + (i & 1) + (8 if i >= 4 else 0)


def b_16bit(k: int, g: int, t: int, i: int) -> Place:
    return t * 2 + (i & 1) + (8 if i >= 2 else 0), g


def a_8bit(k: int, g: int, t: int, i: int) -> Place:
    if k == 16:
        return (g if i < 4 else g + 8), t * 4 + (i & 3)
    row = g if i < 4 or 8 <= i < 12 else g + 8
    return row, t * 4 + (i & 3) + (16 if i >= 8 else 0)


def b_8bit(k: int, g: int, t: int, i: int) -> Place:
    return t * 4 + (i & 3) + (16 if i >= 4 else 0), g


def a_tf32(k: int, g: int, t: int, i: int) -> Place:
    return (g if i in (0, 2) else g + 8), (t if i < 2 else t + 4)


def b_tf32(k: int, g: int, t: int, i: int) -> Place:
    return (t if i == 0 else t + 4), g


def c_place(g: int, t: int, i: int) -> Place:
    return (g if i < 2 else g + 8), t * 2 + (i & 1)


FAMILIES: dict[int, tuple[Callable[..., Place], Callable[..., Place]]] = {
    16: (a_16bit, b_16bit),
    8: (a_8bit, b_8bit),
    32: (a_tf32, b_tf32),
}
CASES = [
    ("m16n8k16", "f16", "f16", "f32"), ("m16n8k8", "f16", "f16", "f32"),
    ("m16n8k16", "f16", "f16", "f16"), ("m16n8k8", "f16", "f16", "f16"),
    ("m16n8k16", "bf16", "bf16", "f32"), ("m16n8k8", "bf16", "bf16", "f32"),
    ("m16n8k8", "tf32", "tf32", "f32"), ("m16n8k4", "tf32", "tf32", "f32"),
    ("m16n8k32", "s8", "s8", "s32"), ("m16n8k32", "u8", "s8", "s32"),
    ("m16n8k16", "s8", "u8", "s32"), ("m16n8k16", "u8", "u8", "s32"),
    ("m16n8k32", "e4m3", "e4m3", "f32"), ("m16n8k32", "e5m2", "e4m3", "f32"),
]  # fmt: skip
CODES = {"u8": "u1", "s8": "i1", "s32": "i4", "f32": "f4", "f16": "f2", "tf32": "f4"}
KINDS: dict[str, Kind] = {"bf16": BF16, "e4m3": E4M3, "e5m2": E5M2, "f16": F16}


def drawn(name: str, shape: Place, rng: np.random.Generator) -> tuple[Array, Array]:
    """Raw codes and their values; sums of the values stay exact in f32."""
    if name in ("u8", "s8", "s32"):
        limit = np.iinfo(CODES[name]) if name != "s32" else np.iinfo("i2")
        values = rng.integers(limit.min, limit.max, shape, endpoint=True)
        return values.astype(CODES[name]).view(f"u{CODES[name][1]}"), values.astype(np.float64)
    values = rng.integers(-8, 9, shape).astype(np.float64)
    if name in ("f16", "f32", "tf32"):
        return values.astype(CODES[name]).view(f"u{CODES[name][1]}"), values
    kind = KINDS[name]
    exact = [kind.encode(int(v)) for v in values.reshape(-1)]  # type: ignore[arg-type]
    width = "u2" if name == "bf16" else "u1"
    return np.array(exact, width).reshape(shape), values


def fragment(codes: Array, place: Callable[[int, int, int], Place], count: int) -> Array:
    """Registers [32 lanes, words] with element i of each lane taken from where the manual says."""
    held = np.zeros((32, count), codes.dtype)
    for lane in range(32):
        for i in range(count):
            held[lane, i] = codes[place(lane // 4, lane % 4, i)]
    return held.view(np.uint32)


@pytest.mark.parametrize(("shape", "a_type", "b_type", "c_type"), CASES)
def test_mma(shape: str, a_type: str, b_type: str, c_type: str) -> None:
    rng = np.random.default_rng(3)
    k = int(shape[6:])
    a, a_values = drawn(a_type, (16, k), rng)
    b, b_values = drawn(b_type, (k, 8), rng)
    c, c_values = drawn(c_type, (16, 8), rng)
    width = 32 if a_type == "tf32" else a.dtype.itemsize * 8
    a_map, b_map = FAMILIES[width]
    parts = [
        fragment(a, lambda g, t, i: a_map(k, g, t, i), 16 * k // 32),
        fragment(b, lambda g, t, i: b_map(k, g, t, i), 8 * k // 32),
        fragment(c, c_place, 4),
    ]
    out = np.zeros_like(parts[2])
    body, names = "", []
    for number, part in enumerate([*parts, out]):
        words = part.shape[1]
        body += f"mul.wide.u32 %rd10, %r50, {4 * words}; add.u64 %rd{number}, %rd{number}, %rd10;\n"
        names.append([f"%r{10 * number + word}" for word in range(words)])
        if number < 3:
            for word, name in enumerate(names[-1]):
                body += f"ld.global.b32 {name}, [%rd{number}+{4 * word}];\n"
    groups = [f"{{{', '.join(group)}}}" for group in names]
    types = f"{c_type}.{a_type}.{b_type}.{c_type}"
    body += f"mma.sync.aligned.{shape}.row.col.{types} {groups[3]}, {', '.join(groups[:3])};"
    for word, name in enumerate(names[3]):
        body += f"\nst.global.b32 [%rd3+{4 * word}], {name};"
    run_kernel(body, [*parts, out])
    exact = a_values @ b_values + c_values
    found = np.zeros((16, 8))
    flat = out.view(CODES[c_type])
    for lane in range(32):
        for i in range(4):
            found[c_place(lane // 4, lane % 4, i)] = flat[lane, i]
    assert np.array_equal(found, exact)


def mma_body(setup: str) -> str:
    registers = "".join(f"mov.b32 %r{i}, 0;" for i in range(1, 11))
    return f"""{registers} {setup}
      mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32
        {{%r11, %r12, %r13, %r14}}, {{%r1, %r2, %r3, %r4}}, {{%r5, %r6}}, {{%r7, %r8, %r9, %r10}};
      mul.wide.u32 %rd10, %r50, 4; add.u64 %rd11, %rd0, %rd10;"""


def test_undefined_rows_stay_rows() -> None:
    """An undefined element of A spoils its row of D only."""
    out = np.zeros(32, np.uint32)
    undefined = "mov.b32 %r2, %r20;"  # rows 8 .. 15 of A, from lanes 12 .. 31 only
    setup = "setp.lt.u32 %p1, %r50, 12; @%p1 mov.b32 %r20, 0;" + undefined
    run_kernel(mma_body(setup) + "st.global.b32 [%rd11], %r11;", [out])
    with pytest.raises(EmulatorError, match=r"`%r13` has no defined value.*lane 12"):
        run_kernel(mma_body(setup) + "st.global.b32 [%rd11], %r13;", [out])


def test_partial_warps() -> None:
    out: Any = np.zeros(32, np.uint32)
    with pytest.raises(EmulatorError, match=r"a warp-wide instruction without .*lane 20"):
        run_kernel(mma_body(""), [out], block=20)


@pytest.mark.parametrize("trans", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix_and_stmatrix(count: int, trans: bool) -> None:
    """Rows lie 48 bytes apart; what is loaded is stored elsewhere by stmatrix of the same form."""
    rng = np.random.default_rng(count)
    source = rng.integers(0, 1 << 16, (32, 24), dtype=np.uint16)
    registers, back = np.zeros((32, 4), np.uint32), np.zeros_like(source)
    names = ", ".join(f"%r{20 + i}" for i in range(count))
    form = f"sync.aligned.m8n8.x{count}{'.trans' if trans else ''}.shared.b16"
    move = "".join(
        f"ld.global.v4.u32 {{%r1, %r2, %r3, %r4}}, [%rd10+{16 * i}]; "
        f"st.shared.v4.u32 [%r10+{16 * i}], {{%r1, %r2, %r3, %r4}}; "
        f"st.shared.v4.u32 [%r10+{1536 + 16 * i}], {{%r6, %r6, %r6, %r6}};\n"
        for i in range(3)
    )
    out = "".join(
        f"ld.shared.v4.u32 {{%r1, %r2, %r3, %r4}}, [%r10+{1536 + 16 * i}]; "
        f"st.global.v4.u32 [%rd13+{16 * i}], {{%r1, %r2, %r3, %r4}};\n"
        for i in range(3)
    )
    stores = "".join(f"st.global.u32 [%rd12+{4 * i}], %r{20 + i};\n" for i in range(count))
    body = f"""
      mov.u32 %r6, 0; mul.wide.u32 %rd11, %r50, 48; add.u64 %rd10, %rd0, %rd11;
      add.u64 %rd13, %rd2, %rd11; mov.u32 %r5, smem; mad.lo.u32 %r10, %r50, 48, %r5;
      {move} bar.sync 0;
      ldmatrix.{form} {{{names}}}, [%r10];
      stmatrix.{form} [%r10+1536], {{{names}}};
      mul.wide.u32 %rd12, %r50, 16; add.u64 %rd12, %rd1, %rd12;
      {stores} bar.sync 0; {out}"""
    run_kernel(body, [source, registers, back], shared=3072)
    for matrix in range(count):
        square = source[8 * matrix : 8 * matrix + 8, :8]
        for lane in range(32):
            row, column = lane // 4, 2 * (lane % 4)
            pair = [square[column + i, row] if trans else square[row, column + i] for i in (0, 1)]
            assert registers[lane, matrix] == int(pair[0]) | int(pair[1]) << 16
        assert np.array_equal(back[8 * matrix : 8 * matrix + 8, :8], square)


def test_movmatrix() -> None:
    a = np.arange(32, dtype=np.uint32) * np.uint32(0x20003) + np.uint32(0x10000)
    out = np.zeros(32, np.uint32)
    body = """
      mul.wide.u32 %rd10, %r50, 4; add.u64 %rd11, %rd0, %rd10; add.u64 %rd12, %rd1, %rd10;
      ld.global.u32 %r1, [%rd11]; movmatrix.sync.aligned.m8n8.trans.b16 %r2, %r1;
      st.global.u32 [%rd12], %r2;"""
    run_kernel(body, [a, out])
    assert np.array_equal(out.view(np.uint16).reshape(8, 8), a.view(np.uint16).reshape(8, 8).T)


def test_undefined_rows_of_ldmatrix() -> None:
    out: Any = np.zeros(32, np.uint32)
    body = """
      mov.u32 %r1, smem; shl.b32 %r2, %r50, 4; add.u32 %r1, %r1, %r2; setp.lt.u32 %p1, %r50, 7;
      @%p1 st.shared.v4.u32 [%r1], {%r50, %r50, %r50, %r50}; bar.warp.sync 0xffffffff;
      ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r3}, [%r1];
      mul.wide.u32 %rd10, %r50, 4; add.u64 %rd11, %rd0, %rd10; setp.lt.u32 %p2, %r50, 28;
      @%p2 st.global.u32 [%rd11], %r3;"""
    run_kernel(body, [out], shared=512)
    assert out.tolist() == [row for row in range(7) for _ in range(4)] + [0] * 4
    with pytest.raises(EmulatorError, match=r"`%r3` has no defined value.*lane 28"):
        run_kernel(body.replace("@%p2 st", "st"), [out], shared=512)
