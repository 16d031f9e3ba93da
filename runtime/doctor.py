"""`tileloom doctor`: what is installed, and what works here.

Everything is tried, not looked up: a small kernel runs on each device, a module goes through each
assembler. What is missing is no failure; the exit status is 1 only if something is broken that
needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tileloom.vm.diagnostics import VMError
from tileloom.vm.text import parse

from . import options, toolkit
from .arguments import Parser
from .assemblers import Job
from .bundles import Bundle
from .cache import DiskCache
from .cache_commands import size_text
from .compiled import CompiledKernel
from .cuda import context
from .errors import CacheWarning, ToolMissingError
from .sass import disassemble, nvdisasm_version

_PACKAGES = ("numpy", "lark", "cuda-python", "cuda-bindings")
_ABILITIES = "what works here"
_ASSEMBLERS = ("ptxas", "nvjitlink", "driver")

# y = x + 1 over 32 floats: the least that goes through everything.
_PROBE = """
func @probe(%x: *f32, %y: *f32) warps = 1 {
  %gx = global_view %x {alignment = 4} : global<f32, [32]>
  %gy = global_view %y {alignment = 4} : global<f32, [32]>
  %tile = load %gx[0] : reg<f32, [32]>
  %one = full {fill = 1.0} : reg<f32, [32]>
  %sum = add %tile, %one
  store %gy[0], %sum
}
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `state` is "ok", "missing", "broken" or "" (a plain fact)."""

    section: str
    name: str
    state: str
    text: str
    hint: str = ""


def main(arguments: list[str]) -> int:
    """Runs `tileloom doctor` and returns the exit status."""
    parser = Parser(prog="tileloom doctor", description="say what is installed and what works")
    parser.add_argument("--json", action="store_true", help="as one line of JSON")
    args = parser.parse_args(arguments)
    findings = examine()
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        print(report_text(findings))
    return 1 if any(finding.state == "broken" for finding in findings) else 0


def examine() -> list[Finding]:
    """Everything there is to say, in the report's order."""
    checks = (_software, _gpus, _tools, _cache, _environment, _abilities)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)  # the report says it
        return [finding for check in checks for finding in check()]


def report_text(findings: list[Finding]) -> str:
    """The report as lines of text."""
    lines: list[str] = []
    section, width = None, 0
    for finding in findings:
        if finding.section != section:
            section = finding.section
            width = max(len(f.name) for f in findings if f.section == section)
            lines += ["", section] if lines else [section]
        is_bad = finding.state in ("missing", "broken") and section != _ABILITIES
        state = f"{finding.state}: " if is_bad else ""
        lines.append(f"  {finding.name:<{width}}  {state}{finding.text}")
        if finding.hint:
            lines.append(f"  {'':<{width}}  hint: {finding.hint}")
    return "\n".join(lines)


def _software() -> Iterator[Finding]:
    section = "software"
    where = Path(__file__).parents[1]
    yield Finding(section, "tileloom", "", f"{_version('tileloom') or 'source tree'} in {where}")
    python = f"{platform.python_version()} ({sys.executable})"
    yield Finding(section, "python", "", python)
    yield Finding(section, "system", "", f"{platform.platform(terse=True)}, {platform.machine()}")
    for name in _PACKAGES:
        found = _version(name)
        state = "ok" if found else "missing"
        yield Finding(section, name, state, found or f"no package `{name}`")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpus() -> Iterator[Finding]:
    section = "GPU"
    try:
        count = context.device_count()
        major, minor = context.driver_version()
    except VMError as error:
        yield Finding(section, "driver", "missing", error.message, error.hint or "")
        return
    yield Finding(section, "driver", "ok", f"serves CUDA {major}.{minor}")
    if not count:
        yield Finding(section, "devices", "missing", "the driver shows no GPU")
    for ordinal in range(count):
        yield _gpu(section, ordinal)


def _gpu(section: str, ordinal: int) -> Finding:
    try:
        device = context.device(ordinal)
        text = f"{device.name}, `{device.target}`, {device.num_multiprocessors} multiprocessors"
        return Finding(section, f"device {ordinal}", "ok", text)
    except VMError as error:
        return Finding(section, f"device {ordinal}", "broken", error.message, error.hint or "")


