"""The measuring helper's arithmetic."""

from __future__ import annotations

from functools import partial

import pytest

from tileloom.runtime.bench import Timing, measure, measure_host, rotation
from tileloom.runtime.cuda import context
from tileloom.runtime.cuda.graph import Graph
from tileloom.runtime.cuda.launch import LoadedKernel

from .fake_driver import FakeDriver


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


def test_measuring_replays_a_graph_of_all_launches(fake: FakeDriver) -> None:
    fake.num_params = 1
    loaded = LoadedKernel(context.device(0), b"cubin", "k", 32, 0, ["q"])
    launches = [partial(loaded.launch, (1, 1, 1), [i]) for i in range(3)]
    timing = measure(launches, replays=5, warm_up=2)
    # Three milliseconds a round is long enough for one round a replay.
    assert timing.launches == 3
    assert timing.samples == (1000.0,) * 5
    assert [launch.words[0] for launch in fake.launches] == [0, 1, 2] * (2 + 2 + 5)
    assert fake.calls.count("cuGraphInstantiate") == 1
    assert fake.calls.count("cuGraphExecDestroy") == 1
    assert {launch.stream for launch in fake.launches} == {101}


def test_a_failed_recording_ends_the_capture(fake: FakeDriver) -> None:
    def fail(handle: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Graph(fail)
    assert fake.calls[-1] == "cuStreamEndCapture"
