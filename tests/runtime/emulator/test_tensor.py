"""Tensor copies by the book: boxes, swizzles, edges, and what breaks the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError, TensorMap, parse_module

HEAD = """.version 8.0
.target sm_90a
.address_size 64
.extern .shared .align 1024 .b8 smem[];
.visible .entry k(.param .u64 px, .param .u64 py, .param .align 64 .b8 map[128])
{
  .reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .pred %p<8>;
  mov.u32 %r0, %tid.x; mov.u32 %r1, smem; setp.eq.u32 %p0, %r0, 0;
  ld.param.u64 %rd1, [py];
  mov.b64 %rd0, map; cvta.param.u64 %rd0, %rd0;
  @%p0 mbarrier.init.shared::cta.b64 [%r1], 1;
  bar.sync 0;
"""
WAIT = """
  WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], 0; @!%p1 bra WAIT;
"""
# What lies behind the barrier goes to y, word by word.
DUMP = """
  LOOP: add.u32 %r3, %r1, %r0; ld.shared.u32 %r4, [%r3+1024];
  cvt.u64.u32 %rd3, %r0; add.u64 %rd3, %rd3, %rd1; st.global.u32 [%rd3], %r4;
  add.u32 %r0, %r0, 4; setp.lt.u32 %p2, %r0, BYTES; @%p2 bra LOOP;
"""


def launch(body: str, x: Any, y: Any, map_: object, when: str = "late") -> None:
    kernel = parse_module(HEAD + body + "  ret;\n}").kernels["k"]
    kernel.launch(1, 1, [x, y, map_], shared_bytes=16384, asynchronous=when)


def load(num_bytes: int, coordinates: str, rank: int = 2) -> str:
    return f"""
  mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], {num_bytes};
  cp.async.bulk.tensor.{rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes
    [%r1+1024], [%rd0, {{{coordinates}}}], [%r1];"""


def box_of(x: np.ndarray, map_: TensorMap, coordinates: tuple[int, ...]) -> np.ndarray:
    """The box as numpy cuts it, zeros outside, in the order of memory."""
    edge = 200 if x.ndim == 2 else 20
    size = [n + 2 * edge for n in x.shape]
    padded = np.zeros(size, x.dtype)
    padded[tuple(slice(edge, edge + n) for n in x.shape)] = x
    starts = zip(reversed(coordinates), reversed(map_.box), strict=True)
    return padded[tuple(slice(edge + at, edge + at + n) for at, n in starts)]


@pytest.mark.parametrize("swizzle", [0, 32, 64, 128])
@pytest.mark.parametrize("when", ["late", "early"])
@pytest.mark.parametrize("at", [(0, 0), (8, 3), (-8, -2), (16, 6), (104, 0)])
def test_boxes(swizzle: int, when: str, at: tuple[int, int]) -> None:
    x = np.arange(9 * 40, dtype=np.uint16).reshape(9, 40) + 1
    columns = swizzle // 2 or 24
    map_ = TensorMap(0, (40, 9), (2, 80), (columns, 8), 2, swizzle)
    size = columns * 8 * 2
    y = np.zeros(size // 2, np.uint16)
    body = load(size, f"{at[0]}, {at[1]}") + WAIT + DUMP.replace("BYTES", str(size))
    launch(body, x, y, map_, when)
    places = np.arange(size // 2) * 2
    if swizzle:  # 16-byte chunks of rows of 128, 64, 32 bytes, xored with bits 7 and up
        chunk = (places >> 4) ^ (places >> 7) % (swizzle // 16)
        places = chunk << 4 | places & 15
    np.testing.assert_array_equal(y[places // 2], box_of(x, map_, at).reshape(-1))


@pytest.mark.parametrize("rank", [1, 3, 4, 5])
def test_other_ranks(rank: int) -> None:
    shape = (2, 3, 2, 3, 16)[5 - rank :]
    x = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    box = tuple(reversed((2, 2, 1, 2, 8)[5 - rank :]))
    strides = tuple(4 * int(np.prod(shape[dim + 1 :])) for dim in reversed(range(rank)))
    map_ = TensorMap(0, tuple(reversed(shape)), strides, box, 4)
    at = (8, 2, 1, 2, 1)[:rank]
    size = 4 * int(np.prod(box))
    y = np.zeros(size // 4, np.uint32)
    body = load(size, ", ".join(map(str, at)), rank) + WAIT + DUMP.replace("BYTES", str(size))
    launch(body, x, y, map_)
    np.testing.assert_array_equal(y, box_of(x, map_, at).reshape(-1))


STORE = """
  mov.u32 %r2, 0;
  FILL: add.u32 %r3, %r1, %r2; st.shared.u32 [%r3+1024], %r2; add.u32 %r2, %r2, 4;
  setp.lt.u32 %p2, %r2, 512; @%p2 bra FILL;
  fence.proxy.async.shared::cta;
  cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd0, {4, -1}], [%r1+1024];
  cp.async.bulk.commit_group;
  cp.async.bulk.wait_group 0;
