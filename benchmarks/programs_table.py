"""The table of softmax, the norms and transpose in `results/README.md`, from `programs.jsonl`.

python benchmarks/programs_table.py            prints it
python benchmarks/programs_table.py --write    puts it between the marks in the page
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
ROWS, PAGE = RESULTS / "programs.jsonl", RESULTS / "README.md"
START, END = "<!-- programs: start -->\n", "<!-- programs: end -->\n"
ELEMENTS = ("f16", "bf16", "f32")

Key = tuple[str, int, int]


def rows() -> dict[Key, dict[tuple[str, str], dict[str, Any]]]:
    """The newest row of each implementation and dtype, for each program and shape."""
    found: dict[Key, dict[tuple[str, str], dict[str, Any]]] = {}
    for line in ROWS.read_text().splitlines():
        row = json.loads(line)
        key = (row["program"], row["rows"], row["columns"])
        found.setdefault(key, {})[row["impl"], row["element"]] = row
    return found


def table() -> str:
    """The rows as Markdown: shares of the copy's rate, torch's in brackets."""
    text = "| program | rows x columns | " + " | ".join(ELEMENTS) + " |\n|---|---|--:|--:|--:|\n"
    for (program, height, width), found in rows().items():
        cells = (_cell(found, element) for element in ELEMENTS)
        text += f"| {program} | {height} x {width} | " + " | ".join(cells) + " |\n"
    return text


def _cell(found: dict[tuple[str, str], dict[str, Any]], element: str) -> str:
    ours, torch = (found.get((impl, element)) for impl in ("tileloom", "torch"))
    if ours is None:
        return ""
    return f"{ours['of_copy']:.2f}" + (f" ({torch['of_copy']:.2f})" if torch else "")


def with_table(text: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + table() + END + after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="change the page")
    if parser.parse_args().write:
        PAGE.write_text(with_table(PAGE.read_text()))
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
