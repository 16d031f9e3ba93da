"""Tiles copied by the copy engine: their edges, and what of them is found to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tileloom.vm import parse
from tileloom.vm.interpreter import run

SHIFT = """layout #s = row_major(2, 16, 32) ^ swizzle(2, 4, 3)

func @f(%x: *f16, %y: *f16, %m: i32, %k: i32) warps = 2, grid = [(%m + 15) / 16, (%k + 31) / 32] {
  %gx = global_view %x : global<f16, [%m, %k]>
  %gy = global_view %y : global<f16, [%m, %k]>
  %s = alloc_shared : shared<f16, [2, 16, 32], #s>
  %full = alloc_mbarrier : mbarrier<[1]>
  mbarrier_expect %full[0], 1024
  copy_tensor %s[1, 0, 0], %gx[block.x * 16 - 3, block.y * 32 + 8], %full[0] {shape = [16, 32]}
  mbarrier_wait %full[0], 0
  %a = load %s[1, 0, 0] : reg<f16, [16, 32]>
  %b = add %a, 1.0
  store %s[0, 0, 0], %b
  fence_proxy_async
  barrier
  store_tensor %gy[block.x * 16, block.y * 32], %s[0, 0, 0] {shape = [16, 32]}
  bulk_commit
  bulk_wait
}"""


def matrix(m: int, k: int) -> list[Any]:
    x = np.random.default_rng(0).normal(size=(m, k)).astype(np.float16)
    return [x, np.zeros_like(x), m, k]


def shifted(x: np.ndarray) -> np.ndarray:
    """What SHIFT makes of x: each element is that 3 rows above and 8 columns to the right, plus 1,
    zeros coming from outside."""
    m, k = x.shape
    padded = np.zeros((m + 3, k + 8), np.float16)
    padded[3:, :k] = x
    return padded[:m, 8:] + np.float16(1)


@pytest.mark.parametrize(("m", "k"), [(16, 32), (40, 72), (1, 8), (17, 200)])
def test_tiles_at_the_edges(m: int, k: int) -> None:
    x, y, *sizes = matrix(m, k)
    run(parse(SHIFT), [x, y, *sizes])
    np.testing.assert_array_equal(y, shifted(x))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("  mbarrier_wait %full[0], 0\n", ""),
            "`%s` is read while an asynchronous copy into it is in flight",
        ),
        (
            ("  fence_proxy_async\n", ""),
            "`%s` is read through the asynchronous proxy, but its element [0, 0, 0] was written",
        ),
        (("  barrier\n", ""), "race on `%s`"),
        (("  bulk_wait\n", ""), "the block ends while a bulk store may still read `%s`"),
        (("], 1024", "], 1008"), "16 bytes more land at `%full`[0] than were announced"),
        (
            ("copy_tensor %s[1, 0, 0]", "copy_tensor %s[1, 1, 0]"),
            "leaves `%s` of shape [2, 16, 32]",
        ),
        (
            ("global<f16, [%m, %k]>", "global<f16, [%m, %k - 1], strides = [%k - 1, 1]>"),
            "`%gx` has a stride of 142 bytes, no multiple of 16",
        ),
        (("block.y * 32 + 8]", "5]"), "index 1 of `%gx` is 5, no multiple of 8"),
        (("block.y * 32 + 8]", "-4]"), "index 1 of `%gx` is -4, no multiple of 8"),
        (("block.y * 32], %s", "1000 * %k + 4], %s"), "index 1 of `%gy` is 72004"),
    ],
)
def test_what_is_wrong(message: Callable[..., str], change: tuple[str, str], said: str) -> None:
    assert change[0] in SHIFT
    assert said in message(SHIFT.replace(*change), matrix(40, 72))
