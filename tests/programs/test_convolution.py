"""Convolutions against float64, and the float64 one against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.programs import samples
from tileloom.programs.convolution.program import Geometry, convolution, reference, schedule_for
from tileloom.vm.diagnostics import VMValueError

from .closeness import assert_close

GEOMETRIES = [
    Geometry(2, 7, 9, 16, 24, padding=1),
    Geometry(1, 8, 8, 3, 5),
    Geometry(1, 9, 6, 40, 33, (3, 2), stride=2, padding=2, dilation=2),
    Geometry(3, 4, 4, 8, 8, (1, 1)),
    Geometry(1, 1, 1, 1, 1, (1, 1)),
    Geometry(1, 5, 30, 72, 16, (1, 7), padding=3, stride=3),
    Geometry(2, 3, 3, 8, 130, (5, 5), padding=2),
]


def check(g: Geometry, device: str, element: str = "f16", out: str = "f32") -> None:
    rng = np.random.default_rng(g.channels)
    x, exact_x = samples.draw(rng, (g.images, g.height, g.width, g.channels), element)
    w, exact_w = samples.draw(rng, (*g.taps, g.channels, g.filters), element)
    y = samples.poisoned(g.shape, out)
    convolution(
        x, w, y, *g.arguments(), element=element, out=out, schedule=schedule_for(g), device=device
    )
    weight = reference(np.abs(exact_x), np.abs(exact_w), g)
    assert_close(y, reference(exact_x, exact_w, g), out, 2.0**-20 * weight)


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_every_geometry(device: str, g: Geometry) -> None:
    check(g, device)


@pytest.mark.parametrize(("element", "out"), [("f16", "f16"), ("bf16", "bf16")])
def test_dtypes(device: str, element: str, out: str) -> None:
    check(GEOMETRIES[0], device, element, out)


def test_the_reference_is_the_definition() -> None:
    g = Geometry(2, 4, 5, 3, 2, (3, 2), stride=2, padding=1, dilation=2)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, 5, 3)), rng.standard_normal((3, 2, 3, 2))
    y = np.zeros(g.shape)
    for image, p, q, f in np.ndindex(*g.shape):
        for r, s, c in np.ndindex(3, 2, 3):
            row, column = p * 2 - 1 + r * 2, q * 2 - 1 + s * 2
            if 0 <= row < 4 and 0 <= column < 5:
                y[image, p, q, f] += x[image, row, column, c] * w[r, s, c, f]
    np.testing.assert_allclose(reference(x, w, g), y, rtol=1e-12)


def test_filters_that_do_not_fit() -> None:
    with pytest.raises(VMValueError, match="3 x 3 taps don't fit images of 2 x 9"):
        Geometry(1, 2, 9, 8, 8)
    with pytest.raises(VMValueError, match="strides"):
        Geometry(1, 9, 9, 8, 8, stride=0)


def test_every_schedule_suits_its_shape() -> None:
    for g in GEOMETRIES:
        s = schedule_for(g)
        assert g.channels % s.vector == g.filters % s.vector == 0
        assert s.a.num_threads == s.b.num_threads == s.c.num_threads == 32 * s.num_warps
    assert schedule_for(Geometry(32, 56, 56, 256, 256)).rows == 128
