"""Many seeds: drawn, checked and assembled in chunks, by several processes if asked."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from tileloom.vm.diagnostics import VMError

from .assembly import has_assembler, rejected
from .case import TARGETS, Case
from .check import Compiled, check, compiled
from .generate import generate
from .parsing import CheckError, Finding
from .shrink import shrink, signature

CHUNK = 64
_MOST_SHRUNK = 20


@dataclass
class Chunk:
    """What a run of seeds gave. `milliseconds` is the time of each program's check; `newest` counts
    programs of what only sm_90 has."""

    seeds: range
    findings: list[Finding] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    newest: int = 0


@dataclass(frozen=True)
class Settings:
    """How chunks are checked. `targets` are compiled (and, if asked, assembled) for; none: all, or
    if `own_target`, each program's own."""

    device: str = "emulator"
    targets: tuple[str, ...] = ()
    assembles: bool = True
    opt_level: int = 3
    own_target: bool = False

    def targets_of(self, case: Case) -> tuple[str, ...]:
        """What a case is compiled for."""
        return (case.target,) if self.own_target else self.targets or case.targets


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


@_without_collector()
def run_chunk(seeds: range, settings: Settings) -> Chunk:
    """Checks the programs of some seeds."""
    chunk = Chunk(seeds)
    start = time.perf_counter()
    ready: list[Compiled] = []
    for seed in seeds:
        try:
            drawn = generate(seed)
            found = compiled(drawn, settings.targets_of(drawn.case))
            chunk.refusals.update(found.refusals)
            began = time.perf_counter()
            if settings.device == "emulator":
                check(found)
            chunk.milliseconds.append(1e3 * (time.perf_counter() - began))
            ready.append(found)
            chunk.newest += found.case.is_newest
        except CheckError as error:
            chunk.findings.append(error.finding)
    if settings.device == "cuda":
        from .cuda import check_batch

        chunk.findings += check_batch(ready)
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
    # A driver that is initialised does not survive a fork.
    start = "spawn" if settings.device == "cuda" else "fork"
    with ProcessPoolExecutor(jobs, get_context(start)) as pool:
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
    if finding.kind in ("assembler", "mismatch on cuda", "error on cuda", "generator"):
        return finding
    try:
        return shrink(finding)
    except VMError:
        return finding


def _explained(finding: Finding) -> str:
    case: Case = finding.case
    lines = [f"// {finding.kind}: {line}" for line in finding.message.splitlines()[:4]]
    return "\n".join([*lines, case.text()])
