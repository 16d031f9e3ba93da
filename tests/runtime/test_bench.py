"""The measuring helper's arithmetic."""

from __future__ import annotations

import pytest

from tileloom.runtime.bench import Timing, measure_host, rotation


def test_timing() -> None:
    timing = Timing((4.0, 1.0, 2.0, 3.0, 10.0), 7)
    assert (timing.median_us, timing.min_us) == (3.0, 1.0)
    assert timing.spread == pytest.approx(2 / 3)
    assert Timing((4.0,), 1).spread == 0.0


def test_rotation_keeps_the_cache_cold() -> None:
    assert rotation(100 << 20) == 4
    assert rotation(1 << 30) == 2
    assert rotation(1) == 512
    assert rotation(0) == 512
    assert rotation(50, total=101) == 3


def test_host_time() -> None:
    calls = []
    timing = measure_host(lambda: calls.append(1), samples=3, at_least_s=0.001)
    assert len(timing.samples) == 3
    assert len(calls) >= 3 * timing.launches
    assert 0 < timing.median_us < 1000
