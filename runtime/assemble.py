"""From PTX to a cubin, with what the assembler said about it, and from its errors to places.

    assembled = assemble(ptx, "sm_90a")
    assembled.cubin, assembled.registers, assembled.spill_stores, assembled.log

A rejected module is an `AssemblerError` that shows the PTX's line and, through the `.loc` before
it, the line of the user's program; the PTX is kept in a file, and the hint reproduces the failure.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tileloom.vm.diagnostics import Location

from . import options
from .assembler_log import Complaint, Report, Usage, read_log
from .assemblers import Assembler, Job, Outcome
from .elf import read_cubin
from .errors import AssemblerError
from .toolkit import find_assembler

# On Hopper and later the system keeps this much of each block's shared memory (bytes).
RESERVED_SHARED_BYTES = 1024

_ENTRY = re.compile(r"\.entry\s+([\w$]+)")
_FILE = re.compile(r"^\s*\.file\s+(\d+)\s+\"([^\"]*)\"")
_LOC = re.compile(r"^\s*\.loc\s+(\d+)\s+(\d+)\s+(\d+)")
_MAX_COMPLAINTS = 5
# ptxas 13.5 does on some modules with wgmma.
_NO_LINES = "the assembler crashes where it has to note lines: machine code without them"
_GIVES_BACK = "setmaxnreg.dec"
_FEW_REGISTERS = "insufficient register resources"
_GIVEN_BACK = (
    "registers are given back here: what products before have summed must fit into those that stay "
    "and leave room for other products; store it before, or give fewer back"
)


@dataclass(frozen=True)
class KernelUsage:
    """What one kernel takes. `registers`, `stack` (bytes) and spills (bytes) are a thread's."""

    name: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    static_shared: int
    code_size: int


@dataclass(frozen=True)
class Assembled:
    """A cubin and what is known of it. `assembler` is its name and version."""

    cubin: bytes
    log: str
    kernels: tuple[KernelUsage, ...]
    warnings: tuple[str, ...]
    assembler: str
    target: str
    flags: tuple[str, ...] = ()

    @property
    def registers(self) -> int:
        """Registers a thread, of the kernel that takes most."""
        return max((k.registers for k in self.kernels), default=0)

    @property
    def stack(self) -> int:
        """Bytes of stack a thread."""
        return max((k.stack for k in self.kernels), default=0)

    @property
    def spill_stores(self) -> int:
        """Bytes a thread stores because registers ran out."""
        return sum(k.spill_stores for k in self.kernels)

    @property
    def spill_loads(self) -> int:
        """Bytes a thread loads because registers ran out."""
        return sum(k.spill_loads for k in self.kernels)

    @property
    def shared(self) -> int:
        """Bytes of static shared memory a block, the system's share excluded."""
        return max((k.static_shared for k in self.kernels), default=0)

    def metadata(self) -> dict[str, Any]:
        """Everything but the cubin, as JSON has it."""
        fields = asdict(self)
        del fields["cubin"]
        return fields

    @classmethod
    def from_metadata(cls, fields: dict[str, Any], cubin: bytes) -> Assembled:
        """The inverse of `metadata`.

        Raises:
            KeyError, TypeError: `fields` isn't what `metadata` gave.
        """
        return cls(
            cubin=cubin,
            log=str(fields["log"]),
            kernels=tuple(KernelUsage(**kernel) for kernel in fields["kernels"]),
            warnings=tuple(fields["warnings"]),
            assembler=str(fields["assembler"]),
            target=str(fields["target"]),
            flags=tuple(fields["flags"]),
        )


def assemble(
    ptx: str,
    target: str,
    *,
    opt_level: int = 3,
    line_info: bool = True,
    flags: tuple[str, ...] = (),
    assembler: Assembler | None = None,
    place_of: Callable[[int], Location | None] | None = None,
) -> Assembled:
    """The cubin of a module.

    `flags` are ptxas's; those of TILELOOM_ASSEMBLER_FLAGS follow them. `place_of` gives the place
    in the user's program for a line of the PTX; without it the `.loc` lines are asked.

    Raises:
        AssemblerError: the PTX is rejected, or its `wgmma` would run one after the other.
        ToolMissingError: there is no assembler.
    """
    all_flags = (*flags, *options.current().assembler_flags)
    chosen = assembler or find_assembler()
    job = Job(_module_name(ptx), ptx, target, opt_level, line_info, all_flags)
    outcome = chosen.run(job)
    without_lines = False
    if outcome.crashed and line_info:
        again = chosen.run(replace(job, line_info=False))
        if again.cubin is not None:
            outcome, without_lines = again, True
    report = read_log(outcome.log)
    if outcome.cubin is None or report.serialised:
        find_place = place_of or partial(source_place, ptx)
        raise _failure(chosen, job, outcome, report, find_place)
    return Assembled(
        cubin=outcome.cubin,
        log=outcome.log,
        kernels=_usages(outcome.cubin, report, target),
        warnings=(*map(_worded, report.warnings), *([_NO_LINES] if without_lines else [])),
        assembler=chosen.identity,
        target=target,
        flags=(f"-O{opt_level}", *all_flags),
    )


