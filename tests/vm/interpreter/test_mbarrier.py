"""Barriers that count: what they order, and what of their use is found to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Interpret = Callable[..., None]
SEEDS = range(4)

REVERSE = """func @f(%x: *f32, %y: *f32) warps = 2 {
  %gx = global_view %x : global<f32, [4, 64]>
  %gy = global_view %y : global<f32, [4, 64]>
  %s = alloc_shared : shared<f32, [64]>
  %full = alloc_mbarrier {count = COUNT} : mbarrier<[2]>
  %k = arange {start = 63, step = -1} : reg<i32, [64], spatial(64)>
  for %i in 0 to 4 {
    %a = load %gx[%i, 0] {dims = [1]} : reg<f32, [64], spatial(64)>
    store %s[0], %a
    ARRIVE
    mbarrier_wait %full[0], %i
    %b = gather %s[0], %k : reg<f32, [64], spatial(64)>
    mbarrier_arrive %full[1]
    mbarrier_wait %full[1], %i
    store %gy[%i, 0], %b {dims = [1]}
  }
}"""


def reverse(count: int = 64, arrive: str = "mbarrier_arrive %full[0]") -> str:
    return REVERSE.replace("COUNT", str(count)).replace("ARRIVE", arrive)


def arrays() -> list[Any]:
    x = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    return [x, np.zeros_like(x)]


def test_arrivals_of_all_and_a_wait_are_a_barrier(interpret: Interpret) -> None:
    x, y = arrays()
    interpret(reverse(), [x, y])
    np.testing.assert_array_equal(y, x[:, ::-1])


def test_a_warp_may_arrive_for_its_lanes(interpret: Interpret) -> None:
    x, y = arrays()
    arrive = "mbarrier_arrive %full[0] {per = warp, count = 32}"
    interpret(reverse(arrive=arrive), [x, y])
    np.testing.assert_array_equal(y, x[:, ::-1])


@pytest.mark.parametrize(
    "lost", ["    mbarrier_wait %full[0], %i\n", "    mbarrier_wait %full[1], %i\n"]
)
def test_without_a_wait_there_is_a_race(message: Callable[..., str], lost: str) -> None:
    text = message(reverse().replace(lost, ""), arrays())
    assert "race on `%s`: element" in text and "with nothing in between that orders the two" in text


def test_bytes_that_were_announced_tell_nothing_of_what_others_did(
    message: Callable[..., str],
) -> None:
    text = message(reverse(1, "mbarrier_expect %full[0], 0"), arrays())
    assert "race on `%s`: element" in text


@pytest.mark.parametrize(
    ("count", "come"), [(65, "phase 0 runs, 64 of 65 arrivals have come"), (128, "64 of 128")]
)
def test_too_few_arrivals(message: Callable[..., str], count: int, come: str) -> None:
    text = message(reverse(count), arrays())
    assert "execution error: deadlock" in text
    assert "waits for the phase of parity 0 of `%full`[0]" in text and come in text


def test_too_many_arrivals(message: Callable[..., str]) -> None:
    text = message(reverse(63), arrays())
    assert "64 arrivals at `%full`[0], whose phase 0 lacks 63 of 63" in text
    assert "give `alloc_mbarrier` the number of arrivals of a phase as its `count`" in text


def test_announced_bytes_that_never_come(message: Callable[..., str]) -> None:
    text = message(reverse(1, "mbarrier_expect %full[0], 48"), arrays())
    assert "1 of 1 arrivals have come, 48 bytes are announced and 0 under way" in text


def test_a_wrong_parity(message: Callable[..., str]) -> None:
    text = message(reverse().replace("%full[0], %i", "%full[0], %i + 1"), arrays())
    assert "waits for the phase of parity 1 of `%full`[0]: phase 1 runs" in text


def test_places_are_checked(message: Callable[..., str]) -> None:
    text = message(reverse().replace("wait %full[1], %i", "wait %full[2], 1"), arrays())
    assert "there is no `%full`[2]: its shape is [2]" in text


RING = """func @f(%x: *f32, %y: *f32) warps = 1, grid = [8], cluster = [4] {
  %gx = global_view %x : global<f32, [8, 32]>
  %gy = global_view %y : global<f32, [8, 32]>
  %s = alloc_shared : shared<f32, [32]>
  %came = alloc_mbarrier {count = 32} : mbarrier<[1]>
  %a = load %gx[block.x, 0] {dims = [1]} : reg<f32, [32]>
  cluster_barrier
  store_remote %s[0], %a, (cluster_rank + 1) % 4
  mbarrier_arrive %came[0], (cluster_rank + 1) % 4
  mbarrier_wait %came[0], 0
  %b = load %s[0] : reg<f32, [32]>
  store %gy[block.x, 0], %b {dims = [1]}
  cluster_barrier
}"""


@pytest.mark.parametrize("seed", SEEDS)
def test_arrivals_in_other_blocks(interpret: Interpret, seed: int) -> None:
    x = np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32)
    y = np.zeros_like(x)
    interpret(RING, [x, y], seed=seed)
    np.testing.assert_array_equal(y, x[[3, 0, 1, 2, 7, 4, 5, 6]])


def test_a_wait_for_others_than_the_writer_is_a_race(message: Callable[..., str]) -> None:
    text = RING.replace("%came[0], (cluster_rank + 1) % 4", "%came[0], cluster_rank").replace(
        "%a = load", "%z = full {fill = 0.0} : reg<f32, [32]>\n  store %s[0], %z\n  %a = load"
    )
    x = np.ones((8, 32), np.float32)
    assert "race on `%s`" in message(text, [x, x.copy()])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("  mbarrier_wait %came[0], 0\n", ""), "uninitialised value is stored"),
        (("cluster_barrier\n  store", "store"), "may not be allocated yet"),
        (("%came[0], (cluster_rank + 1) % 4", "%came[0], cluster_rank"), "uninitialised"),
        (("%came[0], (cluster_rank + 1) % 4", "%came[0], 4"), "no rank 4 in a cluster of 4"),
    ],
)
def test_mistakes_in_a_cluster(
    message: Callable[..., str], seed: int, change: tuple[str, str], said: str
) -> None:
    assert change[0] in RING
    x = np.zeros((8, 32), np.float32)
    assert said in message(RING.replace(*change), [x, x.copy()], seed=seed)


def test_a_test_says_whether_a_phase_is_over(interpret: Interpret) -> None:
    text = """func @f(%y: *i32) warps = 1 {
  %gy = global_view %y : global<i32, [4]>
  %b = alloc_mbarrier {count = 32} : mbarrier<[1]>
  %before = mbarrier_test %b[0], 0
  %other = mbarrier_test %b[0], 1
  mbarrier_arrive %b[0]
  %after = mbarrier_test %b[0], 0
  %zero = full {fill = 0} : reg<i32, [1]>
  %r = add %zero, select(%before, 100, 0) + select(%other, 10, 0) + select(%after, 1, 0)
  store %gy[0], %r
}"""
    y = np.zeros(4, np.int32)
    interpret(text, [y])
    assert y[0] == 11
