"""The tables of measurements, from the rows in `benchmarks/results`: of the quantized matmul in the
README, of softmax, the norms and transpose in `results/README.md`.

python benchmarks/table.py            prints them
python benchmarks/table.py --write    puts each between the marks in its page
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
SHIPPED = ROOT / "programs" / "quantized_matmul" / "schedules" / "h100.jsonl"
README = ROOT / "README.md"
PROGRAMS, PAGE = RESULTS / "programs.jsonl", RESULTS / "README.md"
ELEMENTS = ("f16", "bf16", "f32")
HEADER = (
    "| weights | k x n | m | tileloom | dependent launches | floor | cuBLAS f16 |\n"
    "|---|---|--:|--:|--:|--:|--:|\n"
)

Key = tuple[str, int, int, int]
Found = dict[tuple[str, str], dict[str, Any]]


def rows() -> dict[Key, dict[str, Any]]:
    """The newest rows of each problem: what each implementation took, in microseconds; the fastest
    schedule where a run had several. Where the record has a problem, its times."""
    found: dict[Key, dict[str, Any]] = {}
    commits: dict[tuple[Key, str], str] = {}
    for line in (line for path in ROWS for line in path.read_text().splitlines()):
        row = json.loads(line)
        key, name = _key(row), "dependent" if row["pdl"] else row["impl"]
        times = found.setdefault(key, {"floor": row["floor_us"]})
        same_run = commits.get((key, name)) == row["commit"]
        times[name] = min(times[name], row["us"]) if same_run else row["us"]
        commits[key, name] = row["commit"]
    _add_tuned(found)
    return found


def _add_tuned(found: dict[Key, dict[str, Any]]) -> None:
    """The tuner's times of shipped schedules: those of the newest kernels."""
    for entry in map(json.loads, SHIPPED.read_text().splitlines()):
        times = found.get(_key(entry))
        if times is None:
            continue
        for name, kind in (("tileloom", "us"), ("dependent", "dependent_us")):
            if entry.get(kind):
                times[name] = entry[kind]
                times["tuned"] = [*times.get("tuned", []), name]


def _key(row: dict[str, Any]) -> Key:
    return row["weight"], row["k"], row["n"], row["m"]


def table() -> str:
    """The rows as Markdown."""
    lines = []
    for (weight, k, n, m), times in sorted(rows().items(), key=lambda item: (item[0][1:], item[0])):
        cells = [
            f"{times[name]:.1f}" + " †" * (name in times.get("tuned", ())) if name in times else ""
            for name in ("tileloom", "dependent", "floor", "cublas")
        ]
        lines.append(f"| {weight} | {k} x {n} | {m} | " + " | ".join(cells) + " |\n")
    return HEADER + "".join(lines)


def programs() -> dict[tuple[str, int, int], Found]:
    """The newest row of each implementation and dtype, for each program and shape."""
    found: dict[tuple[str, int, int], Found] = {}
    for line in PROGRAMS.read_text().splitlines():
        row = json.loads(line)
        key = (row["program"], row["rows"], row["columns"])
        found.setdefault(key, {})[row["impl"], row["element"]] = row
    return found


def programs_table() -> str:
    """The rows as Markdown: shares of the copy's rate, torch's in brackets."""
    text = "| program | rows x columns | " + " | ".join(ELEMENTS) + " |\n|---|---|--:|--:|--:|\n"
    for (program, height, width), found in programs().items():
        cells = (_cell(found, element) for element in ELEMENTS)
        text += f"| {program} | {height} x {width} | " + " | ".join(cells) + " |\n"
    return text


def _cell(found: Found, element: str) -> str:
    ours, torch = (found.get((impl, element)) for impl in ("tileloom", "torch"))
    if ours is None:
        return ""
    return f"{ours['of_copy']:.2f}" + (f" ({torch['of_copy']:.2f})" if torch else "")


def with_tables(text: str) -> str:
    """A page with the tables between their marks."""
    for name, made in (("times", table), ("programs", programs_table)):
        start, end = (f"<!-- {name}: {edge} -->\n" for edge in ("start", "end"))
        if start in text:
            before, _, rest = text.partition(start)
            text = before + start + made() + end + rest.partition(end)[2]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="change the pages")
    if not parser.parse_args().write:
        print(table(), programs_table(), sep="\n", end="")
        return
    for page in (README, PAGE):
        page.write_text(with_tables(page.read_text()))


if __name__ == "__main__":
    main()
