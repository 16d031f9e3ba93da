"""Puts the fastest schedules of measured rows into the record that is shipped.

    python benchmarks/record.py FILE... [--commit 12ce03c] [--anew]

The rows are those of `tune.py`: a problem (f16, group 128), and the microseconds of each schedule;
or those of dependent launches: a problem, a schedule and its microseconds. Both kinds of launches
have their own fastest schedule.
What is shipped for a problem stays unless another was more than 1 % faster in the same row; where
the row doesn't have it, unless its own time says so. Times are those of the newest row. After a
change of kernels or of how they are timed earlier times say nothing: `--anew` forgets what is
shipped for the problems of the rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tileloom.programs.quantized_matmul.schedule import Schedule, fitting
from tileloom.programs.quantized_matmul.tuning import Problem

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "programs" / "quantized_matmul" / "schedules" / "h100.jsonl"
NOISE = 0.01
MOST_TOKENS = 16  # above, a cost model chooses
SCHEDULE = {"us": "schedule", "dependent_us": "dependent"}  # whose microseconds

Row = dict[str, Any]
Key = tuple[str, int, int, int]


def updated(entries: Iterable[Row], rows: Iterable[Row], anew: bool = False) -> list[Row]:
    """The entries of a record with what the rows say, in the record's order; `anew` without what
    the entries say of the same problems."""
    measured = list(_measured(rows))
    forgotten = {key for kind, key, _ in measured if anew and kind == "us"}
    found = {_key(entry): entry for entry in entries if _key(entry) not in forgotten}
    for kind, key, times in measured:
        shipped = found.get(key, _problem(key))
        known = (None, None) if anew else (shipped.get(SCHEDULE[kind]), shipped.get(kind))
        word, us = _fastest(times, *known)
        found[key] = {**shipped, SCHEDULE[kind]: word, kind: round(us, 2)}
    # A problem whose plain launches nobody measured has no entry.
    return [_ordered(found[key]) for key in sorted(found) if "schedule" in found[key]]


def _measured(rows: Iterable[Row]) -> Iterator[tuple[str, Key, dict[str, float]]]:
    """Of each problem the microseconds of schedules, plain and dependent; the last row counts."""
    found: dict[str, dict[Key, dict[str, float]]] = {kind: {} for kind in SCHEDULE}
    for row in rows:
        plainest = (row.get("activation", "f16"), row.get("group", 128)) == ("f16", 128)
        if not plainest or row["m"] > MOST_TOKENS or row.get("zero_point"):
            continue
        if "dependent_us" in row:
            found["dependent_us"].setdefault(_key(row), {})[row["schedule"]] = row["dependent_us"]
        else:
            found["us"][_key(row)] = row["us"]
    for kind, problems in found.items():
        for key, times in problems.items():
            launched = _launched(key, times)
            if launched:
                yield kind, key, launched


def _launched(key: Key, times: dict[str, float]) -> dict[str, float]:
    """The times of words that are launched as they are: more blocks than there is room for aren't
    asked for."""
    geometry = Problem(*key).geometry
    words = {word: Schedule.parse(word) for word in times}
    return {word: times[word] for word, s in words.items() if fitting(s, geometry) == s}


def _fastest(
    times: dict[str, float], shipped: str | None, known: float | None
) -> tuple[str, float]:
    """A word and its time: what is shipped, or what is clearly faster."""
    word = min(times, key=lambda each: times[each])
    us = known if shipped is None else times.get(shipped, known)
    if shipped is not None and us is not None and times[word] >= (1 - NOISE) * us:
        return shipped, us
    return word, times[word]


def _problem(key: Key) -> Row:
    return dict(zip(("weight", "k", "n", "m"), key, strict=True))


def _ordered(entry: Row) -> Row:
    names = [*_problem(_key(entry)), *(name for kind, s in SCHEDULE.items() for name in (s, kind))]
    return {name: entry[name] for name in names if name in entry}


def _key(row: Row) -> Key:
    return row["weight"], row["k"], row["n"], row["m"]


def read(path: Path) -> list[Row]:
    """The rows of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(entries: Iterable[Row]) -> str:
    """The record as it is kept."""
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--commit", default="", help="only the rows of this one")
    parser.add_argument("--anew", action="store_true", help="choose by these rows alone")
    args = parser.parse_args()
    rows = [row for path in args.files for row in read(path)]
    wanted = [row for row in rows if args.commit in ("", row.get("commit"))]
    before = read(RECORD)
    after = updated(before, wanted, args.anew)
    RECORD.write_text(written(after))
    changed = sum(1 for entry in after if entry not in before)
    print(f"{len(wanted)} rows: {changed} of {len(after)} entries are new or changed")


if __name__ == "__main__":
    main()
