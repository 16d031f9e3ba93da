"""Quantization: what is legal, what a code means, and how far a weight is from its code."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tileloom.programs.quantized_matmul.packing import pack, unpack
from tileloom.programs.quantized_matmul.quantization import (
    Quantized,
    column_blocks,
    legal_zero_points,
    quantize,
)
from tileloom.vm.diagnostics import ShapeError, VMError, VMNameError, VMTypeError, VMValueError
from tileloom.vm.dtypes import codebook, dtype, predefined

WEIGHT_DTYPES = [each for each in predefined() if legal_zero_points(each)]
CASES = [(each.name, zero) for each in WEIGHT_DTYPES for zero in legal_zero_points(each)]
SHAPES = st.tuples(st.integers(0, 40), st.integers(0, 5))
GROUPS = st.one_of(st.integers(1, 50), st.sampled_from(["channel", "tensor"]))


def weights(k: int, n: int, seed: int = 0, scale: float = 0.05, shift: float = 0.0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((k, n)) * scale + shift
    return drawn.astype(np.float32)


def meaning(q: Quantized) -> np.ndarray:
    """The values by the definition, one element at a time."""
    out = np.empty((q.k, q.n))
    for i, j in np.ndindex(q.k, q.n):
        scale = float(q.scales[i // q.group, j])
        value = float(q.dtype.decode(q.codes[i : i + 1, j])[0])
        if q.zero_point == "symmetric":
            value -= 2 ** (q.dtype.bits - 1)
        elif q.zeros is not None:
            value -= float(q.zeros[i // q.group, j])
        out[i, j] = scale * value
    return out


def test_every_dtype_of_up_to_8_bits_holds_weights_except_bool_and_the_scale_type() -> None:
    refused = {each.name for each in predefined() if each.bits <= 8 and each not in WEIGHT_DTYPES}
    assert refused == {"bool", "e8m0"}
    assert legal_zero_points(dtype("u5")) == ("none", "symmetric", "int", "float")
    assert {legal_zero_points(dtype(name)) for name in ("i4", "e4m3", "b3", "nf4")} == {("none",)}


@pytest.mark.parametrize(("name", "zero_point"), CASES)
def test_dequantize_is_the_definition(name: str, zero_point: str) -> None:
    q = quantize(weights(50, 3), name, 16, zero_point)
    assert q.codes.shape == (50, 3) and q.scales.shape == (4, 3)
    assert q.codes.dtype == np.uint8 and int(q.codes.max()) < 2**q.dtype.bits
    np.testing.assert_array_equal(q.dequantize(), meaning(q))


@pytest.mark.parametrize(("name", "zero_point"), CASES)
def test_every_code_is_a_nearest_one(name: str, zero_point: str) -> None:
    w = weights(64, 4, seed=3).astype(np.float64)
    q = quantize(w, name, 32, zero_point)
    every = np.arange(2**q.dtype.bits, dtype=np.uint8)
    error = np.abs(q.dequantize() - w)
    for group in range(2):
        rows = slice(group * 32, group * 32 + 32)
        for j in range(4):
            codes = Quantized(
                np.repeat(every[:, None], 1, axis=1),
                q.scales[group : group + 1, j : j + 1],
                None if q.zeros is None else q.zeros[group : group + 1, j : j + 1],
                q.dtype,
                len(every),
                q.zero_point,
            )
            values = codes.dequantize()[:, 0]
            values = values[np.isfinite(values)]
            best = np.abs(values[None, :] - w[rows, j, None]).min(axis=1)
            np.testing.assert_allclose(error[rows, j], best, rtol=1e-12, atol=1e-15)


@given(SHAPES, GROUPS, st.sampled_from(CASES), st.integers(0, 2**16), st.floats(-3, 3))
@example((0, 3), 32, ("u4", "int"), 0, 0.0)
@example((3, 0), "tensor", ("e4m3", "none"), 0, 0.0)
@example((33, 2), 32, ("u3", "float"), 1, 2.0)
def test_shapes_and_stored_numbers(
    shape: tuple[int, int],
    group: int | str,
    case: tuple[str, str],
    seed: int,
    shift: float,
) -> None:
    k, n = shape
    q = quantize(weights(k, n, seed, shift=shift), *_order(case, group))
    assert 1 <= q.group <= max(k, 1) and (q.k, q.n) == shape
    assert q.scales.shape == (-(-k // q.group), n)
    assert _has_eleven_bits(q.scales) and bool(np.all(q.scales > 0))
    if q.zero_point == "int":
        assert q.zeros is not None and q.zeros.dtype == np.int32
        assert bool(np.all((q.zeros >= 0) & (q.zeros < 2**q.dtype.bits)))
    elif q.zero_point == "float":
        assert q.zeros is not None and _is_f16(q.zeros)
    else:
        assert q.zeros is None
    assert bool(np.all(np.isfinite(q.dequantize())))


def _order(case: tuple[str, str], group: int | str) -> tuple[str, int | str, str]:
    return case[0], group, case[1]


def _has_eleven_bits(array: np.ndarray) -> bool:
    mantissas = np.frexp(array)[0] * 2.0**11
    return bool(np.array_equal(np.rint(mantissas), mantissas))


@pytest.mark.parametrize("exponent", [-60, -20, 30])
@pytest.mark.parametrize("case", [("u4", "symmetric"), ("u3", "int"), ("e2m1", "none")])
def test_powers_of_two_only_move_the_scales(case: tuple[str, str], exponent: int) -> None:
    w = weights(40, 7, 3)
    plain, moved = (quantize(v, case[0], 16, case[1]) for v in (w, w * 2.0**exponent))
    assert (plain.codes == moved.codes).all()
    assert (moved.scales == plain.scales * np.float32(2.0**exponent)).all()


def _is_f16(array: np.ndarray) -> bool:
    return bool(np.array_equal(array.astype(np.float16).astype(np.float32), array))


# Half a step everywhere, but more where the zero point was rounded.
STEPS = {"symmetric": 0.5, "none": 0.5, "float": 0.75, "int": 1.0}
EVEN = [case for case in CASES if case[0][0] in "ui" and case[0] != "u1"]


@given(st.sampled_from(EVEN), st.integers(0, 2**16), st.sampled_from([0.01, 0.05, 1.0, 300.0]))
def test_evenly_spaced_codes_are_within_a_step(
    case: tuple[str, str], seed: int, scale: float
) -> None:
    w = weights(40, 3, seed, scale).astype(np.float64)
    if case[0].startswith("u") and case[1] == "none":
        w = np.abs(w)
    q = quantize(w, *_order(case, 16))
    step = np.repeat(q.scales, 16, axis=0)[:40].astype(np.float64)
    assert bool(np.all(np.abs(q.dequantize() - w) <= step * STEPS[case[1]] * (1 + 1e-9)))


def test_more_bits_are_closer() -> None:
    w = weights(256, 8).astype(np.float64)

    def error(name: str, zero_point: str | None = None) -> float:
        return float(np.linalg.norm(quantize(w, name, 32, zero_point).dequantize() - w))

    for family in ("u", "i", "b"):
        errors = [error(f"{family}{bits}") for bits in range(2, 9)]
        assert all(worse > 1.5 * better for worse, better in pairwise(errors))
    assert error("u4", "int") < error("u4", "symmetric")
    assert error("nf4") < error("i4")


def test_codes_and_scales_by_hand() -> None:
    w = np.array([[-8.5, 0.0], [7.5, 3.0], [1.0, 0.0]])
    q = quantize(w, "u4", 2)
    np.testing.assert_array_equal(q.scales[:, 0], np.float32([1.0, _up(1 / 7.5)]))
    np.testing.assert_array_equal(q.codes[:, 0], [0, 15, 15])
    q = quantize(np.array([[0.0], [4.0], [1.0], [3.0]]), "u2", "channel", "float")
    assert float(q.scales[0, 0]) == 1.0 and q.zeros is not None
    assert float(q.zeros[0, 0]) == -0.5
    np.testing.assert_array_equal(q.dequantize()[:, 0], [0.5, 3.5, 0.5, 2.5])
    q = quantize(np.array([[-6.0], [1.0], [0.6]]), "e2m1", "tensor")
    np.testing.assert_array_equal(q.dequantize()[:, 0], [-6.0, 1.0, 0.5])


def _up(value: float) -> float:
    nearest = np.float16(value)
    return float(nearest if float(nearest) >= value else np.nextafter(nearest, np.float16(65504)))


def test_tensor_scale_is_the_same_everywhere() -> None:
    w = weights(20, 6)
    w[:, 0] *= 100
    assert np.unique(quantize(w, "u4", "tensor").scales).size == 1
    assert np.unique(quantize(w, "u4", "channel").scales).size == 6


@pytest.mark.parametrize("zero_point", ["symmetric", "int", "float"])
@pytest.mark.parametrize("value", [0.0, 1e-30, 5.0, -5.0, 1e4])
def test_constant_groups(zero_point: str, value: float) -> None:
    q = quantize(np.full((32, 2), value), "u4", 32, zero_point)
    np.testing.assert_allclose(q.dequantize(), value, rtol=0.07, atol=2.0**-14)


@pytest.mark.parametrize(("name", "zero_point"), CASES)
def test_huge_weights_are_as_near_as_ordinary_ones(name: str, zero_point: str) -> None:
    signs = np.array([[1.0], [-1.0]])
    huge, plain = (quantize(signs * v, name, 2, zero_point) for v in (2.0**100, 1.0))
    np.testing.assert_array_equal(huge.dequantize(), plain.dequantize() * 2.0**100)


@pytest.mark.parametrize("magnitude", [1e-37, 1e-39, 1e-42, 1e-300])
@pytest.mark.parametrize("zero_point", ["none", "symmetric", "int", "float"])
def test_scales_of_tiny_weights_stay_exact(zero_point: str, magnitude: float) -> None:
    """Below the normal range of f32 a weight may get lost, but no scale is wrong or zero."""
    w = weights(32, 4).astype(np.float64) * magnitude
    q = quantize(w, "u4", 16, zero_point)
    assert (q.scales > 0).all() and (unpack(pack(q)).scales == q.scales).all()
    assert np.abs(q.dequantize() - w).max() <= 2.0 * np.abs(w).max() + 2.0**-130


def test_columns_do_not_depend_on_how_they_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    w = weights(30, 17)
    whole = quantize(w, "u3", 8, "int")
    monkeypatch.setitem(column_blocks.__globals__, "COLUMN_BLOCK_ELEMENTS", 90)
    split = quantize(w, "u3", 8, "int")
    np.testing.assert_array_equal(split.codes, whole.codes)
    np.testing.assert_array_equal(split.dequantize(), whole.dequantize())


def test_own_code_book() -> None:
    book = codebook("quarters_for_a_test", [-1.0, -0.25, 0.25, 1.0])
    q = quantize(np.array([[2.0], [-0.4], [0.6], [-2.0]]), book, "tensor")
    np.testing.assert_array_equal(q.dequantize()[:, 0], [2.0, -0.5, 0.5, -2.0])


def test_other_arrays() -> None:
    w = weights(8, 4)
    expected = quantize(w, "u4").codes
    np.testing.assert_array_equal(quantize(w.T.copy().T, "u4").codes, expected)
    np.testing.assert_array_equal(quantize(w.tolist(), "u4").codes, expected)
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert quantize(w.astype(ml_dtypes.bfloat16), "u4").codes.shape == (8, 4)


W = weights(4, 4)
MISTAKES = [
    (VMNameError, "unknown dtype `u4x`", lambda: quantize(W, "u4x")),
    (VMTypeError, "`f16` cannot hold weights", lambda: quantize(W, "f16")),
    (VMTypeError, "`e8m0` cannot hold weights", lambda: quantize(W, "e8m0")),
    (VMTypeError, 'zero point "int" does not go with `i4`', lambda: quantize(W, "i4", 2, "int")),
    (VMValueError, 'unknown zero point "zp"', lambda: quantize(W, "u4", 2, "zp")),
    (VMValueError, "`group` is `0`", lambda: quantize(W, "u4", 0)),
    (VMValueError, "`group` is `True`", lambda: quantize(W, "u4", True)),
    (VMValueError, "`group` is `'row'`", lambda: quantize(W, "u4", "row")),
    (VMValueError, "`w` holds 1 values that are not finite", lambda: quantize([[np.nan]], "u4")),
    (VMValueError, "`w` holds 1 values that are not finite", lambda: quantize([[np.inf]], "u4")),
    (ShapeError, "`w` must be `[k, n]`, not `[4]`", lambda: quantize(W[0], "u4")),
    (VMTypeError, "`w` must hold floats, not `int64`", lambda: quantize([[1]], "u4")),
    (VMValueError, "`w` reaches to 1e+200", lambda: quantize([[1e200]], "u4")),
]


@pytest.mark.parametrize(("kind", "message", "call"), MISTAKES)
def test_mistakes(kind: type[VMError], message: str, call: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.message.startswith(message)
