"""How far measured products are from the memory's speed, and from the bars they are held to.

    python benchmarks/bars.py [FILE...] [--missed]

The rows are those of `quantized_matmul.py` and `tune.py`, or the shipped record's, which are the
default. Of each problem the fastest schedule: its microseconds, the floor (all bytes moved once at
3.05 TB/s, or the multiply-adds at 986 TFLOP/s), the bar, and whether it is met. A bar is a share of
the floor and some microseconds to start and to end: fewer for dependent launches, more for one bit
and for shapes that no tile divides. Other activations, groups and zero points are held to 1.1 times
what symmetric weights in groups of 128 take in the same rows, and the time of the bytes they move
beyond these.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tileloom.vm.dtypes import dtype

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "programs" / "quantized_matmul" / "schedules" / "h100.jsonl"
BANDWIDTH, TENSOR = 3.05e12, 986e12  # bytes a second, operations a second
SHAPES = ((8192, 8192), (8192, 57344), (28672, 8192), (4096, 14336), (8192, 10240))
MOST_TOKENS = 16


@dataclass(frozen=True)
class Problem:
    """A product, and how it is launched."""

    weight: str
    k: int
    n: int
    m: int
    group: int = 128
    activation: str = "f16"
    zero_point: str = ""  # "int" or "float" where they are read
    dependent: bool = False

    @property
    def bits(self) -> int:
        return dtype(self.weight).bits

    @property
    def floor(self) -> float:
        """Microseconds."""
        of_group = 4 if self.zero_point else 2
        groups = -(-self.k // self.group)
        moved = self.k * self.n * self.bits / 8 + of_group * groups * self.n
        moved += 2 * self.m * (self.k + self.n)
        return 1e6 * max(moved / BANDWIDTH, 2 * self.m * self.k * self.n / TENSOR)

    @property
    def plainest(self) -> Problem:
        """The same with symmetric weights in groups of 128, and f16 activations."""
        return replace(self, group=128, activation="f16", zero_point="")

    def bar(self, times: Mapping[Problem, tuple[float, str]]) -> float | None:
        """Microseconds; None where nothing is asked for."""
        few = self.m <= 8
        if self.m > MOST_TOKENS:
            return None
        if self != self.plainest and (self.k, self.n) in SHAPES:
            plain = times.get(self.plainest)
            return plain and 1.1 * plain[0] + self.floor - self.plainest.floor
        if (self.k, self.n) not in SHAPES:
            share, more = 1.15, 4.0
        elif self.dependent:
            one_bit = 1.15 if few else 1.3
            share, more = (one_bit, 1.5) if self.bits == 1 else (1.04, 1.3)
        elif self.bits == 1:
            share, more = (1.15, 3.0) if few else (1.35, 3.5)
        else:
            share, more = 1.08 if self.bits == 2 else 1.01, 2.5
        return share * self.floor + more


def times(rows: Iterable[dict[str, Any]]) -> dict[Problem, tuple[float, str]]:
    """The fastest schedule of each problem, and its microseconds; of several rows the last."""
    found: dict[Problem, tuple[float, str]] = {}
    commits: dict[Problem, str] = {}
    for row in rows:
        if row.get("impl", "tileloom") != "tileloom":
            continue
        for problem, us, schedule in _measured(row):
            commit = row.get("commit", "")
            before = found.get(problem)
            if before is None or commits[problem] != commit or us < before[0]:
                found[problem] = us, schedule
                commits[problem] = commit
    return found


def _measured(row: dict[str, Any]) -> Iterator[tuple[Problem, float, str]]:
    zeros, group = row.get("zero_point", ""), row.get("group", 128)
    problem = Problem(
        row["weight"], row["k"], row["n"], row["m"],
        # "channel" and "tensor" have one row of scales.
        min(group, row["k"]) if isinstance(group, int) and group else row["k"],
        row.get("activation", "f16"), zeros if zeros in ("int", "float") else "",
        bool(row.get("pdl")),
    )  # fmt: skip
    plain = row.get("plain_us", row.get("us"))
    if isinstance(plain, dict):
        yield from ((problem, us, schedule) for schedule, us in plain.items())
    elif plain is not None:
        yield problem, plain, row["schedule"]
    if "dependent_us" in row:
        dependent = replace(problem, dependent=True)
        yield dependent, row["dependent_us"], row.get("dependent", row["schedule"])


def lines(found: Mapping[Problem, tuple[float, str]], missed: bool) -> Iterator[str]:
    """One for each problem with a bar (or with one that is missed), and how many met theirs."""
    met = count = 0
    for problem, (us, schedule) in found.items():
        bar = problem.bar(found)
        if bar is None:
            continue
        count, met = count + 1, met + (us <= bar)
        if missed and us <= bar:
            continue
        words = [problem.activation, problem.zero_point, "dependent" * problem.dependent]
        words += [f"group {problem.group}" if problem.group != 128 else ""]
        yield (
            f"{problem.weight:>5} {problem.k:>5} x {problem.n:<5} m={problem.m:<2} "
            f"{us:7.2f} us  floor {problem.floor:6.2f} x{us / problem.floor:.2f}  "
            f"bar {bar:6.2f} {'met   ' if us <= bar else 'missed'} {us / bar:.3f}  "
            f"{schedule} {' '.join(word for word in words if word not in ('', 'f16'))}".rstrip()
        )
    yield f"{met} of {count} met"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=[RECORD])
    parser.add_argument(
        "--missed", action="store_true", help="print only those that miss their bar"
    )
    args = parser.parse_args()
    rows = [json.loads(line) for path in args.files for line in path.read_text().splitlines()]
    sys.stdout.writelines(line + "\n" for line in lines(times(rows), args.missed))


if __name__ == "__main__":
    main()
