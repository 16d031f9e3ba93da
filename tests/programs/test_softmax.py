"""Softmax against float64: rows of every length, in registers and in turns."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.programs import samples
from tileloom.programs.rows.schedule import RowSchedule, row_schedule
from tileloom.programs.softmax.command import compile as compile_command
from tileloom.programs.softmax.program import reference, softmax

from .closeness import assert_close

SHAPES = [(1, 1), (3, 2), (130, 3), (9, 64), (5, 77), (3, 1000), (2, 3000), (2, 4099)]
TURNS = [RowSchedule(32, 2, 4, loops=True), RowSchedule(64, 1, 1, loops=True)]


def check(x: samples.Array, element: str, device: str, schedule: RowSchedule | None = None) -> None:
    rows, columns = x.shape
    chosen = schedule or row_schedule(columns, samples.itemsize(element))
    y = samples.poisoned(x.shape, element)
    softmax(x, y, rows, columns, device=device, element=element, schedule=chosen)
    expected = reference(samples.decode(x, element))
    assert_close(y, expected, element, slack=2e-6 * expected)


@pytest.mark.parametrize("element", samples.ELEMENTS)
def test_every_shape(device: str, element: str) -> None:
    for shape in SHAPES:
        x, _ = samples.draw(np.random.default_rng(shape[1]), shape, element, 2.0)
        check(x, element, device)


@pytest.mark.parametrize("schedule", TURNS)
def test_rows_too_long_for_registers(device: str, schedule: RowSchedule) -> None:
    for element, shape in (("f16", (3, 1000)), ("bf16", (2, 300)), ("f32", (5, 12))):
        x, _ = samples.draw(np.random.default_rng(0), shape, element, 2.0)
        check(x, element, device, schedule)


@pytest.mark.parametrize("loops", [False, True])
def test_excluded_columns_and_large_values(device: str, loops: bool) -> None:
    x = np.random.default_rng(1).standard_normal((6, 40)).astype(np.float32)
    x[0, ::2] = -np.inf
    x[1, :39] = -np.inf
    x[2] = 1e30
    x[3] *= 1e4
    x[4] = -1e30
    x[5, 33:] = -np.inf
    check(x, "f32", device, RowSchedule(8, 2, 4, loops) if loops else None)


@pytest.mark.parametrize("loops", [False, True])
def test_rows_without_a_share(device: str, loops: bool) -> None:
    """As everywhere else, nothing to choose from and NaN give NaN, in their own row only."""
    x = np.zeros((3, 40), np.float32)
    x[0] = -np.inf
    x[1, 7] = np.nan
    y = np.zeros_like(x)
    schedule = RowSchedule(8, 2, 4, loops) if loops else row_schedule(40, 4)
    softmax(x, y, 3, 40, device=device, element="f32", schedule=schedule)
    assert np.isnan(y[:2]).all() and (y[2] == np.float32(1 / 40)).all()


def test_the_command_compiles_what_it_runs() -> None:
    from argparse import Namespace

    (function,) = compile_command(Namespace(columns=1000, element="bf16"))
    assert function.name == "softmax" and "bf16" in function.text()


def test_row_schedules() -> None:
    for itemsize in (2, 4):
        for columns in (*range(1, 300), 511, 1000, 1023, 4096, 4097, 16383, 16384):
            schedule = row_schedule(columns, itemsize)
            assert not schedule.loops and schedule.columns >= columns
            assert columns % schedule.vector == 0 and schedule.vector * itemsize <= 16
            assert schedule.chunks * schedule.vector <= 32 and schedule.threads <= 512
            assert schedule.rows * schedule.threads == 32 * schedule.num_warps
            assert schedule.layout.shape == schedule.shape
            # No thread of a row is without work where half as many would do.
            assert schedule.threads == 1 or columns > schedule.columns // 2 or schedule.chunks == 1
    assert row_schedule(1024, 2) == RowSchedule(32, 4, 8)
    assert row_schedule(4096, 4) == RowSchedule(128, 8, 4)
    assert row_schedule(16385, 2).loops and row_schedule(1 << 20, 4).vector == 4
