"""Copies by the copy engine: what they need, and what of it is found to be missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tileloom.vm import parse
from tileloom.vm.interpreter import run

SEEDS = range(3)
THROUGH = """func @f(%x: *f32, %y: *f32, %n: i32) warps = 4 {
  %gx = global_view %x : global<f32, [%n, 128]>
  %gy = global_view %y : global<f32, [%n, 128]>
  %s = alloc_shared : shared<f32, [2, 128]>
  %t = alloc_shared : shared<f32, [2, 128]>
  %full = alloc_mbarrier : mbarrier<[2]>
  for %i in 0 to %n {
    mbarrier_expect %full[%i % 2], 512
    copy_bulk %s[%i % 2, 0], %gx[%i, 0], %full[%i % 2] {count = 128}
    mbarrier_wait %full[%i % 2], %i / 2
    %a = load %s[%i % 2, 0] {dims = [1]} : reg<f32, [128], spatial(128)>
    %b = add %a, 1.0
    bulk_wait {pending = 1, read = true}
    barrier
    store %t[%i % 2, 0], %b {dims = [1]}
    fence_proxy_async
    barrier
    store_bulk %gy[%i, 0], %t[%i % 2, 0] {count = 128}
    bulk_commit
  }
  bulk_wait
}"""


def rows(count: int = 7) -> list[Any]:
    x = np.random.default_rng(0).normal(size=(count, 128)).astype(np.float32)
    return [x, np.zeros_like(x), count]


def test_in_and_out() -> None:
    x, y, n = rows()
    run(parse(THROUGH), [x, y, n])
    np.testing.assert_array_equal(y, x + np.float32(1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("    mbarrier_wait %full[%i % 2], %i / 2\n", ""),
            "`%s` is read while an asynchronous copy into it is in flight",
        ),
        (
            ("    fence_proxy_async\n", ""),
            "`%t` is read through the asynchronous proxy, but its element [0, 0] was written",
        ),
        (
            ("    bulk_wait {pending = 1, read = true}\n", ""),
            "`%t` is written while a bulk store may still read it",
        ),
        (("  bulk_wait\n", ""), "the block ends while a bulk store may still read `%t`"),
        (("], 512", "], 496"), "16 bytes more land at `%full`[0] than were announced"),
        (("], 512", "], 528"), "16 bytes are announced and 0 under way"),
        (("    barrier\n    store_bulk", "    store_bulk"), "race on `%t`"),
        (("    barrier\n    store %t", "    store %t"), "race on `%t`"),
        (
            ("%gx[%i, 0]", "%gx[%i, 2]"),
            "the run of 128 elements at [0, 2] leaves `%gx` of shape [7, 128]",
        ),
        (
            ("global<f32, [%n, 128]>", "global<f32, [%n, 129], strides = [129, 1]>"),
            "no multiple of 16",
        ),
        (("%s[%i % 2, 0], %gx", "%s[%i % 3, 0], %gx"), "leaves `%s` of shape [2, 128]"),
    ],
)
def test_what_is_missing(message: Callable[..., str], change: tuple[str, str], said: str) -> None:
    assert change[0] in THROUGH
    x = np.zeros((9, 129), np.float32)
    assert said in message(THROUGH.replace(*change), [x, x.copy(), 7])


def test_copies_of_who_ends(message: Callable[..., str]) -> None:
    text = """func @f(%x: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [32]>
  %s = alloc_shared : shared<f32, [32]>
  %b = alloc_mbarrier : mbarrier<[1]>
  copy_bulk %s[0], %gx[0], %b[0] {count = 32}
}"""
    said = message(text, [np.zeros(32, np.float32)])
    assert "the block ends while a copy that tells `%b`[0] is in flight" in said


REUSE = """func @f(%x: *f32, %y: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [2, 32]>
  %gy = global_view %y : global<f32, [2, 32]>
  %s = alloc_shared : shared<f32, [32]>
  %full = alloc_mbarrier : mbarrier<[1]>
  %a = load %gx[0, 0] {dims = [1]} : reg<f32, [32], spatial(32)>
  store %s[0], %a
  fence_proxy_async
  barrier
  mbarrier_expect %full[0], 128
  copy_bulk %s[0], %gx[1, 0], %full[0] {count = 32}
  mbarrier_wait %full[0], 0
  %b = load %s[0] : reg<f32, [32], spatial(32)>
  store %gy[0, 0], %b {dims = [1]}
}"""


def test_what_is_overwritten_must_be_behind_a_fence_too(message: Callable[..., str]) -> None:
    x, y = rows(2)[0][:, :32].copy(), np.zeros((2, 32), np.float32)
    run(parse(REUSE), [x, y])
    np.testing.assert_array_equal(y[0], x[1])
    said = message(REUSE.replace("  fence_proxy_async\n", ""), [x, y])
    assert "`%s` is written through the asynchronous proxy, but its element [0] was written" in said


CAST = """func @f(%x: *i32, %y: *i32) warps = 1, grid = [8], cluster = [4] {
  %gx = global_view %x : global<i32, [8, 32]>
  %gy = global_view %y : global<i32, [8, 4, 32]>
  %s = alloc_shared : shared<i32, [4, 32]>
  %full = alloc_mbarrier : mbarrier<[1]>
  mbarrier_expect %full[0], 512
  cluster_barrier
  copy_bulk %s[cluster_rank, 0], %gx[block.x, 0], %full[0], 15 {count = 32}
  mbarrier_wait %full[0], 0
  %a = load %s[0, 0] : reg<i32, [4, 32]>
  store %gy[block.x, 0, 0], %a {dims = [1, 2]}
  cluster_barrier
}"""


@pytest.mark.parametrize("seed", SEEDS)
def test_to_many_blocks(seed: int) -> None:
    x = np.arange(256, dtype=np.int32).reshape(8, 32)
    y = np.zeros((8, 4, 32), np.int32)
    run(parse(CAST), [x, y], seed=seed)
    np.testing.assert_array_equal(y, x.reshape(2, 4, 32)[np.arange(8) // 4])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("%full[0], 15", "%full[0], 16"), "the mask of ranks is 0b10000 in a cluster of 4"),
        (("%full[0], 15", "%full[0], 0"), "the mask of ranks is 0b0 in a cluster of 4"),
        (("  cluster_barrier\n  copy", "  copy"), "may not be allocated yet"),
        (("%full[0], 15", "%full[0], 7"), "deadlock"),
    ],
)
def test_mistakes_with_many_blocks(
    message: Callable[..., str], change: tuple[str, str], said: str
) -> None:
    assert change[0] in CAST
    x = np.zeros((8, 32), np.int32)
    assert said in message(CAST.replace(*change), [x, np.zeros((8, 4, 32), np.int32)])
