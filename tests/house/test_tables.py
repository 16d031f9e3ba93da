"""The README's numbers are the committed measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

Script = Callable[[str], ModuleType]
ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_are_of_the_results(script: Script) -> None:
    tables = script("table")
    for page in (tables.README, tables.PAGE):
        text = page.read_text()
        assert "start -->" in text
        assert tables.with_tables(text) == text, "run `python benchmarks/table.py --write`"
    assert len(tables.programs()) > 28


def test_the_picture_is_of_the_results(script: Script) -> None:
    roofline = script("roofline")
    svg = roofline.PICTURE.read_text()
    assert roofline.picture(roofline.measured()) == svg, "`python benchmarks/roofline.py --write`"
    points = list(roofline.points(roofline.measured()))
    assert len(points) == len(roofline.measured()) and svg.count("<title>") == len(points)
    # Nothing is faster than the machine, but for what the caches keep and clocks vary.
    for point in points:
        assert point.rate <= 1.1 * min(roofline.PEAK, roofline.BANDWIDTH * point.intensity)


def test_bytes_of_weights(script: Script) -> None:
    roofline = script("roofline")
    row = {"weight": "e3m2", "k": 128, "n": 64, "m": 1, "group": 128}
    assert roofline.bytes_of(row) == 128 * 64 * 6 / 8 + 2 * 64 + 2 * (128 + 64)
    assert roofline.bytes_of({**row, "weight": "u3"}) == 128 * 64 * 3 / 8 + 2 * 64 + 2 * (128 + 64)


def test_every_recorded_case_is_within_its_bars() -> None:
    lines = (ROOT / "benchmarks" / "results" / "correctness.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    bars = {"f16": 6e-4, "bf16": 4e-3}
    assert len(rows) >= 3000
    assert all(row["ok"] and row["rel_error"] <= bars[row["activation"]] for row in rows)
