"""Undefined values, bit by bit: what only moves along raises no alarm, what is used does."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError

from .harness import run_kernel

# Thread t has byte t of shared memory at %r2, word t at %r3, and four words at %r4; and word t of
# its argument at %rd2.
PLACES = """
  mov.u32 %r1, smem; add.u32 %r2, %r1, %r50; shl.b32 %r3, %r50, 2; add.u32 %r3, %r1, %r3;
  shl.b32 %r4, %r50, 4; add.u32 %r4, %r1, %r4; mul.wide.u32 %rd1, %r50, 4; add.u64 %rd2, %rd0, %rd1;
"""
HALF_A_BYTE = """
  ld.shared.u8 %r5, [%r2]; and.b32 %r6, %r50, 15;
  lop3.b32 %r7, %r5, 15, %r6, 0xba;
  st.shared.u8 [%r2], %r7; ld.shared.u8 %r8, [%r2];
"""
ONE_OF_FOUR = "st.shared.u32 [%r4+4], %r50; ld.shared.v4.u32 {%r5, %r6, %r7, %r8}, [%r4];"
FRESH = "ld.shared.u32 %r5, [%r3];"
OUT = "st.global.u32 [%rd2], "


def run(body: str) -> list[int]:
    data = np.zeros(32, np.uint32)
    run_kernel(PLACES + body, [data], shared=1024)
    return [int(word) for word in data]


LANES = list(range(32))
LOW = [lane & 15 for lane in LANES]
DEFINED = {
    "the stored part": (HALF_A_BYTE + "and.b32 %r9, %r8, 15;" + OUT + "%r9;", LOW),
    "the other part, overwritten": (
        HALF_A_BYTE + "bfi.b32 %r9, 3, %r8, 4, 4; prmt.b32 %r9, %r9, 0, 0x4440;" + OUT + "%r9;",
        [48 + low for low in LOW],
    ),
    "a field": (HALF_A_BYTE + "bfe.u32 %r9, %r8, 0, 4;" + OUT + "%r9;", LOW),
    "shifted out": (
        HALF_A_BYTE + "shl.b32 %r9, %r8, 28; shr.u32 %r9, %r9, 28;" + OUT + "%r9;", LOW
    ),
    "an element of a vector": (ONE_OF_FOUR + OUT + "%r6;", LANES),
    "one half of a pair": (
        "mov.b32 %r7, 0x3c003c00; cvt.u16.u32 %h1, %r7; shl.b32 %r9, %r50, 2;"
        "st.shared.u16 [%r3], %h1;" + FRESH + "add.f16x2 %r6, %r5, %r7; and.b32 %r6, %r6, 0xffff;"
        + OUT + "%r6;",
        [0x4000] * 32,
    ),
    "chosen against": (
        FRESH + "setp.ge.u32 %p1, %r50, 0; selp.b32 %r6, %r50, %r5, %p1;" + OUT + "%r6;", LANES
    ),
    "a word through 64 bits": (
        FRESH + "mov.b64 %rd5, {%r50, %r5}; cvt.u32.u64 %r6, %rd5;" + OUT + "%r6;", LANES
    ),
    "stored and never read": (FRESH + "st.shared.u32 [%r3+128], %r5;" + OUT + "%r50;", LANES),
    "one lane's of a shuffle": (
        "setp.eq.u32 %p1, %r50, 3; @%p1 st.shared.u32 [%r3], 7;" + FRESH
        + "shfl.sync.idx.b32 %r6, %r5, 3, 31, 0xffffffff;" + OUT + "%r6;",
        [7] * 32,
    ),
    "kept where the guard is off": (
        "mov.u32 %r6, %r50; setp.lt.u32 %p1, %r50, 40;" + FRESH + "@!%p1 or.b32 %r6, %r5, 1;"
        + OUT + "%r6;",
        LANES,
    ),
    "matrices": (
        FRESH + "add.u32 %r9, %r1, 512; and.b32 %r8, %r4, 255; add.u32 %r8, %r9, %r8;"
        "stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r8], {%r50, %r5};" + OUT + "%r50;",
        LANES,
    ),
}  # fmt: skip
UNDEFINED = {
    "the other part": HALF_A_BYTE + OUT + "%r8;",
    "a bit of it": HALF_A_BYTE + "and.b32 %r9, %r8, 16;" + OUT + "%r9;",
    "a field across": HALF_A_BYTE + "bfe.u32 %r9, %r8, 3, 2;" + OUT + "%r9;",
    "its sign": HALF_A_BYTE + "shl.b32 %r9, %r8, 24; shr.s32 %r9, %r9, 31;" + OUT + "%r9;",
    "another element of a vector": ONE_OF_FOUR + OUT + "%r5;",
    "the other half of a pair": "mov.b32 %r7, 0x3c003c00; cvt.u16.u32 %h1, %r7;"
    "st.shared.u16 [%r3], %h1;" + FRESH + "add.f16x2 %r6, %r5, %r7;" + OUT + "%r6;",
    "a sum": HALF_A_BYTE + "add.u32 %r9, %r8, 1; and.b32 %r9, %r9, 15;" + OUT + "%r9;",
    "chosen": FRESH + "setp.lt.u32 %p1, %r50, 31; selp.b32 %r6, %r50, %r5, %p1;" + OUT + "%r6;",
    "how far to shift": FRESH + "shl.b32 %r6, %r50, %r5;" + OUT + "%r6;",
    "stored and read": FRESH + "st.shared.u32 [%r3+128], %r5; ld.shared.u32 %r6, [%r3+128];"
    + OUT + "%r6;",
    "an address": FRESH + "add.u32 %r6, %r1, %r5; ld.shared.u32 %r7, [%r6];",
    "a branch": HALF_A_BYTE
    + "and.b32 %r9, %r8, 16; setp.eq.u32 %p1, %r9, 0; @%p1 bra DONE;\nDONE:",
    "through matrices": FRESH + "add.u32 %r9, %r1, 512; and.b32 %r8, %r4, 255;"
    "add.u32 %r8, %r9, %r8; stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r8], {%r50, %r5};"
    "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r6, %r7}, [%r8];" + OUT + "%r7;",
}  # fmt: skip


@pytest.mark.parametrize("name", DEFINED)
def test_what_is_defined_may_be_used(name: str) -> None:
    body, wanted = DEFINED[name]
    assert run(body) == wanted


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_is_undefined_may_not(name: str) -> None:
    with pytest.raises(EmulatorError, match=r"no defined value|guard was never written"):
        run(UNDEFINED[name])


def test_every_table() -> None:
    """lop3 of an undefined input and known ones: defined just if the table doesn't care."""
    data = np.zeros(32, np.uint32)
    for table in range(256):
        for b, c in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            bit = -2 * b - c
            depends = table >> bit & 1 != table >> 4 + bit & 1
            body = f"{PLACES} {FRESH} lop3.b32 %r6, %r5, {b}, {c}, {table}; {OUT} %r6;"
            if depends:
                with pytest.raises(EmulatorError, match="no defined value"):
                    run_kernel(body, [data], shared=1024)
            else:
                run_kernel(body, [data], shared=1024)
                assert data[0] == -(table >> bit & 1) % 2**32
