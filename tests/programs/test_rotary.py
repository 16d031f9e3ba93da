"""Rotary embedding against float64, for both ways to pair a head's elements."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.programs import samples
from tileloom.programs.rotary.program import reference, rotary, schedule_for, tables

from .closeness import assert_close

SHAPES = [(1, 1, 1), (3, 5, 64), (20, 3, 20), (7, 2, 13), (2, 9, 40), (1, 2, 128), (2, 1, 300)]
LIMIT = 50


def turned(
    shape: tuple[int, int, int], element: str, interleaved: bool, device: str, in_place: bool
) -> None:
    tokens, heads, half = shape
    rng = np.random.default_rng(half)
    x, exact = samples.draw(rng, (tokens, heads, 2 * half), element)
    positions = rng.integers(0, LIMIT, tokens).astype(np.int32)
    angles = tables(LIMIT, half)
    y = x if in_place else samples.poisoned(x.shape, element)
    rotary(
        x, positions, *angles, y, tokens, heads, half, LIMIT, device=device, element=element,
        schedule=schedule_for(heads, half, samples.itemsize(element), interleaved),
    )  # fmt: skip
    expected = reference(exact, positions, *angles, interleaved)
    members = (exact[..., 0::2], exact[..., 1::2])
    if not interleaved:
        members = (exact[..., :half], exact[..., half:])
    length = np.hypot(*members)
    slack = 2.0**-22 * (
        np.repeat(length, 2, 2) if interleaved else np.concatenate((length, length), 2)
    )
    assert_close(y, expected, element, slack)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("element", samples.ELEMENTS)
def test_every_shape(device: str, element: str, interleaved: bool) -> None:
    for shape in SHAPES:
        turned(shape, element, interleaved, device, in_place=False)


@pytest.mark.parametrize("interleaved", [False, True])
def test_in_place(device: str, interleaved: bool) -> None:
    turned((5, 6, 24), "f16", interleaved, device, in_place=True)


def test_position_zero_turns_nothing_and_lengths_stay() -> None:
    x = np.random.default_rng(0).standard_normal((4, 2, 16))
    cosines, sines = tables(LIMIT, 8)
    for interleaved in (False, True):
        y = reference(x, np.array([0, 1, 7, 49]), cosines, sines, interleaved)
        np.testing.assert_array_equal(y[0], x[0])
        np.testing.assert_allclose((y**2).sum(2), (x**2).sum(2), rtol=1e-6)
    # The first pair turns by the position itself: (1, 0) at position 1 to (cos 1, sin 1).
    unit = np.zeros((1, 1, 16))
    unit[..., 0] = 1
    y = reference(unit, np.array([1]), cosines, sines)
    np.testing.assert_allclose((y[0, 0, 0], y[0, 0, 8]), (np.cos(1), np.sin(1)), rtol=1e-6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_every_schedule_suits_its_shape(interleaved: bool) -> None:
    for itemsize in (2, 4):
        for half in (1, 3, 8, 13, 32, 40, 64, 96, 128, 300):
            for heads in (1, 5, 32):
                s = schedule_for(heads, half, itemsize, interleaved)
                assert s.pairs >= half and half % s.vector == 0
                assert s.layout.shape[s.axis] == 2 and s.layout.num_threads == 128
                assert s.alignment(itemsize) <= 16
                assert s.heads == 1 or s.heads * s.chunks * s.vector <= 16
    assert schedule_for(32, 64, 2, interleaved).alignment(2) == 16