def _tools() -> Iterator[Finding]:
    section = "tools"
    for choice in _ASSEMBLERS:
        yield _assembler(section, choice)
    try:
        yield Finding(section, "nvdisasm", "ok", nvdisasm_version())
    except ToolMissingError as error:
        yield Finding(section, "nvdisasm", "missing", error.message, error.hint or "")
    try:
        used = toolkit.find_assembler().identity
        yield Finding(section, "assembler used", "ok", used)
    except ToolMissingError as error:
        yield Finding(section, "assembler used", "missing", error.message, error.hint or "")


def _assembler(section: str, choice: str) -> Finding:
    """Whether an assembler is there and assembles."""
    try:
        found = toolkit.find_assembler(choice)
        place = getattr(found, "path", "in process")
        kernel = _probe()
        outcome = found.run(Job(kernel.name, kernel.ptx, kernel.target))
    except ToolMissingError as error:
        return Finding(section, choice, "missing", error.message, error.hint or "")
    except Exception as error:  # NVIDIA's libraries raise errors of many kinds
        return Finding(section, choice, "broken", f"{type(error).__name__}: {error}")
    if outcome.cubin is None:
        reason = outcome.failure or outcome.log.strip().partition("\n")[0] or "no cubin"
        return Finding(section, choice, "missing", f"{found.identity} makes no cubin: {reason}")
    return Finding(section, choice, "ok", f"{found.identity} ({place})")


def _cache() -> Iterator[Finding]:
    section = "cache"
    settings = options.current()
    if not settings.cache_enabled:
        yield Finding(section, "directory", "", "turned off by `TILELOOM_CACHE`")
        return
    disk = DiskCache(settings.cache_dir, settings.cache_bytes)
    reason = disk.why_unusable()
    if reason is None and not os.access(disk.directory, os.W_OK):
        reason = "it can't be written"
    if reason is not None:
        yield Finding(section, "directory", "missing", f"{disk.directory}: {reason}")
    else:
        sizes = [status.st_size for status in disk.entries().values()]
        total, bound = size_text(sum(sizes)), size_text(disk.max_bytes)
        entries = "1 entry" if len(sizes) == 1 else f"{len(sizes)} entries"
        yield Finding(
            section, "directory", "ok", f"{disk.directory}: {entries}, {total} of {bound}"
        )
    for path in settings.cache_layers:
        try:
            yield Finding(section, "layer", "ok", f"{path}: {len(Bundle(path).keys)} kernels")
        except VMError as error:
            yield Finding(section, "layer", "missing", error.message, error.hint or "")


def _environment() -> Iterator[Finding]:
    for name in options.VARIABLES:
        if name in os.environ:
            yield Finding("environment", name, "", os.environ[name])


# ---- what works


def _abilities() -> Iterator[Finding]:
    section = _ABILITIES
    yield _try(section, "interpreter", lambda: _run("interpreter"), essential=True)
    yield _try(section, "compile to PTX", lambda: f"for `{_probe().target}`", essential=True)
    yield _try(section, "emulator", lambda: _run("emulator"), essential=True)
    yield _try(section, "assemble", lambda: f"{len(_probe().cubin)} bytes of code")
    yield _try(section, "disassemble", lambda: f"{_sass_lines()} lines of SASS")
    yield _try(section, "GPU", lambda: _run("cuda"))


def _try(section: str, name: str, attempt: Callable[[], str], essential: bool = False) -> Finding:
    try:
        return Finding(section, name, "ok", f"yes: {attempt()}")
    except VMError as error:
        state = "broken" if essential else "missing"
        return Finding(section, name, state, f"no: {error.message}", error.hint or "")
    except Exception as error:  # a report of what is broken must not break
        return Finding(section, name, "broken", f"no: {type(error).__name__}: {error}")


def _probe(target: str = "sm_90a") -> CompiledKernel:
    return CompiledKernel(parse(_PROBE), target)


def _run(device: str) -> str:
    target = context.current_device().target if device == "cuda" else "sm_90a"
    x, y = np.arange(32, dtype=np.float32), np.zeros(32, np.float32)
    _probe(target)(x, y, device=device)
    if not np.array_equal(y, x + 1):
        raise ArithmeticError(f"x + 1 is wrong: {_first(y)} of {_first(x)}")
    return "a kernel ran and was right"


def _first(values: Any) -> str:
    return f"[{', '.join(f'{v:g}' for v in values[:4])}, ...]"


def _sass_lines() -> int:
    return len(disassemble(_probe().cubin).splitlines())
