"""The table of measured times in the README, from the rows in `benchmarks/results`.

python benchmarks/table.py            prints it
python benchmarks/table.py --write    puts it between the marks in the README
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# The newer file comes last where both have a problem.
ROWS = (RESULTS / "many_tokens_h100.jsonl", RESULTS / "decode_h100.jsonl")
TUNED = RESULTS / "tune_staged_h100.jsonl"
README = ROOT / "README.md"
START, END = "<!-- times: start -->\n", "<!-- times: end -->\n"
HEADER = (
    "| weights | k x n | m | tileloom | dependent launches | floor | cuBLAS f16 |\n"
    "|---|---|--:|--:|--:|--:|--:|\n"
)

Key = tuple[str, int, int, int]


def rows() -> dict[Key, dict[str, Any]]:
    """The newest rows of each problem: what each implementation took, in microseconds; the fastest
    schedule where a run had several, and the tuner's time where its schedule wasn't timed since."""
    found: dict[Key, dict[str, Any]] = {}
    commits: dict[tuple[Key, str], str] = {}
    for line in (line for path in ROWS for line in path.read_text().splitlines()):
        row = json.loads(line)
        key, name = _key(row), "dependent" if row["pdl"] else row["impl"]
        times = found.setdefault(key, {"floor": row["floor_us"]})
        same_run = commits.get((key, name)) == row["commit"]
        times[name] = min(times[name], row["us"]) if same_run else row["us"]
        commits[key, name] = row["commit"]
        if name == "tileloom" and times[name] == row["us"]:
            times["schedule"] = row["schedule"]
    tuned = map(json.loads, TUNED.read_text().splitlines())
    for row in {_key(row): row for row in tuned}.values():
        if _key(row) in found and found[_key(row)].get("schedule") != row["schedule"]:
            found[_key(row)] |= {"tileloom": row["us"][row["schedule"]], "tuned": True}
    return found


def _key(row: dict[str, Any]) -> Key:
    return row["weight"], row["k"], row["n"], row["m"]


def table() -> str:
    """The rows as Markdown."""
    lines = []
    for (weight, k, n, m), times in sorted(rows().items(), key=lambda item: (item[0][1:], item[0])):
        cells = [
            f"{times[name]:.1f}" if name in times else ""
            for name in ("tileloom", "dependent", "floor", "cublas")
        ]
        cells[0] += " †" * times.get("tuned", False)
        lines.append(f"| {weight} | {k} x {n} | {m} | " + " | ".join(cells) + " |\n")
    return HEADER + "".join(lines)


def with_table(text: str) -> str:
    """The README with the table between its marks."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + table() + END + after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="change the README")
    if parser.parse_args().write:
        README.write_text(with_table(README.read_text()))
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
