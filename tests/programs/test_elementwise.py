"""Fused elementwise formulas against float64."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom import vm
from tileloom.programs import samples
from tileloom.programs.elementwise.formulas import FORMULAS, Formula
from tileloom.programs.elementwise.program import apply, inputs_of, reference, schedule_for
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.dsl.values import Tile

from .closeness import assert_close

SHAPES = [(1, 1), (3, 5), (70, 64), (2, 1000), (9, 333)]


def drawn(
    formula: Formula, shape: tuple[int, int], element: str
) -> tuple[dict[str, samples.Array], dict[str, samples.Floats]]:
    rng = np.random.default_rng(shape[1])
    pairs = {
        name: samples.draw(rng, shape[1:] if name == "bias" else shape, element, 3.0)
        for name in inputs_of(formula)
    }
    return {n: pair[0] for n, pair in pairs.items()}, {n: pair[1] for n, pair in pairs.items()}


def check(name: str, shape: tuple[int, int], element: str, device: str) -> None:
    arrays, exact = drawn(FORMULAS[name], shape, element)
    y = samples.poisoned(shape, element)
    apply(FORMULAS[name], y=y, element=element, device=device, **arrays)
    size = sum(np.abs(values) for values in exact.values()) + 1
    assert_close(y, reference(name, **exact), element, slack=5e-7 * size**2)


@pytest.mark.parametrize("name", FORMULAS)
def test_every_formula(device: str, name: str) -> None:
    check(name, (5, 72), "f32", device)


@pytest.mark.parametrize("element", samples.ELEMENTS)
def test_every_shape(device: str, element: str) -> None:
    for shape in SHAPES:
        check("bias_silu_residual", shape, element, device)
        check("silu_product", shape, element, device)


def clipped(other: Tile, x: Tile) -> Tile:
    return vm.clip(x * 2.0 - other, -1.0, 1.0)


def test_a_formula_of_ones_own(device: str) -> None:
    arrays, exact = drawn(clipped, (7, 40), "f32")
    y = samples.poisoned((7, 40), "f32")
    apply(clipped, y=y, element="f32", device=device, **arrays)
    assert_close(y, np.clip(exact["x"] * 2 - exact["other"], -1, 1), "f32", 1e-6)


def test_in_place(device: str) -> None:
    arrays, exact = drawn(FORMULAS["bias_residual"], (6, 24), "f32")
    apply(FORMULAS["bias_residual"], y=arrays["x"], element="f32", device=device, **arrays)
    assert_close(arrays["x"], reference("bias_residual", **exact), "f32", 4e-6)


def test_the_tails_of_gelu(device: str) -> None:
    """Far below zero the result is tiny, not rounded away."""
    x = np.linspace(-13, 13, 521, dtype=np.float32)[None]
    y = samples.poisoned(x.shape, "f32")
    apply(FORMULAS["gelu"], x, y, element="f32", device=device)
    expected = reference("gelu", x=x)
    inside = np.abs(x) < 4
    np.testing.assert_allclose(y[inside], expected[inside], rtol=2e-3, atol=3e-7)
    assert (np.abs(y - expected) < 1e-6).all() and (y[x < -1] < 0).all()


def test_what_a_formula_may_want() -> None:
    x = np.zeros((2, 2), np.float32)
    with pytest.raises(UsageError, match="`<lambda>` wants `gate`"):
        apply(lambda x, gate: x * gate, x, x, element="f32", device="interpreter")
    with pytest.raises(UsageError, match="`bias_gelu` needs `bias`"):
        apply(FORMULAS["bias_gelu"], x, x, element="f32", device="interpreter")


def test_every_schedule_suits_its_shape() -> None:
    for itemsize in (2, 4):
        for rows in (1, 3, 8, 1000):
            for columns in (1, 3, 8, 40, 1000, 4096):
                s = schedule_for(rows, columns, itemsize)
                assert columns % s.vector == 0 and s.vector * itemsize <= 16
                assert s.layout.shape == (s.rows, s.columns) and s.layout.num_threads == 128
                assert s.lines * s.chunks <= 2
    assert schedule_for(1, 1 << 20, 2).columns == 2048
