"""Reading what ptxas, nvJitLink and the driver say.

The three print the same lines with small differences: nvJitLink replaces the blanks before "bytes
stack frame" by `ptxas         .`, calls the file `application ptx input`, and adds a second
report of its own (`info    : used ...`), which counts the system's shared memory and is not read.

    ptxas info    : Compiling entry function 'k' for 'sm_90a'
        0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
    ptxas info    : Used 34 registers, used 1 barriers, 16 bytes smem
    ptxas k.ptx, line 21; error   : Not a name of any known instruction: 'fmaa'
    ptxas fatal   : Ptx assembly aborted due to errors
    ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ENTRY = re.compile(r"Compiling entry function '(?P<name>[^']+)'")
_SPILLS = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads"
)
_REGISTERS = re.compile(r"\bUsed (?P<registers>\d+) registers")
_PLACED = re.compile(
    r"^ptxas (?P<file>.+?), line (?P<line>\d+); (?P<level>error|fatal|warning)\s*: (?P<text>.*)$"
)
_UNPLACED = re.compile(r"^(?:ptxas )?(?P<level>error|fatal|warning)\s*:\s*(?P<text>.*)$", re.I)
_LINKER_ERROR = re.compile(r"^ERROR (?!NVJITLINK_ERROR_PTX_COMPILE)(?P<text>.*)$")
# C75xx: ptxas put waits between asynchronous wgmma instructions. It says so as mere information.
_SERIALISED = re.compile(r"\((?P<code>C75\d\d)\)\s*(?P<text>.*)$")
_AROUND = re.compile(r"\b(?:around|in) line (\d+)")
_ABORTED = "Ptx assembly aborted due to errors"


@dataclass
class Usage:
    """What one kernel takes, per thread. Sizes in bytes."""

    registers: int = 0
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0


@dataclass(frozen=True)
class Complaint:
    """One error or warning; `line` counts the PTX's lines from 1, None where none is named."""

    text: str
    line: int | None = None


@dataclass
class Report:
    """A log, read."""

    usage: dict[str, Usage] = field(default_factory=dict)
    errors: list[Complaint] = field(default_factory=list)
    warnings: list[Complaint] = field(default_factory=list)
    serialised: list[Complaint] = field(default_factory=list)


def read_log(log: str) -> Report:
    """The facts in an assembler's log; lines of an unknown form are passed over."""
    report = Report()
    current = Usage()
    for line in log.splitlines():
        if match := _ENTRY.search(line):
            current = report.usage.setdefault(match["name"], Usage())
        elif match := _SPILLS.search(line):
            current.stack = int(match["stack"])
            current.spill_stores = int(match["stores"])
            current.spill_loads = int(match["loads"])
        elif match := _REGISTERS.search(line):
            current.registers = int(match["registers"])
        elif match := _SERIALISED.search(line):
            around = _AROUND.search(line)
            text = f"{match['code']}: {match['text'].strip()}"
            complaint = Complaint(text, int(around[1]) if around else None)
            # Of the same family is that registers can't change hands, which costs speed only; and
            # who prints or asserts beside products has them one after the other.
            is_accepted = "setmaxnreg" in text or "at a function call" in text
            (report.warnings if is_accepted else report.serialised).append(complaint)
        else:
            _read_complaint(line.strip(), report)
    if len(report.errors) > 1:
        report.errors = [e for e in report.errors if e.text != _ABORTED]
    return report


def _read_complaint(line: str, report: Report) -> None:
    if match := _PLACED.match(line):
        complaint = Complaint(match["text"].strip(), int(match["line"]))
    elif match := _UNPLACED.match(line):
        complaint = Complaint(match["text"].strip())
    elif match := _LINKER_ERROR.match(line):
        report.errors.append(Complaint(match["text"].strip()))
        return
    else:
        return
    is_warning = match["level"].lower() == "warning"
    (report.warnings if is_warning else report.errors).append(complaint)
