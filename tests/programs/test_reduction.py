"""Reductions and scans along any axis against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom.programs import samples
from tileloom.programs.reduction import program, scan
from tileloom.programs.reduction.command import out_dtype
from tileloom.programs.reduction.program import OPERATIONS, plan_reduce, reduce_axis
from tileloom.programs.reduction.scan import SCANS, scan_axis
from tileloom.programs.reduction.schedule import plan_for, schedule_for
from tileloom.vm.diagnostics import UsageError

from .closeness import ROUNDING, assert_close

Shape = tuple[int, int, int]
SHAPES: list[Shape] = [
    (1, 1, 1), (3, 1000, 1), (2, 77, 1), (300, 4, 1), (2, 40, 65), (1, 900, 8), (5, 3, 16),
    (2, 1, 7),
]  # fmt: skip
IN_PARTS: list[Shape] = [(1, 40000, 1), (1, 9000, 3)]


def drawn(shape: Shape, element: str, op: str) -> tuple[samples.Array, samples.Floats]:
    """Values near 1 for products, so that they neither vanish nor grow."""
    x, exact = samples.draw(np.random.default_rng(shape[1]), shape, element)
    if op != "prod":
        return x, exact
    x = samples.encode(np.exp2(np.round(np.sin(np.arange(x.size) * 7.0))).reshape(shape), element)
    return x, samples.decode(x, element)


def check_reduction(shape: Shape, op: str, element: str, device: str) -> None:
    x, exact = drawn(shape, element, op)
    y: Any = np.full((shape[0], shape[2]), -1, np.int32)
    y = y if op.startswith("arg") else samples.poisoned(y.shape, "f32")
    reduce_axis(x, y, shape, op, element=element, out=out_dtype(op), device=device)
    expected = program.reference(exact, op)
    if op.startswith("arg"):
        np.testing.assert_array_equal(y, expected)
    else:
        weight = np.abs(exact).sum(axis=1) if op in ("sum", "mean") else np.abs(expected)
        assert_close(y, expected, "f32", 2.0**-21 * weight)


def check_scan(shape: Shape, op: str, element: str, device: str, exclusive: bool) -> None:
    x, exact = drawn(shape, element, op)
    y = samples.poisoned(shape, "f32")
    scan_axis(x, y, shape, op, element=element, exclusive=exclusive, device=device)
    expected = scan.reference(exact, op, exclusive)
    endless = np.isinf(expected)
    np.testing.assert_array_equal(y[endless], expected[endless])
    weight = np.abs(exact).cumsum(axis=1) if op == "sum" else np.abs(expected)
    weight, found = np.where(endless, 0, weight), np.where(endless, np.float32(0), y)
    assert_close(found, np.where(endless, 0, expected), "f32", 2.0**-20 * weight)


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_reduction(device: str, op: str) -> None:
    for shape in SHAPES:
        check_reduction(shape, op, "f16", device)


@pytest.mark.parametrize("element", samples.ELEMENTS)
def test_reductions_in_parts(device: str, element: str) -> None:
    for shape in IN_PARTS:
        assert plan_reduce(shape, "sum", element).parts > 1
        for op in ("sum", "mean", "max", "argmin"):
            check_reduction(shape, op, element, device)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("op", SCANS)
def test_every_scan(device: str, op: str, exclusive: bool) -> None:
    for shape in SHAPES:
        check_scan(shape, op, "f16", device, exclusive)


@pytest.mark.parametrize("exclusive", [False, True])
def test_scans_in_parts(device: str, exclusive: bool) -> None:
    assert plan_for(*IN_PARTS[0], 4).parts > 1
    check_scan(IN_PARTS[0], "sum", "f16", device, exclusive)
    check_scan(IN_PARTS[1], "max", "bf16", device, exclusive)
    check_scan(IN_PARTS[1], "prod", "f32", device, exclusive)


def test_integers_and_the_arrays_own_dtype(device: str) -> None:
    shape = (3, 300, 5)
    x = np.random.default_rng(0).integers(-(1 << 30), 1 << 30, shape).astype(np.int32)
    for op, expected in (("sum", x.sum(1, dtype=np.int32)), ("max", x.max(1)), ("min", x.min(1))):
        y = np.zeros((3, 5), np.int32)
        reduce_axis(x, y, shape, op, element="i32", out="i32", device=device)
        np.testing.assert_array_equal(y, expected)
    sums = np.zeros_like(x)
    scan_axis(x, sums, shape, element="i32", out="i32", device=device)
    np.testing.assert_array_equal(sums, x.cumsum(1, dtype=np.int32))
    halves = (x >> 20).astype(np.float16)
    means = samples.poisoned((3, 5), "f16")
    reduce_axis(halves, means, shape, "mean", element="f16", out="f16", device=device)
    exact = halves.astype(np.float64).mean(axis=1)
    assert_close(means, exact, "f16", 2 * ROUNDING["f32"] * np.abs(halves).max())


@pytest.mark.parametrize("shape", [(4, 50, 1), (1, 50, 4)])
def test_nan_is_skipped_and_first_places_win(device: str, shape: Shape) -> None:
    x = np.ones((4, 50), np.float32)
    x[0, 3] = x[0, 40] = np.nan
    x[1, [7, 9, 30]] = 5.0
    x[2] = np.nan
    x[3] = -np.inf
    x[3, :2] = np.nan
    array = np.ascontiguousarray(x if shape[0] == 4 else x.T)
    outputs = {}
    for op in ("max", "argmax", "sum"):
        y: Any = np.full((shape[0], shape[2]), 77, np.int32 if op == "argmax" else np.float32)
        reduce_axis(array, y, shape, op, element="f32", out=out_dtype(op), device=device)
        outputs[op] = y.reshape(-1)
    np.testing.assert_array_equal(outputs["max"], [1, 5, np.nan, -np.inf])
    np.testing.assert_array_equal(outputs["argmax"], [0, 7, 0, 2])
    np.testing.assert_array_equal(outputs["sum"], [np.nan, 62, np.nan, np.nan])


def test_what_cannot_be_done() -> None:
    x = np.zeros((1, 0, 1), np.float16)
    with pytest.raises(UsageError, match="no reduction `median`"):
        reduce_axis(x, x, (1, 1, 1), "median")
    with pytest.raises(UsageError, match="a reduction of no elements"):
        reduce_axis(x, x, (1, 0, 1))
    with pytest.raises(UsageError, match="no scan `argmax`"):
        scan_axis(x, x, (1, 1, 1), "argmax")
    with pytest.raises(UsageError, match="needs a workspace of"):
        reduce_axis(object(), x, (1, 1 << 20, 1))


def test_every_plan_covers_its_array() -> None:
    for itemsize in (2, 4):
        for outer in (1, 7, 5000):
            for n in (1, 5, 64, 1000, 1 << 20):
                for inner in (1, 2, 9, 64, 1000):
                    plan = plan_for(outer, n, inner, itemsize)
                    s = plan.schedule
                    assert plan.part % s.extent == 0 and s.vector * itemsize <= 16
                    assert (plan.parts - 1) * plan.part < n <= plan.parts * plan.part
                    assert s.layout.shape == s.shape and s.num_warps == 8
                    assert (n if s.dim else inner) % s.vector == 0
    assert plan_for(1, 1 << 26, 1, 2).parts >= 264  # every multiprocessor has work
    assert plan_for(5000, 1000, 1, 2).parts == 1
    assert schedule_for(1, 1, 1, 4).kept == 256
