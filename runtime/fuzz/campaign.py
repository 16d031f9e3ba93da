"""Many seeds: drawn, checked and assembled in chunks, by several processes if asked."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from tileloom.vm.diagnostics import VMError

from .apart import run_apart
from .assembly import has_assembler, rejected
from .case import TARGETS, Case
from .check import Compiled, check, compiled
from .chunk import Chunk, Settings
from .generate import generate
from .parsing import CheckError, Finding
from .shrink import shrink, signature

CHUNK = 64
_MOST_SHRUNK = 20


@contextmanager
def _without_collector() -> Iterator[None]:
    """The garbage collector off: it would look at all programs of a chunk again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def run_chunk(seeds: range, settings: Settings) -> Chunk:
    """Checks the programs of some seeds; on a GPU in a process of their own."""
    if settings.device == "cuda":
        from .cuda import check_programs

        return run_apart(seeds, settings, check_programs)
    return _run_here(seeds, settings)


@_without_collector()
def _run_here(seeds: range, settings: Settings) -> Chunk:
    chunk = Chunk(seeds)
    start = time.perf_counter()
    ready: list[Compiled] = []
    for seed in seeds:
        try:
            drawn = generate(seed)
            found = compiled(drawn, settings.targets_of(drawn.case))
            chunk.refusals.update(found.refusals)
            began = time.perf_counter()
            check(found)
            chunk.milliseconds.append(1e3 * (time.perf_counter() - began))
            ready.append(found)
            chunk.newest += found.case.is_newest
        except CheckError as error:
            chunk.findings.append(error.finding)
    if settings.assembles:
        chunk.findings += _rejections(ready, settings)
    chunk.seconds = time.perf_counter() - start
    return chunk


def _rejections(ready: Sequence[Compiled], settings: Settings) -> Iterator[Finding]:
    for target in settings.targets or TARGETS:
        having = [each for each in ready if target in each.lowered]
        lowered = [each.lowered[target] for each in having]
        for number, message in rejected(lowered, settings.opt_level):
            yield Finding("assembler", f"{target}: {message}", having[number].case)


def chunks(seeds: range, settings: Settings, jobs: int = 1) -> Iterator[Chunk]:
    """The seeds chunk by chunk, in their order."""
    parts = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    if jobs <= 1 or len(parts) == 1:
        for part in parts:
            yield run_chunk(part, settings)
        return
    # On a GPU each chunk has a process of its own anyway.
    pool: Executor
    if settings.device == "cuda":
        pool = ThreadPoolExecutor(jobs)
    else:
        pool = ProcessPoolExecutor(jobs, get_context("fork"))
    with pool:
        yield from pool.map(run_chunk, parts, [settings] * len(parts))


@dataclass
class Report:
    """A whole campaign."""

    programs: int = 0
    findings: list[Finding] = field(default_factory=list)
    reproducers: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    newest: int = 0

    def add(self, chunk: Chunk) -> None:
        """Adds a chunk's results."""
        self.programs += len(chunk.seeds)
        self.newest += chunk.newest
        self.findings += chunk.findings
        self.refusals.update(chunk.refusals)
        self.milliseconds += chunk.milliseconds

    @property
    def median_milliseconds(self) -> float:
        """Of a program on interpreter and emulator."""
        times = sorted(self.milliseconds)
        return times[len(times) // 2] if times else 0.0


def default_settings(device: str) -> Settings:
    """All targets, assembled where that is possible."""
    if device == "cuda":
        from ..cuda.context import current_device

        return Settings(device, (current_device().target,), assembles=False)
    return Settings(device, assembles=has_assembler())


def write_reproducers(report: Report, folder: Path) -> None:
    """A minimal `.vm` file for each way in which programs failed, the first ones only."""
    seen: set[tuple[str, str]] = set()
    for finding in report.findings:
        if signature(finding) in seen or len(seen) >= _MOST_SHRUNK:
            continue
        seen.add(signature(finding))
        small = _shrunk(finding)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"fuzz_{small.case.seed}_{small.kind.replace(' ', '_')}.vm"
        path.write_text(_explained(small), encoding="utf-8")
        report.reproducers.append(os.fspath(path))


def _shrunk(finding: Finding) -> Finding:
    if finding.kind in ("assembler", "generator") or finding.kind.endswith(" on cuda"):
        return finding
    try:
        return shrink(finding)
    except VMError:
        return finding


def _explained(finding: Finding) -> str:
    case: Case = finding.case
    lines = [f"// {finding.kind}: {line}" for line in finding.message.splitlines()[:4]]
    return "\n".join([*lines, case.text()])
