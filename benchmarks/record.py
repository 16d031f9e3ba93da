"""Puts the fastest schedules of measured rows into the record that is shipped.

    python benchmarks/record.py FILE... [--commit 12ce03c] [--anew]

The rows are those of `tune.py`: a problem (f16, group 128), and the microseconds of each schedule.
What is shipped for a problem stays unless another was more than 1 % faster in the same row; where
the row doesn't have it, unless its own time says so. Times are those of the newest row. After a
change of kernels or of how they are timed earlier times say nothing: `--anew` forgets what is
shipped for the problems of the rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tileloom.programs.quantized_matmul.schedule import Schedule, fitting
from tileloom.programs.quantized_matmul.tuning import Problem

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "programs" / "quantized_matmul" / "schedules" / "h100.jsonl"
NOISE = 0.01
MOST_TOKENS = 16  # above, a cost model chooses

Row = dict[str, Any]
Key = tuple[str, int, int, int]


def updated(entries: Iterable[Row], rows: Iterable[Row], anew: bool = False) -> list[Row]:
    """The entries of a record with what the rows say, in the record's order; `anew` without what
    the entries say of the same problems."""
    wanted = [row for row in rows if _is_wanted(row)]
    measured = {_key(row) for row in wanted} if anew else set()
    found = {_key(entry): entry for entry in entries if _key(entry) not in measured}
    for row in wanted:
        found[_key(row)] = _entry(found.get(_key(row)), row)
    return [found[key] for key in sorted(found)]


def _is_wanted(row: Row) -> bool:
    plain = (row.get("activation", "f16"), row.get("group", 128)) == ("f16", 128)
    return plain and row["m"] <= MOST_TOKENS and bool(row["us"]) and bool(_launched(row))


def _launched(row: Row) -> dict[str, float]:
    """The times of words that are launched as they are: more blocks than there is room for aren't
    asked for."""
    geometry = Problem(*_key(row)).geometry
    words = {word: Schedule.parse(word) for word in row["us"]}
    return {word: row["us"][word] for word, s in words.items() if fitting(s, geometry) == s}


def _entry(shipped: Row | None, row: Row) -> Row:
    times = _launched(row)
    word = min(times, key=lambda each: times[each])
    if shipped is not None:
        chosen = shipped["schedule"]
        us = times.get(chosen, shipped["us"])
        if us is not None and times[word] >= (1 - NOISE) * us:
            word, times = chosen, {chosen: us, **times}
    weight, k, n, m = _key(row)
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
