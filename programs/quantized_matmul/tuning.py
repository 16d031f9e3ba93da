"""Finds the best schedules by measuring: candidates, a worker that times them, and their record.

    tileloom tune quantized_matmul --weights u4 --shapes 8192x8192 --m 1,16 -o FILE

Kernels compile in parallel. A worker process of its own launches them, so that a candidate that
hangs or fails costs its time limit and no more. Each line of the record is one problem with all
that was measured; `schedules/` holds the records that are shipped, and `choose` reads them.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tileloom.vm.diagnostics import DeviceError, VMError
from tileloom.vm.dtypes import dtype

from .candidates import candidates
from .geometry import Geometry
from .packing import Packed
from .plan import Plan, plan
from .quantization import default_zero_point
from .schedule import Schedule
from .wide_config import WideConfig
from .wide_schedule import FEWEST_TOKENS, WideSchedule, wide_candidates

AnySchedule: TypeAlias = "Schedule | WideSchedule"
TIME_LIMIT_S = 20.0
START_LIMIT_S = 60.0
SPILL_LIMIT = 256  # bytes; kernels that spill more were never the fastest


@dataclass(frozen=True)
class Problem:
    """What a schedule is sought for; `group` is the rows of a scale."""

    weight: str
    k: int
    n: int
    m: int
    group: int = 128
    activation: str = "f16"

    @property
    def geometry(self) -> Geometry:
        return Geometry(dtype(self.weight).bits, self.k, self.n, min(self.group, self.k))

    def plan(self, schedule: AnySchedule) -> Plan:
        """The kernel for this problem under a schedule."""
        kind = dtype(self.weight)
        nothing = np.empty(0, np.float16)
        packed = Packed(
            np.empty(0, np.uint32), nothing, None, kind, self.geometry,
            default_zero_point(kind), self.activation,
        )  # fmt: skip
        return plan(packed, self.m, self.activation, self.activation, schedule=schedule)

    def candidates(self) -> list[AnySchedule]:
        """The schedules worth measuring."""
        found: list[AnySchedule] = list(candidates(self.geometry, self.m))
        if self.m >= FEWEST_TOKENS and self.geometry.cut.contiguous and self.k % 8 == 0:
            zero_point = default_zero_point(dtype(self.weight))
            config = WideConfig(
                self.geometry.cut, self.weight, self.activation, zero_point, self.activation
            )
            wide = list(wide_candidates(self.geometry, self.m, config))
            # Rounds are not chosen without a measurement.
            found += [*wide, *(replace(each, in_rounds=True) for each in wide if each.parts)]
        return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Finding:
    """The microseconds of each schedule of a problem, fastest first; failures have none."""

    problem: Problem
    times: dict[str, float]
    failures: dict[str, str]

    @property
    def best(self) -> str:
        return next(iter(self.times))

    def as_dict(self, gpu: str) -> dict[str, Any]:
        """One line of a record."""
        p = self.problem
        return {
            "gpu": gpu,
            "weight": p.weight,
            "activation": p.activation,
            "group": p.group,
            "k": p.k,
            "n": p.n,
            "m": p.m,
            "schedule": self.best if self.times else None,
            "us": {name: round(us, 3) for name, us in self.times.items()},
            "failures": self.failures,
        }


def tune(problems: Sequence[Problem], jobs: int, target: str = "sm_90a") -> Iterator[Finding]:
    """Measures every candidate of every problem on the current GPU."""
    choices = [(p, p.candidates()) for p in problems]
    broken = compile_all([p.plan(s) for p, schedules in choices for s in schedules], jobs, target)
    worker = Worker()
    try:
        for problem, schedules in choices:
            yield measure_all(worker, problem, schedules, broken)
    finally:
        worker.close()


def measure_all(
    worker: Worker, problem: Problem, schedules: Iterable[AnySchedule], broken: dict[Any, str]
) -> Finding:
    """One problem's candidates, one after the other."""
    times, failures = {}, {}
    for schedule in schedules:
        error = broken.get(problem.plan(schedule).config)
        result = error or worker.time(problem, schedule)
        if isinstance(result, float):
            times[str(schedule)] = result
        else:
            failures[str(schedule)] = result
    ordered = dict(sorted(times.items(), key=lambda item: item[1]))
    return Finding(problem, ordered, failures)


def compile_all(plans: Iterable[Plan], jobs: int, target: str) -> dict[Any, str]:
    """Fills the disk cache with every kernel; gives the errors of those that can't be compiled."""
    distinct = list({plan.config: None for plan in plans})
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        errors = pool.map(_compile, distinct, [target] * len(distinct), chunksize=2)
        return {c: e for c, e in zip(distinct, errors, strict=True) if e}


def _compile(config: Any, target: str) -> str:
    from .device import compiled

    try:
        kernel = compiled(config, target)
        spills = kernel.assembled.spill_stores
    except VMError as error:
        return error.message
    return f"spills {spills} bytes" if spills > SPILL_LIMIT else ""


class Worker:
    """A process that times schedules; started anew after a time-out or a crash.

    It runs `serve(pipe)`, which says "ready" and answers each (problem, schedule) with microseconds
    or a message. A measurement may take `limit_s` seconds.
    """

    def __init__(
        self, serve: Callable[[Any], None] | None = None, limit_s: float = TIME_LIMIT_S
    ) -> None:
        self._serve, self._limit_s = serve or _serve, limit_s
        self._process: Any = None
        self._pipe: Any = None

    def time(self, problem: Problem, schedule: AnySchedule) -> float | str:
        """Microseconds of one product, or what went wrong."""
        if self._process is None:
            self._start()
        self._pipe.send((problem, schedule))
        if not self._pipe.poll(self._limit_s):
            self.close()
            return f"no result in {self._limit_s:g} s"
        try:
            result: float | str = self._pipe.recv()
        except EOFError:
            self.close()
            return "the worker died"
        if isinstance(result, str):
            self.close()  # a failed launch leaves its context unusable
        return result

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=self._serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        try:
            ready = self._pipe.poll(START_LIMIT_S) and self._pipe.recv() == "ready"
        except EOFError:
            ready = False
        if not ready:
            self.close()
            raise DeviceError("the tuner's worker can't use the GPU")


def _serve(pipe: Any) -> None:
    """The worker's loop: times what it is sent until nobody is there."""
    from .timing import Bench

    bench = Bench()
    pipe.send("ready")
    while True:
        try:
            problem, schedule = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(bench.time(problem.plan(schedule), problem.geometry))
        except VMError as error:
            pipe.send(error.message)


def append(path: Path, finding: Finding, gpu: str) -> None:
    """Adds a line to a record."""
    with path.open("a") as sink:
        sink.write(json.dumps(finding.as_dict(gpu)) + "\n")


def run(problems: Sequence[Problem], jobs: int, path: Path | None, gpu: str) -> list[Finding]:
    """Tunes problems, with a line for each as it is done."""
    findings = []
    began = time.perf_counter()
    for finding in tune(problems, jobs):
        findings.append(finding)
        p = finding.problem
        best = f"{finding.times[finding.best]:9.2f} us {finding.best}" if finding.times else "none"
        print(f"{p.weight:>5} {p.k}x{p.n} m={p.m:<4} {best}", flush=True)
        if path is not None:
            append(path, finding, gpu)
    print(f"{len(findings)} problems in {time.perf_counter() - began:.1f} s")
    return findings
