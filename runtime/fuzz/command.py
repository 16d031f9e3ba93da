"""`tileloom fuzz`: random programs through the executors, compared.

The last line is JSON if asked: programs, mismatches, reproducers. The exit status is 1 where
something differs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tileloom.vm.diagnostics import UsageError

from ..arguments import Parser
from .apart import run_apart
from .campaign import Report, chunks, default_settings, write_reproducers
from .case import Case, read_case
from .parsing import Finding
from .shrink import finding_of

_FOUND = 1


def main(arguments: Sequence[str]) -> int:
    """Runs the command and returns the exit status."""
    args = _parser().parse_args(arguments)
    if args.replay is not None:
        return _replay(args.replay, args.device)
    if args.count < 1 or args.jobs < 1:
        raise UsageError("`--count` and `--jobs` are 1 or more")
    report = Report()
    start = time.perf_counter()
    settings = default_settings(args.device)
    seeds = range(args.seed, args.seed + args.count)
    print(f"seeds {seeds.start} to {seeds.stop - 1}, {args.device}", file=sys.stderr)
    for chunk in chunks(seeds, settings, args.jobs):
        report.add(chunk)
        for finding in chunk.findings:
            first = finding.message.partition("\n")[0]
            print(f"seed {finding.case.seed}: {finding.kind}: {first}", file=sys.stderr)
    report.seconds = time.perf_counter() - start
    write_reproducers(report, args.output)
    _print(report, args.json)
    return _FOUND if report.findings else 0


def _parser() -> Parser:
    parser = Parser(prog="tileloom fuzz", description="random programs, executors compared")
    parser.add_argument("--count", type=int, default=200, help="programs (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="the first program's (default: 0)")
    parser.add_argument(
        "--device",
        choices=("emulator", "cuda"),
        default="emulator",
        help="what is compared with the interpreter (default: emulator)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("fuzz-findings"),
        help="the directory for reproducers (default: fuzz-findings)",
    )
    parser.add_argument("--replay", type=Path, help="run the case in a file, and nothing else")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser


def _replay(path: Path, device: str) -> int:
    case = read_case(path)
    finding = finding_of(case) if device == "emulator" else _found_on_gpu(case)
    print("all executors agree" if finding is None else f"{finding.kind}: {finding.message}")
    return 0 if finding is None else _FOUND


def _found_on_gpu(case: Case) -> Finding | None:
    from .cuda import check_programs

    chunk = run_apart([case], default_settings("cuda"), check_programs)
    return chunk.findings[0] if chunk.findings else None


def _print(report: Report, as_json: bool) -> None:
    refused = sum(report.refusals.values())
    if not as_json:
        print(f"programs         {report.programs}, {report.newest} of them for sm_90 only")
        print(f"mismatches       {len(report.findings)}")
        print(f"milliseconds     {1e3 * report.seconds / report.programs:.0f} a program")
        print(f"median to run    {report.median_milliseconds:.1f} ms")
        print(f"refused          {refused} productions")
        for path in report.reproducers:
            print(f"reproducer       {path}")
        return
    fields = {
        "programs": report.programs,
        "mismatches": len(report.findings),
        "reproducers": report.reproducers,
        "seconds": round(report.seconds, 2),
        "median_milliseconds": round(report.median_milliseconds, 2),
        "refused": refused,
        "of_sm_90": report.newest,
    }
    print(json.dumps(fields))
