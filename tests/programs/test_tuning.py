"""The tuner without a GPU: candidates compile, slow and dying workers cost one candidate."""

from __future__ import annotations

import json
import os
import time
from math import prod
from pathlib import Path
from typing import Any, cast

import pytest

from tileloom.programs.quantized_matmul.plan import scalars
from tileloom.programs.quantized_matmul.schedule import Schedule, choose
from tileloom.programs.quantized_matmul.timing import (
    HALF_BYTES,
    MOST_LAUNCHES,
    WEIGHT_BYTES,
    Bench,
    rotated,
)
from tileloom.programs.quantized_matmul.tuning import (
    Problem,
    Worker,
    append,
    compile_all,
    measure_all,
)
from tileloom.runtime.toolkit import available_assembler
from tileloom.vm.diagnostics import DeviceError

ROOT = Path(__file__).resolve().parents[2]
PROBLEM = Problem("u4", 512, 128, 1)
FAST, SLOW, FATAL, FAILING = (
    Schedule.parse(word) for word in ("k2f1t8s1", "k4f1t8s1", "k1f1t8s1", "k1f2t8s1")
)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker process imports this module by name."""
    monkeypatch.syspath_prepend(str(ROOT))


def pretend(pipe: Any) -> None:
    """A worker that hangs on one schedule, dies on another and fails on a third."""
    pipe.send("ready")
    while True:
        _, schedule = pipe.recv()
        if schedule == SLOW:
            time.sleep(60)
        if schedule == FATAL:
            os._exit(1)
        pipe.send("no such kernel" if schedule == FAILING else 12.5)


def silent(pipe: Any) -> None:
    """A worker that ends before it is ready."""


def test_a_bad_candidate_costs_itself_alone() -> None:
    worker = Worker(pretend, limit_s=0.5)
    try:
        schedules = [FAST, SLOW, FAILING, FATAL, Schedule.parse("k2f2t8s1")]
        finding = measure_all(worker, PROBLEM, schedules, {})
    finally:
        worker.close()
    assert finding.times == {"k2f1t8s1": 12.5, "k2f2t8s1": 12.5}
    assert finding.failures == {
        str(SLOW): "no result in 0.5 s",
        str(FAILING): "no such kernel",
        str(FATAL): "the worker died",
    }


def test_a_worker_without_a_gpu_is_told() -> None:
    with pytest.raises(DeviceError, match="can't use the GPU"):
        Worker(silent).time(PROBLEM, FAST)


def test_what_does_not_compile_is_not_measured(tmp_path: Path) -> None:
    broken = {PROBLEM.plan(SLOW).config: "spills 999 bytes"}
    worker = Worker(pretend, limit_s=5.0)
    try:
        finding = measure_all(worker, PROBLEM, [SLOW, FAST], broken)
    finally:
        worker.close()
    assert finding.best == str(FAST) and finding.failures == {str(SLOW): "spills 999 bytes"}
    append(tmp_path / "record.jsonl", finding, "some GPU")
    row = json.loads((tmp_path / "record.jsonl").read_text())
    assert row["schedule"] == str(FAST) and row["us"] == {str(FAST): 12.5} and row["k"] == 512


@pytest.mark.skipif(available_assembler() is None, reason="no assembler is installed")
def test_candidates_compile_in_parallel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_CACHE_DIR", str(tmp_path))
    assert compile_all([PROBLEM.plan(FAST), PROBLEM.plan(SLOW)], 2, "sm_90a") == {}
    assert list(tmp_path.rglob("*")), "the kernels are in the cache"


@pytest.mark.parametrize("weight", ["u1", "u4", "u8"])
@pytest.mark.parametrize("group", [32, 128, 1 << 20])
def test_neither_words_nor_scales_stay_in_the_cache(weight: str, group: int) -> None:
    cache = 50 << 20
    for k, n in ((8192, 8192), (8192, 57344), (28672, 8192)):
        geometry = Problem(weight, k, n, 1, group).geometry
        words, copies, slots = rotated(geometry)
        scales = 2 * prod(geometry.scale_shape())
        assert words >= k * n * geometry.bits // 8 and 2 * cache < copies * words <= WEIGHT_BYTES
        assert slots * scales <= HALF_BYTES
        # One row of scales is small beside the words, whatever keeps it.
        taken = max(copies, min(MOST_LAUNCHES, slots))
        assert min(taken, slots) * scales > 2 * cache or 100 * scales < words


class Memory:
    """Stands for device memory that nobody reads."""

    def __init__(self, address: int) -> None:
        self.address = address

    def data_ptr(self) -> int:
        return self.address


def test_each_launch_reads_words_and_scales_of_its_own() -> None:
    bench = object.__new__(Bench)
    bench.weights, bench.halves = cast(Any, Memory(1 << 40)), cast(Any, Memory(1 << 50))
    bench.output, bench.counters = cast(Any, Memory(1 << 60)), cast(Any, Memory(1 << 61))
    problem = Problem("u4", 8192, 57344, 16)
    geometry, plan = problem.geometry, problem.plan(choose(problem.geometry, 16))
    words, copies, slots = rotated(geometry)
    found = list(bench.rounds(plan, geometry))
    assert len(found) == max(copies, min(MOST_LAUNCHES, slots))
    assert {values[1] for values in found} == {(1 << 40) + i * words for i in range(copies)}
    scales = 2 * prod(geometry.scale_shape())
    for place in (2, 3):
        assert {values[place] for values in found} == {
            (1 << 50) + i * scales for i in range(min(slots, len(found)))
        }
    assert all(values[2] != values[3] for values in found)
    assert all(
        values[8:] == scalars(plan, 8192, 57344, geometry.num_chunks, 1.0) for values in found
    )
