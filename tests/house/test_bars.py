"""The bars that measured products are held to."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Script = Callable[[str], ModuleType]
ROW = {"weight": "u4", "k": 8192, "n": 8192, "m": 1, "schedule": "k8f1t8s1"}
SMALL = {"k": 4096, "n": 14336}


def bar_of(bars: ModuleType, row: dict[str, Any], *others: dict[str, Any]) -> Any:
    times = bars.times([*others, {**ROW, "us": 1.0, **row}])
    problem = list(times)[-1]
    return problem.floor, problem.bar(times)


def test_the_floor_counts_what_must_move(script: Script) -> None:
    bars = script("bars")
    floor, _ = bar_of(bars, {})
    # 4 bits a weight, a scale a group of 128, x and y: at 3.05 TB/s.
    assert floor == pytest.approx((2**25 + 2 * 64 * 8192 + 2 * 2 * 8192) / 3.05e6)
    zeros, _ = bar_of(bars, {"zero_point": "int", "group": 32})
    assert zeros == pytest.approx((2**25 + 4 * 256 * 8192 + 2 * 2 * 8192) / 3.05e6)
    channel, _ = bar_of(bars, {"weight": "e3m2", "group": "channel"})
    assert channel == pytest.approx((6 * 2**23 + 3 * 2 * 8192) / 3.05e6)
    many, bar = bar_of(bars, {"m": 1024})
    assert many == pytest.approx(2e6 * 1024 * 8192**2 / 986e12) and bar is None


@pytest.mark.parametrize(
    ("row", "share", "more"),
    [
        ({}, 1.01, 2.5),
        ({"weight": "u2", **SMALL}, 1.08, 2.5),
        ({"weight": "u1", "m": 8}, 1.15, 3.0),
        ({"weight": "u1", "m": 16}, 1.35, 3.5),
        ({"weight": "u2", "pdl": True}, 1.04, 1.3),
        ({"weight": "u1", "pdl": True}, 1.15, 1.5),
        ({"weight": "u1", "pdl": True, "m": 16}, 1.3, 1.5),
        ({"k": 8256, "n": 1000, "group": 64}, 1.15, 4.0),
    ],
)
def test_a_bar_is_a_share_of_the_floor_and_a_start(
    script: Script, row: dict[str, Any], share: float, more: float
) -> None:
    floor, bar = bar_of(script("bars"), row)
    assert bar == pytest.approx(share * floor + more)


def test_variants_are_held_to_the_plainest_in_the_same_rows(script: Script) -> None:
    bars = script("bars")
    plain = {**ROW, "us": 14.0}
    floor, bar = bar_of(bars, {"activation": "bf16"}, plain)
    assert bar == pytest.approx(1.1 * 14.0)
    with_zeros, bar = bar_of(bars, {"zero_point": "float", "group": 64}, plain)
    assert bar == pytest.approx(1.1 * 14.0 + with_zeros - floor)
    assert bar_of(bars, {"activation": "bf16"})[1] is None


def test_rows_of_every_kind_are_read(script: Script) -> None:
    bars = script("bars")
    rows = [
        {**ROW, "us": {"k8f1t8s1": 20.0, "k16f1t8s1": 13.5}, "commit": "a"},
        {**ROW, "plain_us": 13.9, "dependent_us": 11.9, "commit": "a"},
        {**ROW, "dependent_us": 11.95, "commit": "a"},
        {**ROW, "us": 9.0, "impl": "cublas"},
        {**ROW, "us": None, "m": 8},
        {**ROW, "us": 30.0, "m": 16, "commit": "a"},
        {**ROW, "us": 25.0, "m": 16, "commit": "b"},
        {**ROW, "us": 27.0, "m": 16, "commit": "b"},
    ]
    found = bars.times(rows)
    assert [us for us, _ in found.values()] == [13.5, 11.9, 25.0]
    said = list(bars.lines(found, missed=False))
    assert "met    " in said[0] and "k16f1t8s1" in said[0] and said[1].endswith("dependent")
    assert "missed" in said[2] and said[-1] == "2 of 3 met"
    assert list(bars.lines(found, missed=True)) == said[2:]


def test_entries_have_both_kinds_of_launches(script: Script) -> None:
    entry = {**ROW, "us": 13.0, "dependent": "k16f1t8s1", "dependent_us": 12.0}
    plain, dependent = script("bars").times([entry]).items()
    assert (plain[0].dependent, *plain[1]) == (False, 13.0, "k8f1t8s1")
    assert (dependent[0].dependent, *dependent[1]) == (True, 12.0, "k16f1t8s1")


def test_the_shipped_record_has_bars(script: Script) -> None:
    bars = script("bars")
    times = bars.times(script("record").read(bars.RECORD))
    assert len(times) >= 150
    assert all(us > 0.9 * problem.floor for problem, (us, _) in times.items())
