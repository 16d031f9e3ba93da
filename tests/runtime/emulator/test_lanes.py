"""Exchange between lanes: shuffles, votes, matches, reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError

from .harness import run_kernel, run_op, sample_integers

LANES = 128
FULL = "0xffffffff"


def manual_shuffle(mode: str, lane: int, b: int, c: int) -> tuple[int, bool]:
    """The pseudocode of the manual."""
    segment = c >> 8 & 31
    clamp, shift = c & 31, b & 31
    most = (lane & segment) | (clamp & ~segment & 31)
    least = lane & segment
    if mode == "up":
        source, valid = lane - shift, lane - shift >= most
    elif mode == "down":
        source, valid = lane + shift, lane + shift <= most
    elif mode == "bfly":
        source, valid = lane ^ shift, (lane ^ shift) <= most
    else:
        source = least | (shift & ~segment & 31)
        valid = source <= most
    return (source if valid else lane), valid


@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
@pytest.mark.parametrize("clamp", [0, 31, 0x1C03, 0x181F, 0x1000])
def test_shuffle(mode: str, clamp: int) -> None:
    a = sample_integers(32, LANES, 1)
    b = sample_integers(32, LANES, 2)
    text = f"shfl.sync.{mode}.b32 {{o0}}|{{o1}}, {{i0}}, {{i1}}, {clamp}, {FULL};"
    text += f"shfl.sync.{mode}.b32 {{o2}}, {{i0}}, 3, {clamp}, {FULL};"
    found, valid, fixed = run_op(text, [a, b], ["u4", np.bool_, "u4"])
    for thread in range(LANES):
        first = thread // 32 * 32
        source, inside = manual_shuffle(mode, thread % 32, int(b[thread]), clamp)
        assert (found[thread], valid[thread]) == (a[first + source], inside)
        source, _ = manual_shuffle(mode, thread % 32, 3, clamp)
        assert fixed[thread] == a[first + source]


def test_votes() -> None:
    p = sample_integers(16, LANES, 3) % 2 == 1
    p[32:64], p[64:96] = True, False
    text = f"""vote.sync.ballot.b32 {{o0}}, {{i0}}, {FULL};
      vote.sync.any.pred {{o1}}, {{i0}}, {FULL};
      vote.sync.all.pred {{o2}}, {{i0}}, {FULL}; vote.sync.uni.pred {{o3}}, !{{i0}}, {FULL};"""
    ballot, some, every, same = run_op(text, [p], ["u4", np.bool_, np.bool_, np.bool_])
    for thread in range(LANES):
        warp = p[thread // 32 * 32 :][:32]
        assert ballot[thread] == sum(int(v) << i for i, v in enumerate(warp))
        assert some[thread] == warp.any()
        assert every[thread] == warp.all()
        assert same[thread] == (warp.all() or not warp.any())


def test_match() -> None:
    a = sample_integers(32, LANES, 4) % np.uint32(5)
    a[32:64] = 3
    text = f"match.any.sync.b32 {{o0}}, {{i0}}, {FULL};"
    text += f"match.all.sync.b32 {{o1}}|{{o2}}, {{i0}}, {FULL};"
    some, every, same = run_op(text, [a], ["u4", "u4", np.bool_])
    for thread in range(LANES):
        warp = a[thread // 32 * 32 :][:32].tolist()
        mask = sum(int(v == a[thread]) << i for i, v in enumerate(warp))
        uniform = len(set(warp)) == 1
        assert some[thread] == mask
        assert (every[thread], same[thread]) == (0xFFFFFFFF if uniform else 0, uniform)


def test_redux() -> None:
    a = sample_integers(32, LANES, 5)
    kinds = ["add.u32", "add.s32", "min.s32", "max.u32", "and.b32", "or.b32", "xor.b32"]
    text = "".join(f"redux.sync.{k} {{o{i}}}, {{i0}}, {FULL};" for i, k in enumerate(kinds))
    found = run_op(text, [a], ["u4"] * len(kinds))
    for warp in range(LANES // 32):
        part = a[32 * warp : 32 * warp + 32]
        total = int(part.astype(object).sum()) % 2**32
        least = int(part.view(np.int32).min()) % 2**32
        bits = np.bitwise_and.reduce(part), np.bitwise_or.reduce(part), np.bitwise_xor.reduce(part)
        wanted = [total, total, least, int(part.max()), *map(int, bits)]
        for result, expected in zip(found, wanted, strict=True):
            assert (result[32 * warp : 32 * warp + 32] == expected).all()


def test_elect_and_special_registers() -> None:
    names = ["laneid", "warpid", "lanemask_lt", "lanemask_ge", "ntid.x", "nctaid.x", "ctaid.x"]
    text = f"elect.sync {{o0}}|{{o1}}, {FULL}; activemask.b32 {{o2}};"
    text += "".join(f"mov.u32 {{o{i}}}, %{name};" for i, name in enumerate(names, 3))
    a = np.zeros(256, np.uint32)
    found = run_op(text, [a], ["u4", np.bool_, *["u4"] * 8])
    thread = np.arange(256)
    lane = thread % 32
    wanted = [
        np.zeros(256), lane == 0, np.full(256, 0xFFFFFFFF), lane, thread % 128 // 32,
        (1 << lane) - 1, 0xFFFFFFFF & -(1 << lane), np.full(256, 128), np.full(256, 2),
        thread // 128,
    ]  # fmt: skip
    for result, expected in zip(found, wanted, strict=True):
        assert np.array_equal(result, expected)


def test_three_dimensional_blocks() -> None:
    out = np.zeros(2 * 2 * 48, np.uint32)
    body = """
      mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ctaid.y;
      mad.lo.u32 %r5, %r2, 3, %r1; mad.lo.u32 %r5, %r5, 4, %r50;
      mad.lo.u32 %r6, %r4, 2, %r3; mad.lo.u32 %r6, %r6, 48, %r5;
      mul.wide.u32 %rd1, %r6, 4; add.u64 %rd1, %rd0, %rd1;
      shl.b32 %r7, %r1, 4; shl.b32 %r8, %r2, 8; add.u32 %r7, %r7, %r8; add.u32 %r7, %r7, %r50;
      st.global.u32 [%rd1], %r7;"""
    run_kernel(body, [out], grid=(2, 2), block=(4, 3, 4))  # type: ignore[arg-type]
    z, y, x = np.meshgrid(range(4), range(3), range(4), indexing="ij")
    assert np.array_equal(out.reshape(4, 48), np.tile((x + 16 * y + 256 * z).reshape(48), (4, 1)))


def test_partial_masks() -> None:
    out = np.zeros(32, np.uint32)
    body = """
      setp.lt.u32 %p1, %r50, 12;
      mov.u32 %r1, 77;
      @%p1 shfl.sync.idx.b32 %r1, %r50, 5, 31, 0xfff;
      @%p1 redux.sync.add.u32 %r2, %r50, 0xfff;
      @%p1 add.u32 %r1, %r1, %r2;
      mul.wide.u32 %rd1, %r50, 4; add.u64 %rd1, %rd0, %rd1; st.global.u32 [%rd1], %r1;"""
    run_kernel(body, [out])
    assert out.tolist() == [5 + 66] * 12 + [77] * 20


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (f"@%p1 shfl.sync.idx.b32 %r1, %r50, 5, 31, {FULL};", "names a lane that is not here"),
        ("shfl.sync.idx.b32 %r1, %r50, 5, 31, 0xff;", "leaves out an executing lane"),
        (
            "@%p1 shfl.sync.idx.b32 %r1, %r50, 20, 31, 0xfff;",
            "shuffle from a lane that is not here",
        ),
        ("vote.sync.any.pred %p2, %p1, %r50;", "leaves out an executing lane"),
        ("@%p1 bar.warp.sync 0xffff;", "names a lane that is not here"),
    ],
)
def test_wrong_masks(body: str, message: str) -> None:
    out: Any = np.zeros(32, np.uint32)
    with pytest.raises(EmulatorError, match=message) as caught:
        run_kernel("setp.lt.u32 %p1, %r50, 12;\n" + body, [out])
    assert caught.value.text == body