def _module_name(ptx: str) -> str:
    match = _ENTRY.search(ptx)
    return match[1] if match else "module"


def _usages(cubin: bytes, report: Report, target: str) -> tuple[KernelUsage, ...]:
    reserved = RESERVED_SHARED_BYTES if compute_capability(target) >= (9, 0) else 0
    usages = []
    for info in read_cubin(cubin).values():
        said = report.usage.get(info.name, Usage())
        usages.append(
            KernelUsage(
                name=info.name,
                registers=info.registers,
                stack=info.stack,
                spill_stores=said.spill_stores,
                spill_loads=said.spill_loads,
                static_shared=max(0, info.static_shared - reserved),
                code_size=info.code_size,
            )
        )
    return tuple(usages)


def compute_capability(target: str) -> tuple[int, int]:
    """(9, 0) of sm_90a; (0, 0) where the name isn't one."""
    match = re.fullmatch(r"sm_(\d+)(\d)[af]?", target)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _worded(complaint: Complaint) -> str:
    return complaint.text if complaint.line is None else f"line {complaint.line}: {complaint.text}"


def _failure(
    chosen: Assembler,
    job: Job,
    outcome: Outcome,
    report: Report,
    find_place: Callable[[int], Location | None],
) -> AssemblerError:
    path = _keep(job)
    command = chosen.command(job, path)
    who = f"`{chosen.identity}`"
    complaints = report.errors
    place = given_back = None
    if outcome.cubin is not None:
        complaints = report.serialised
        message = f"{who} runs the `wgmma` of `{job.name}` one after the other"
        if any(_FEW_REGISTERS in each.text for each in complaints):
            place = given_back = _ptx_place(job.ptx, path, _line_with(job.ptx, _GIVES_BACK))
    elif outcome.failure is not None:
        message = f"{who} failed on `{job.name}` for `{job.target}`: {outcome.failure}"
    else:
        message = f"{who} rejects `{job.name}` for `{job.target}`"
    if complaints and outcome.cubin is None:
        first, *complaints = complaints
        message += f": {first.text}"
        place = _ptx_place(job.ptx, path, first.line)
    error = AssemblerError(message, place, hint=f"reproduce with `{command}`")
    if place is not None and (source := find_place(place.line)) is not None:
        error.note("the instruction comes from here", source)
    if given_back is not None:
        error.note(_GIVEN_BACK)
    for complaint in complaints[:_MAX_COMPLAINTS]:
        error.note(complaint.text, _ptx_place(job.ptx, path, complaint.line))
    if place is None:
        error.note(f"the PTX is kept in `{path}`")
    error.ptx_path, error.command, error.log = str(path), command, outcome.log
    return error


def _line_with(ptx: str, text: str) -> int | None:
    """The first line (from 1) that has a text."""
    found = [n for n, line in enumerate(ptx.splitlines(), 1) if line.lstrip().startswith(text)]
    return found[0] if found else None


def _keep(job: Job) -> Path:
    wanted = options.current().keep_dir
    if wanted is None:
        folder = Path(tempfile.mkdtemp(prefix="tileloom-"))
    else:
        folder = wanted
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job.name}.ptx"
    path.write_text(job.ptx, encoding="utf-8")
    return path


def _ptx_place(ptx: str, path: Path, line: int | None) -> Location | None:
    lines = ptx.splitlines()
    if line is None or not 1 <= line <= len(lines):
        return None
    text = lines[line - 1]
    start = len(text) - len(text.lstrip())
    return Location(str(path), line, start + 1, len(text.rstrip()) + 1, text=text)


def source_place(ptx: str, line: int) -> Location | None:
    """The place in the user's program from which a line of PTX (from 1) was made, by `.loc`."""
    lines = ptx.splitlines()
    files = {m[1]: m[2] for text in lines if (m := _FILE.match(text))}
    for text in reversed(lines[:line]):
        if match := _LOC.match(text):
            file, row, column = files.get(match[1]), int(match[2]), max(int(match[3]), 1)
            return Location(file, row, column, column + 1) if file else None
        if _ENTRY.search(text):
            return None
    return None
