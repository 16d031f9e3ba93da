"""Puts the fastest schedules of measured rows into the record that is shipped.

    python benchmarks/record.py FILE... [--commit 12ce03c]

The rows are those of `tune.py`: a problem (f16, group 128), and the microseconds of each schedule.
What is shipped for a problem stays unless another was more than 1 % faster in the same row; where
the row doesn't have it, unless its own time says so. Times are those of the newest row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tileloom.programs.quantized_matmul.schedule import Schedule, staged
from tileloom.programs.quantized_matmul.tuning import Problem

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "programs" / "quantized_matmul" / "schedules" / "h100.jsonl"
NOISE = 0.01
MOST_TOKENS = 16  # above, a cost model chooses

Row = dict[str, Any]
Key = tuple[str, int, int, int]


def updated(entries: Iterable[Row], rows: Iterable[Row]) -> list[Row]:
    """The entries of a record with what the rows say, in the record's order."""
    found = {_key(entry): entry for entry in entries}
    for row in rows:
        plain = (row.get("activation", "f16"), row.get("group", 128)) == ("f16", 128)
        if plain and row["us"] and row["m"] <= MOST_TOKENS:
            found[_key(row)] = _entry(found.get(_key(row)), row)
    return [found[key] for key in sorted(found)]


def _entry(shipped: Row | None, row: Row) -> Row:
    times: dict[str, float] = row["us"]
    word = min(times, key=lambda each: times[each])
    weight, k, n, m = _key(row)
    if shipped is not None:
        geometry = Problem(weight, k, n, m).geometry
        chosen = str(staged(Schedule.parse(shipped["schedule"]), geometry))
        # An entry's own time counts where it is of the kernel that is launched.
        known = shipped["us"] if chosen == shipped["schedule"] else None
        us = times.get(chosen, known)
        if us is not None and times[word] >= (1 - NOISE) * us:
            word, times = chosen, {chosen: us, **times}
    return {"weight": weight, "k": k, "n": n, "m": m, "schedule": word, "us": round(times[word], 2)}


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
    args = parser.parse_args()
    rows = [row for path in args.files for row in read(path)]
    wanted = [row for row in rows if args.commit in ("", row.get("commit"))]
    before = read(RECORD)
    after = updated(before, wanted)
    RECORD.write_text(written(after))
    changed = sum(1 for entry in after if entry not in before)
    print(f"{len(wanted)} rows: {changed} of {len(after)} entries are new or changed")


if __name__ == "__main__":
    main()
