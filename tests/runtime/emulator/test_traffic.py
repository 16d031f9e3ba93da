"""Bank conflicts and sectors, against counts made by hand from the rules."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.runtime.emulator.traffic import LineTraffic

from .harness import run_kernel

START = "mov.u32 %r1, smem; mov.u32 %r9, 0; mov.u64 %rd1, %rd0;\n"


def traffic(address: str, access: str, block: int = 32) -> LineTraffic:
    """The traffic of `access`, which uses %r2 or %rd2 as `address` computes them from %r50."""
    statistics = run_kernel(
        f"{START}{address}\n{access}",
        [np.zeros(1 << 16, np.uint8)],
        block=block,
        shared=1 << 15,
        count_traffic=True,
    )
    (entry,) = statistics.traffic.values()
    return entry


STORES = [
    # stride in bytes, bytes an element, wavefronts, least
    (4, 4, 1, 1),
    (8, 4, 2, 1),
    (16, 4, 4, 1),
    (128, 4, 32, 1),
    (132, 4, 1, 1),
    (0, 4, 1, 1),
    (8, 8, 2, 2),
    (16, 8, 4, 2),
    (16, 16, 4, 4),
    (32, 16, 8, 4),
    (144, 16, 4, 4),
    (128, 16, 32, 4),
]


@pytest.mark.parametrize(("stride", "width", "wavefronts", "least"), STORES)
def test_wavefronts(stride: int, width: int, wavefronts: int, least: int) -> None:
    kind = {4: "st.shared.b32 [%r2], %r9;", 8: "st.shared.v2.b32 [%r2], {%r9, %r9};"}.get(
        width, "st.shared.v4.b32 [%r2], {%r9, %r9, %r9, %r9};"
    )
    for warps in (1, 2):
        entry = traffic(f"mad.lo.u32 %r2, %r50, {stride}, %r1;", kind, 32 * warps)
        assert (entry.wavefronts, entry.least_wavefronts) == (wavefronts * warps, least * warps)
        assert entry.conflicts == (wavefronts - least) * warps
        assert entry.sectors == 0


def test_halves_of_one_word_do_not_conflict() -> None:
    entry = traffic(
        "mad.lo.u32 %r2, %r50, 2, %r1; cvt.u16.u32 %h1, %r9;", "st.shared.b16 [%r2], %h1;"
    )
    assert (entry.wavefronts, entry.least_wavefronts) == (1, 1)


@pytest.mark.parametrize(("stride", "wavefronts"), [(16, 4), (32, 8), (128, 32), (144, 4)])
def test_rows_of_stmatrix(stride: int, wavefronts: int) -> None:
    entry = traffic(
        f"mad.lo.u32 %r2, %r50, {stride}, %r1;",
        "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r2], {%r9, %r9, %r9, %r9};",
    )
    assert (entry.wavefronts, entry.least_wavefronts) == (wavefronts, 4)


LOADS = [(4, "b32 %r3", 4, 4), (8, "b32 %r3", 8, 4), (32, "b32 %r3", 32, 4), (0, "b32 %r3", 1, 1)]
LOADS += [(16, "v4.b32 {%r3, %r4, %r5, %r6}", 16, 16), (48, "v2.b32 {%r3, %r4}", 32, 8)]
LOADS += [(1, "u8 %r3", 1, 1), (2, "u8 %r3", 2, 1)]


@pytest.mark.parametrize(("stride", "form", "sectors", "least"), LOADS)
def test_sectors(stride: int, form: str, sectors: int, least: int) -> None:
    entry = traffic(
        f"mul.wide.u32 %rd3, %r50, {stride}; add.u64 %rd2, %rd1, %rd3;",
        f"ld.global.{form}, [%rd2];",
    )
    assert (entry.sectors, entry.least_sectors) == (sectors, least)
    assert entry.wavefronts == 0


def test_guarded_lanes_do_not_count() -> None:
    entry = traffic(
        "mad.lo.u32 %r2, %r50, 128, %r1; setp.lt.u32 %p1, %r50, 3;",
        "@%p1 st.shared.b32 [%r2], %r9;",
    )
    assert (entry.wavefronts, entry.least_wavefronts) == (3, 1)


def test_copies_count_on_both_sides() -> None:
    entry = traffic(
        "mad.lo.u32 %r2, %r50, 16, %r1; mul.wide.u32 %rd3, %r50, 64; add.u64 %rd2, %rd1, %rd3;",
        "cp.async.cg.shared.global [%r2], [%rd2], 16;",
    )
    assert (entry.wavefronts, entry.sectors, entry.least_sectors) == (4, 32, 16)
