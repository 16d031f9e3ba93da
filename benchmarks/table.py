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
ROWS = ROOT / "benchmarks" / "results" / "decode_h100.jsonl"
README = ROOT / "README.md"
START, END = "<!-- times: start -->\n", "<!-- times: end -->\n"
HEADER = (
    "| weights | k x n | m | tileloom | dependent launches | floor | cuBLAS f16 |\n"
    "|---|---|--:|--:|--:|--:|--:|\n"
)

Key = tuple[str, int, int, int]


def rows() -> dict[Key, dict[str, Any]]:
    """The newest row of each problem: what each implementation took, in microseconds."""
    found: dict[Key, dict[str, Any]] = {}
    for line in ROWS.read_text().splitlines():
        row = json.loads(line)
        key = (row["weight"], row["k"], row["n"], row["m"])
        name = "dependent" if row["pdl"] else row["impl"]
        found.setdefault(key, {})[name] = row["us"]
        found[key]["floor"] = row["floor_us"]
    return found


def table() -> str:
    """The rows as Markdown."""
    lines = []
    for (weight, k, n, m), times in sorted(rows().items(), key=lambda item: (item[0][1:], item[0])):
        cells = [
            f"{times[name]:.1f}" if name in times else ""
            for name in ("tileloom", "dependent", "floor", "cublas")
        ]
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
