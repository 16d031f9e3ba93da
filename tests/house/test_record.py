"""The shipped record follows the measured rows."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Script = Callable[[str], ModuleType]
PROBLEM = {"weight": "u4", "k": 8192, "n": 8192, "m": 8}
FIRST, SECOND = "k8f1t8s1d0a2wb2", "k16f1t8s1d0a2wb1"


def entry(schedule: str, us: float | None) -> dict[str, Any]:
    return {**PROBLEM, "schedule": schedule, "us": us}


@pytest.mark.parametrize(
    ("shipped", "times", "expected"),
    [
        # Within 1 % the entry stays, with the newer time; beyond that the faster takes its place.
        ((FIRST, 15.0), {SECOND: 14.2, FIRST: 14.3}, (FIRST, 14.3)),
        ((FIRST, 13.0), {SECOND: 14.0, FIRST: 14.3}, (SECOND, 14.0)),
        # A row without the entry's schedule has to beat its time.
        ((FIRST, 14.0), {SECOND: 13.9}, (FIRST, 14.0)),
        ((FIRST, 14.0), {SECOND: 13.8}, (SECOND, 13.8)),
        ((FIRST, None), {SECOND: 19.0}, (SECOND, 19.0)),
        # Four blocks of so many slots don't fit a multiprocessor, so that other code is launched.
        ((FIRST, 14.0), {"k8f1t8s1d0a2wb4": 9.0, SECOND: 13.0}, (SECOND, 13.0)),
        (None, {SECOND: 14.0, FIRST: 14.1}, (SECOND, 14.0)),
    ],
)
def test_an_entry_after_a_row(
    script: Script,
    shipped: tuple[str, float | None] | None,
    times: dict[str, float],
    expected: tuple[str, float],
) -> None:
    before = [] if shipped is None else [entry(*shipped)]
    other = {**entry(FIRST, 1.0), "m": 16}
    after = script("record").updated([*before, other], [{**PROBLEM, "us": times}])
    assert after == [entry(*expected), other]


def test_problems_measured_anew_forget_what_is_shipped(script: Script) -> None:
    """An earlier kernel's time may be one that none reaches now; other problems keep theirs."""
    before = [entry(FIRST, 10.0), {**entry(FIRST, 1.0), "m": 16}]
    rows = [{**PROBLEM, "us": {SECOND: 14.0}}, {**PROBLEM, "us": {FIRST: 14.5, SECOND: 14.2}}]
    updated = script("record").updated
    assert updated(before, rows[:1]) == before
    assert updated(before, rows, anew=True) == [entry(SECOND, 14.2), before[1]]
    assert updated(before, [{**rows[0], "us": {}}], anew=True) == before


def test_dependent_launches_have_a_schedule_of_their_own(script: Script) -> None:
    updated = script("record").updated
    rows = [{**PROBLEM, "schedule": FIRST, "plain_us": 1.0, "dependent_us": 12.0}]
    rows += [{**PROBLEM, "schedule": SECOND, "dependent_us": 11.9}]
    # Nobody measured plain launches: there is no entry.
    assert updated([], rows) == []
    once = updated([entry(FIRST, 14.0)], rows)
    assert once == [{**entry(FIRST, 14.0), "dependent": SECOND, "dependent_us": 11.9}]
    assert updated(once, rows) == once
    # Within 1 % it stays, and plain rows leave it as it is, unless they are of another kernel.
    closer = [{**rows[0], "dependent_us": 11.85}]
    assert updated(once, closer) == once
    plain = [{**PROBLEM, "us": {SECOND: 13.0}}]
    expected = {**entry(SECOND, 13.0), "dependent": SECOND, "dependent_us": 11.9}
    assert updated(once, plain) == [expected]
    assert updated(once, plain, anew=True) == [entry(SECOND, 13.0)]
    assert updated(once, closer, anew=True)[0]["dependent"] == FIRST


def test_rows_of_other_problems_stay_out(script: Script) -> None:
    row = {**PROBLEM, "us": {SECOND: 1.0}}
    strange = [{**row, "group": 64}, {**row, "activation": "bf16"}, {**row, "us": {}}]
    strange.append({**row, "m": 32})
    assert script("record").updated([entry(FIRST, 9.0)], strange) == [entry(FIRST, 9.0)]


def test_the_record_holds_what_was_measured_last(script: Script) -> None:
    """The rows of one commit again change nothing."""
    record = script("record")
    entries = record.read(record.RECORD)
    results = record.ROOT / "benchmarks" / "results"
    files = ("tune_staged_h100.jsonl", "dependent_h100.jsonl")
    rows = [row for name in files for row in record.read(results / name)]
    newest = [row for row in rows if row["commit"] == rows[-1]["commit"]]
    assert len(newest) >= 50 and record.updated(entries, newest) == entries
    assert record.written(entries) == record.RECORD.read_text()
