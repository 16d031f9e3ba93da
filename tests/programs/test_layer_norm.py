"""Layer norm and RMS norm against float64: rows of every length, in registers and in turns."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.programs import samples
from tileloom.programs.layer_norm.program import (
    layer_norm,
    layer_norm_reference,
    rms_norm,
    rms_norm_reference,
)
from tileloom.programs.rows.schedule import RowSchedule, row_schedule

from .closeness import assert_close
from .test_softmax import PARTS

SHAPES = [(1, 1), (3, 2), (130, 3), (9, 64), (5, 77), (3, 1000), (2, 3000), (2, 4099)]
TURNS = RowSchedule(32, 2, 4, loops=True)


def check(
    x: samples.Array,
    element: str,
    device: str,
    schedule: RowSchedule | None = None,
    epsilon: float = 1e-5,
) -> None:
    rows, columns = x.shape
    chosen = schedule or row_schedule(columns, samples.itemsize(element))
    rng = np.random.default_rng(columns)
    (w, weight), (b, bias) = (samples.draw(rng, (columns,), element) for _ in range(2))
    exact = samples.decode(x, element)
    how = {"device": device, "element": element, "schedule": chosen}
    y = samples.poisoned(x.shape, element)
    layer_norm(x, w, b, y, rows, columns, epsilon, **how)
    expected = layer_norm_reference(exact, weight, bias, epsilon)
    # The mean's own error grows with the values, not with their differences.
    spread = np.sqrt(exact.var(axis=1, keepdims=True) + epsilon)
    mean_error = 2.0**-22 * np.abs(exact).max(axis=1, keepdims=True) / spread * np.abs(weight)
    assert_close(y, expected, element, 4e-6 * (np.abs(expected) + np.abs(bias)) + mean_error)
    y = samples.poisoned(x.shape, element)
    rms_norm(x, w, y, rows, columns, epsilon, **how)
    expected = rms_norm_reference(exact, weight, epsilon)
    assert_close(y, expected, element, 4e-6 * np.abs(expected))


@pytest.mark.parametrize("element", samples.ELEMENTS)
def test_every_shape(device: str, element: str) -> None:
    for shape in SHAPES:
        x, _ = samples.draw(np.random.default_rng(shape[1]), shape, element, 2.0)
        check(x, element, device)


def test_rows_too_long_for_registers(device: str) -> None:
    for element, shape in (("f16", (3, 1000)), ("bf16", (2, 300)), ("f32", (5, 12))):
        x, _ = samples.draw(np.random.default_rng(0), shape, element)
        check(x, element, device, TURNS)


@pytest.mark.parametrize("schedule", PARTS)
def test_rows_in_parts(device: str, schedule: RowSchedule) -> None:
    for element, shape in (("f16", (5, 900)), ("f32", (3, 84)), ("bf16", (9, 4))):
        rows, columns = shape
        columns += schedule.shifts
        x, _ = samples.draw(np.random.default_rng(rows), (rows, columns), element)
        check(x, element, device, schedule)


@pytest.mark.parametrize("schedule", [None, TURNS])
def test_far_from_zero_and_constant_rows(device: str, schedule: RowSchedule | None) -> None:
    x = np.random.default_rng(1).standard_normal((4, 200)).astype(np.float32)
    x[0] += 1e4
    x[1] = 3.0
    x[2] = 0.0
    x[3] *= 1e-6
    check(x, "f32", device, schedule, epsilon=1e-6)
