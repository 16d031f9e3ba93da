"""The table of docs/casts.md: issue slots of the plans as they are, and what was searched."""

from __future__ import annotations

import json
from pathlib import Path

from tileloom.compiler.casts.__main__ import slots_per_element
from tileloom.vm.dtypes import dtype
from tileloom.vm.packing import PAIRED

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "cast_slots.jsonl"
TARGET = "sm_90a"
COLUMNS = (
    ("decode", "f16"),
    ("decode", "bf16"),
    ("subnormal", "bf16"),
    ("cast", "f16"),
    ("cast", "bf16"),
)


def table() -> str:
    """A row for every dtype: slots per element, `=` where a search found nothing cheaper."""
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    measured = {(row["dtype"], row["verb"], row["dest"]): row for row in rows}
    names = dict.fromkeys(row["dtype"] for row in rows)
    heads = [f"{verb} {dest}" for verb, dest in COLUMNS]
    lines = [f"| dtype | {' | '.join(heads)} |", "|---|" + "--:|" * len(COLUMNS)]
    for name in names:
        cells = [_cell(measured, name, verb, dest) for verb, dest in COLUMNS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(
    measured: dict[tuple[str, str, str], dict[str, float]], name: str, verb: str, dest: str
) -> str:
    slots = slots_per_element(verb, dtype(name), dtype(dest), PAIRED, TARGET)
    if slots is None:
        return ""
    row = measured[name, verb, dest]
    assert row["ptx"] == slots, f"{name}: run benchmarks/cast_search/run.py"
    return f"{slots:.3f}" + (" =" if row["optimum"] == slots else "")
