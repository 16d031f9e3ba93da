"""Activations in 8 bits: codes and scales bit by bit, every shape, dtype and kind of scale."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np
import pytest

from tileloom.compiler import compile_function
from tileloom.programs import samples
from tileloom.programs.activations.activations import (
    GROUPS,
    Activations,
    quantize_activations,
)
from tileloom.programs.activations.command import compile as compile_command
from tileloom.programs.activations.program import quantize_rows, quantize_rows_reference
from tileloom.programs.activations.schedule import ActivationSchedule, schedule_for
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import dtype

SHAPES = [(1, 1), (3, 16), (9, 33), (5, 77), (7, 128), (3, 1000), (2, 4100)]


def check(x: samples.Array, element: str, out: str, group: int, device: str) -> None:
    made = quantize_activations(x, out, group, device=device)
    exact = samples.decode(x, element)
    codes, scales = quantize_rows_reference(exact, out, group)
    assert np.array_equal(np.asarray(made.codes)[:, : x.shape[1]].view(np.uint8), codes)
    assert not made.codes[:, x.shape[1] :].any()
    assert np.array_equal(made.scales, scales)


@pytest.mark.parametrize("out", ["i8", "e4m3"])
@pytest.mark.parametrize("element", samples.ELEMENTS)
def test_every_shape(element: str, out: str, device: str) -> None:
    for shape in SHAPES:
        x, _ = samples.draw(np.random.default_rng(shape[1]), shape, element, 3.0)
        for group in (0, 32, 128):
            check(x, element, out, group, device)


@pytest.mark.parametrize("out", ["i8", "e4m3"])
def test_codes_are_the_nearest(out: str) -> None:
    """The reference itself, against float64: half a step at most between a value and its code."""
    x, exact = samples.draw(np.random.default_rng(0), (4, 512), "f16")
    made = quantize_activations(x, out, 64, device="interpreter")
    values = np.sort(dtype(out).decode(np.arange(256, dtype=np.uint8)))
    values = values[np.isfinite(values)]
    steps = exact / np.repeat(made.scales.astype(np.float64), 64, axis=1)
    nearest = np.abs(values[:, None] - steps.reshape(-1)).min(axis=0).reshape(steps.shape)
    found = np.abs(made.dequantize() - exact) / np.repeat(made.scales, 64, axis=1)
    assert (found <= nearest * (1 + 1e-5) + 1e-5).all()
    most = {"i8": 127, "e4m3": 448}[out]
    assert np.allclose(np.abs(steps).reshape(4, 8, 64).max(axis=2), most, rtol=1e-6)


@pytest.mark.parametrize("schedule", [ActivationSchedule(32, 1, True), ActivationSchedule(8, 2)])
def test_rows_in_turns(schedule: ActivationSchedule, device: str) -> None:
    k = 1048 if schedule.loops else 248
    x, exact = samples.draw(np.random.default_rng(0), (5, k), "bf16")
    codes, scales = np.full((5, k + 8), 7, np.int8), np.zeros((5, 1), np.float32)
    how: Any = {"element": "bf16", "schedule": schedule, "device": device}
    quantize_rows(x, codes, scales, 5, k, k + 8, **how)
    expected, steps = quantize_rows_reference(exact, "i8")
    assert np.array_equal(codes[:, :k].view(np.uint8), expected) and not codes[:, k:].any()
    assert np.array_equal(scales, steps)


@pytest.mark.parametrize("element", ["f16", "bf16", "f32"])
def test_zeros_and_the_smallest(element: str, device: str) -> None:
    values = np.zeros((4, 64))
    values[1, 3], values[2, 5], values[3] = -1e-30, 6e4, 1e-45
    x = samples.encode(values.astype(np.float32), element)
    for out in ("i8", "e4m3"):
        check(x, element, out, 0, device)
        made = quantize_activations(x, out, device=device)
        assert not made.codes[0].any() and np.isfinite(made.dequantize()).all()


def test_tokens_of_any_shape() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 40)).astype(np.float16)
    made = quantize_activations(x, device="interpreter")
    assert made.leading == (2, 3) and made.codes.shape == (6, 48) and made.scales.shape == (6, 1)
    flat = quantize_activations(x.reshape(6, 40), device="interpreter")
    assert np.array_equal(flat.codes, made.codes)
    again = quantize_activations(x, out=made, device="interpreter")
    assert again is made
    none = quantize_activations(np.zeros((0, 40), np.float16), device="interpreter")
    assert none.m == 0 and none.dequantize().shape == (0, 40)


def test_what_does_not_fit() -> None:
    x = np.zeros((2, 64), np.float16)
    with pytest.raises(VMError, match="can't be quantized to `i4`"):
        quantize_activations(x, "i4")
    with pytest.raises(VMError, match="`group` is 48"):
        quantize_activations(x, group=48)
    with pytest.raises(VMError, match="`x` is `i8`"):
        quantize_activations(x.astype(np.int8))
    with pytest.raises(VMError, match="`x` is a list"):
        quantize_activations([1.0])
    with pytest.raises(VMError, match="not contiguous"):
        quantize_activations(x[:, ::2])
    made = quantize_activations(x, device="interpreter")
    with pytest.raises(VMError, match="`out` holds 2 rows"):
        quantize_activations(x[:1], out=made, device="interpreter")
    with pytest.raises(VMError, match="the stride a multiple of 16"):
        Activations(np.zeros((2, 40), np.int8), np.ones((2, 1), np.float32), 40, "i8")
    with pytest.raises(VMError, match="`scales` are"):
        Activations(np.zeros((2, 48), np.int8), np.ones((2, 2), np.float32), 40, "i8")
    with pytest.raises(VMError, match="`codes` are `u8`"):
        Activations(np.zeros((2, 48), np.uint8), np.ones((2, 1), np.float32), 40, "i8")


def test_schedules() -> None:
    for k in (*range(1, 300), 1000, 4096, 8192, 14336, 28672, 32768, 57344):
        for group in (0, *GROUPS):
            s = schedule_for(k, group)
            assert s.threads <= 1024 and s.rows * s.threads == 32 * s.num_warps
            assert group or s.loops or s.columns >= k
            assert not group or s.columns % group == 0
    assert schedule_for(8192) == ActivationSchedule(256, 2)
    assert schedule_for(57344).loops and not schedule_for(28672).loops


def test_accesses_are_wide() -> None:
    """Whole runs of 16 elements: two loads and a store of 16 bytes."""
    (function,) = compile_command(Namespace(columns=8192, element="f16", to="e4m3", group=0))
    lowered = compile_function(function)
    assert [str(conversion) for conversion in lowered.conversions] == []
    assert lowered.ptx.count("ld.global.v4") == 4 and lowered.ptx.count("st.global.v4") == 2
    assert lowered.ptx.count("cvt.rn.satfinite.e4m3x2.f32") == 16