"""


@pytest.mark.parametrize("when", ["late", "early"])
def test_stores_leave_out_what_is_outside(when: str) -> None:
    x = np.full((5, 12), 7, np.uint32)
    launch(STORE, x, np.zeros(1), TensorMap(0, (12, 5), (4, 48), (16, 8), 4), when)
    meant = np.full((5, 12), 7)
    tile = np.arange(128).reshape(8, 16) * 4
    meant[:5, 4:] = tile[1:6, :8]
    np.testing.assert_array_equal(x, meant)


MAP = TensorMap(0, (16, 4), (4, 64), (16, 4), 4)


@pytest.mark.parametrize(
    ("body", "map_", "said"),
    [
        (load(256, "0, 0, 0", 3), MAP, "3 coordinates for a map of rank 2"),
        (load(256, "0, 0").replace("[%r1+1024]", "[%r1+64]"), MAP, "no multiple of 128"),
        (load(256, "0, 0").replace("[%rd0,", "[%rd1,"), MAP, "there is no tensor map at"),
        (load(240, "0, 0"), MAP, "16 bytes more land"),
        (load(256, "2, 0"), MAP, "the box begins at no multiple of 16 bytes of a row"),
        (load(256, "-1, 9"), MAP, "the first coordinate is -1 for elements of 4 bytes"),
        (STORE.replace("{4, -1}", "{6, 0}"), MAP, "the first coordinate is 6"),
        (load(256, "0, 0"), TensorMap(0, (16, 5), (4, 64), (16, 5), 4), "leaves its memory"),
        (STORE.replace("  fence.proxy.async.shared::cta;\n", ""), MAP, "no fence.proxy.async"),
    ],
)
def test_mistakes(body: str, map_: TensorMap, said: str) -> None:
    with pytest.raises(EmulatorError) as caught:
        launch(body + WAIT, np.zeros((4, 16), np.uint32), np.zeros(1), map_)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strides": (8, 64)}, "neighbours along the first dimension"),
        ({"strides": (4, 68)}, "strides of multiples of 16 bytes"),
        ({"shape": (16, 0)}, "extents from 1 to 2**32"),
        ({"box": (257, 1)}, "boxes of 1 to 256 elements"),
        ({"box": (3, 4)}, "boxes of rows of multiples of 16 bytes"),
        ({"swizzle": 32}, "boxes with rows within the swizzle's"),
        ({"swizzle": 256}, "swizzles of rows of 32, 64 or 128 bytes"),
        ({"element_bytes": 3}, "elements of 1, 2, 4 or 8 bytes"),
    ],
)
def test_maps_that_no_driver_makes(change: dict[str, Any], said: str) -> None:
    settings = {"argument": 0, "shape": (16, 4), "strides": (4, 64), "box": (16, 4)}
    with pytest.raises(ValueError, match="a tensor map takes") as caught:
        TensorMap(**{**settings, "element_bytes": 4, **change})  # type: ignore[arg-type]
    assert said in str(caught.value)
