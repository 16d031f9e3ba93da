"""The README's numbers are the committed measurements."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_readmes_times_are_those_in_the_results() -> None:
    path = ROOT / "benchmarks" / "table.py"
    spec = importlib.util.spec_from_file_location("table", path)
    assert spec is not None and spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    text = (ROOT / "README.md").read_text()
    assert table.with_table(text) == text, "run `python benchmarks/table.py --write`"


def test_every_recorded_case_is_within_its_bars() -> None:
    lines = (ROOT / "benchmarks" / "results" / "correctness.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    bars = {"f16": 6e-4, "bf16": 4e-3}
    assert len(rows) >= 3000
    assert all(row["ok"] and row["rel_error"] <= bars[row["activation"]] for row in rows)
