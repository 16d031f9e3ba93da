"""cp.async: what lands, when, and what is reported when a wait is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError

from .harness import run_kernel

PLACE = """
  mul.wide.u32 %rd10, %r50, 16; add.u64 %rd11, %rd0, %rd10; add.u64 %rd12, %rd1, %rd10;
  mov.u32 %r1, smem; shl.b32 %r2, %r50, 4; add.u32 %r2, %r1, %r2;
"""
READ = """
  ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2];
  st.global.v4.u32 [%rd12], {%r4, %r5, %r6, %r7};
"""


def data(threads: int = 64) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    source = rng.integers(1, 256, 16 * threads, dtype=np.uint8)
    return source, np.zeros_like(source)


@pytest.mark.parametrize("when", ["late", "early"])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "wait", ["cp.async.commit_group; cp.async.wait_group 0;", "cp.async.wait_all;"]
)
def test_copy(wait: str, seed: int, when: str) -> None:
    source, out = data()
    body = (
        PLACE
        + f"""
      cp.async.cg.shared.global.L2::128B [%r2], [%rd11], 16;
      {wait} bar.sync 0; xor.b32 %r2, %r2, 16;"""
        + READ
    )
    run_kernel(body, [source, out], block=64, shared=1024, seed=seed, asynchronous=when)
    assert np.array_equal(out.reshape(-1, 2, 16), source.reshape(-1, 2, 16)[:, ::-1])


@pytest.mark.parametrize("size", [4, 8, 16])
def test_sizes_and_zero_fill(size: int) -> None:
    source, out = data()
    body = (
        PLACE
        + f"""
      mov.u32 %r8, 0; st.shared.v4.u32 [%r2], {{%r8, %r8, %r8, %r8}};
      rem.u32 %r3, %r50, {size + 1};
      cp.async.ca.shared.global [%r2], [%rd11], {size}, %r3;
      cp.async.wait_all;"""
        + READ
    )
    run_kernel(body, [source, out], block=64, shared=1024)
    wanted = source.reshape(64, 16).copy()
    for thread in range(64):
        wanted[thread, thread % (size + 1) :] = 0
    assert np.array_equal(out.reshape(64, 16), wanted)


def test_ignored_sources_may_be_anywhere() -> None:
    source, out = data()
    for ignore in ("%r3", "%p1"):
        body = (
            PLACE
            + f"""
          setp.gt.u32 %p1, %r50, 40; selp.u32 %r3, 0, 16, %p1;
          @%p1 mov.u64 %rd11, 0;
          cp.async.cg.shared.global [%r2], [%rd11], 16, {ignore};
          cp.async.wait_all;"""
            + READ
        )
        run_kernel(body, [source, out], block=64, shared=1024)
        assert np.array_equal(out[: 41 * 16], source[: 41 * 16])
        assert not out[41 * 16 :].any()


def test_groups_land_in_order() -> None:
    """Two stages; waiting with one group left makes only the older one readable."""
    source, out = data(128)
    body = (
        PLACE
        + """
      cp.async.cg.shared.global [%r2], [%rd11], 16; cp.async.commit_group;
      cp.async.cg.shared.global [%r2+1024], [%rd11+1024], 16; cp.async.commit_group;
      cp.async.wait_group 1;"""
        + READ
        + """
      cp.async.wait_group 0;
      ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2+1024];
      st.global.v4.u32 [%rd12+1024], {%r4, %r5, %r6, %r7};"""
    )
    run_kernel(body, [source, out], block=64, shared=2048)
    assert np.array_equal(out, source)
    too_early = body.replace("cp.async.wait_group 0;", "")
    with pytest.raises(EmulatorError, match="has no defined value"):
        run_kernel(too_early, [source, out], block=64, shared=2048)


def test_warps_with_groups_of_their_own() -> None:
    """Only warp 1 copies; groups survive the division and the join of warps."""
    source, out = data()
    body = (
        PLACE
        + """
      setp.lt.u32 %p1, %r50, 32; @%p1 bra NONE;
      cp.async.cg.shared.global [%r2], [%rd11], 16; add.u32 %r3, %r2, -512;
      cp.async.cg.shared.global [%r3], [%rd11+-512], 16; cp.async.commit_group;
    NONE: cp.async.wait_group 0; bar.sync 0;"""
        + READ
    )
    run_kernel(body, [source, out], block=64, shared=1024)
    assert np.array_equal(out, source)


WRONG = [
    ("cp.async.cg.shared.global [%r2], [%rd11], 16; cp.async.commit_group;" + READ,
     "`%r4` has no defined value"),
    ("cp.async.cg.shared.global [%r2], [%rd11], 16; cp.async.commit_group; cp.async.wait_group 1;"
     + READ, "`%r4` has no defined value"),
    ("cp.async.cg.shared.global [%r2], [%rd11+16], 16;", "out of bounds.*lane 31"),
    ("cp.async.cg.shared.global [%r2+16], [%rd11], 16;", "shared address 1024"),
    ("cp.async.cg.shared.global [%r2], [%rd11+-8], 16;", "out of bounds.*lane 0"),
    ("add.u64 %rd0, %rd0, 4; cp.async.ca.shared.global [%r2], [%rd0], 8;",
     "`p0` at byte 4 is not aligned to 8"),
    ("cp.async.ca.shared.global [%r2], [%rd11], 4, 5;", "a source size above 4"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), WRONG)
def test_reports(body: str, message: str) -> None:
    source, out = data()
    with pytest.raises(EmulatorError, match=message):
        run_kernel(PLACE + body, [source, out], block=64, shared=1024)


def test_unwaited_copy_never_lands() -> None:
    source, out = data()
    body = (
        PLACE
        + """
      mov.u32 %r8, 0; st.shared.v4.u32 [%r2], {%r8, %r8, %r8, %r8};
      cp.async.cg.shared.global [%r2], [%rd11], 16;
      st.shared.v4.u32 [%r2], {%r8, %r8, %r8, %r8};"""
        + READ
    )
    run_kernel(body, [source, out], block=64, shared=1024)
    assert not out.any()
