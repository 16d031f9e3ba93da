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
PARTS = [
    RowSchedule(128, 1, 2, cluster=4),
    RowSchedule(128, 1, 4, loops=True, cluster=2),
    RowSchedule(128, 1, 4, loops=True, staged=2),
    RowSchedule(128, 1, 2, loops=True, cluster=2, staged=2),
    RowSchedule(128, 2, 8, shifts=True),
    RowSchedule(128, 1, 4, cluster=2, shifts=True),
    RowSchedule(128, 1, 2, loops=True, shifts=True),
    RowSchedule(128, 1, 2, loops=True, cluster=2, shifts=True),
]


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


@pytest.mark.parametrize("schedule", PARTS)
def test_rows_in_parts(device: str, schedule: RowSchedule) -> None:
    """A part may hold nothing of its row, or begin before it and end behind it."""
    for element, shape in (("f16", (5, 900)), ("f32", (3, 84)), ("bf16", (9, 4))):
        rows, columns = shape
        columns += schedule.shifts  # odd
        x, _ = samples.draw(np.random.default_rng(rows), (rows, columns), element, 2.0)
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

    (function,) = compile_command(Namespace(columns=1000, element="bf16", target="sm_80"))
    assert function.name == "softmax" and "bf16" in function.text()


LENGTHS = (*range(1, 300), 511, 767, 768, 1000, 1023, 4096, 4097, 4099, 16383, 16384, 16385)


@pytest.mark.parametrize("clusters", [True, False])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_row_schedules(itemsize: int, clusters: bool) -> None:
    for columns in (*LENGTHS, 16388, 20001, 32768, 131072):
        schedule = row_schedule(columns, itemsize, clusters)
        spare = schedule.vector - 1 if schedule.shifts else 0
        assert schedule.vector * itemsize <= 16
        assert schedule.shifts or columns % schedule.vector == 0
        assert schedule.chunks * schedule.vector <= 32 and schedule.threads <= 512
        assert schedule.rows * schedule.threads == 32 * schedule.num_warps
        assert schedule.layout.shape == schedule.shape
        assert schedule.cluster == 1 or (clusters and schedule.rows == 1 and schedule.cluster <= 8)
        assert not schedule.shifts or schedule.rows == 1
        held = schedule.cluster * schedule.columns * max(1, schedule.staged)
        if schedule.staged:
            assert schedule.loops and not schedule.shifts and columns > 16384
            # Three blocks share a multiprocessor's memory.
            assert 3 * (itemsize * held // schedule.cluster + 1024) <= 227 * 1024
        elif schedule.loops:
            assert not clusters and columns + spare > 16384
            continue
        assert held >= columns + spare
        # No thread of a row is without work where half as many would do.
        assert schedule.threads == 1 or columns + spare > held // 2 or schedule.chunks == 1


def test_chosen_row_schedules() -> None:
    assert row_schedule(1024, 2) == RowSchedule(32, 4, 8)
    assert row_schedule(4096, 4) == RowSchedule(128, 8, 4)
    assert row_schedule(32768, 4) == RowSchedule(512, 4, 4, True, 2, staged=2)
    assert row_schedule(32768, 2, clusters=False) == RowSchedule(512, 2, 8, True, staged=4)
    assert row_schedule(16385, 2, clusters=False).loops and row_schedule(1 << 20, 4).vector == 4
    assert row_schedule(1 << 20, 4).loops and row_schedule(1 << 20, 4).cluster == 8
    assert row_schedule(4099, 2).shifts and not row_schedule(4100, 2).shifts
    assert row_schedule(32768, 4, parameters=2) == RowSchedule(512, 2, 4, True, 2, staged=4)
    assert row_schedule(4099, 4, parameters=1).shifts
    assert row_schedule(4099, 4, parameters=2) == RowSchedule(256, 17, 1)
