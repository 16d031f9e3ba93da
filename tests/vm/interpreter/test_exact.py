"""`fma` rounds once: against exact rational arithmetic."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tileloom.vm import dtype
from tileloom.vm.dtypes import Dtype
from tileloom.vm.semantics.exact import exact_fma, odd_fma


def nearest(value: Fraction, element: Dtype) -> float:
    """Rounded to nearest even by comparing with the two neighbours exactly."""
    code = int(element.encode(float(value)))
    around = [c for c in (code - 1, code, code + 1) if 0 <= c < 1 << element.bits]
    numbers = [(c, float(element.decode(c))) for c in around]
    finite = [(abs(Fraction(v) - value), c % 2, v) for c, v in numbers if np.isfinite(v)]
    return min(finite)[2]


@pytest.mark.parametrize("name", ["f16", "f32", "f64"])
def test_fma_rounds_once(name: str) -> None:
    element = dtype(name)
    rng, kind, size = np.random.default_rng(9), element.numpy, 2000
    a, b = ((rng.standard_normal(size) * np.exp2(rng.integers(-3, 3, size))) for _ in range(2))
    a, b = a.astype(kind), b.astype(kind)
    # Addends close to minus the product, and such that the sum is near a tie.
    ulp = np.spacing((a * b).astype(kind))
    spread = 26 if name != "f16" else 8
    c = (ulp * rng.integers(-3, 4, size) * np.exp2(rng.integers(-1, spread, size))).astype(kind)
    got = exact_fma(a, b, c)
    assert got.dtype == kind
    for x, y, z, r in zip(a, b, c, got, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        assert float(r) == nearest(exact, element)


def test_fma_of_bf16_rounds_once() -> None:
    element, rng, size = dtype("bf16"), np.random.default_rng(9), 2000
    a, b, c = (
        element.decode(rng.integers(0x3C00, 0x4400, size).astype(np.uint16)) for _ in range(3)
    )
    # Addends so small that the sum lies beside what is exact, or beside a tie.
    c = c * np.exp2(rng.integers(-30, 2, size)) * rng.choice([-1, 1], size)
    a, b, c = (x.astype(np.float32) for x in (a, b, c))
    got = element.decode(element.encode(odd_fma(a, b, c).astype(np.float64)))
    twice = element.decode(element.encode(exact_fma(a, b, c).astype(np.float64)))
    for x, y, z, r in zip(a, b, c, got, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        assert float(r) == nearest(exact, element)
    assert (got != twice).any()


def test_rounding_twice_would_differ() -> None:
    """The case the function exists for: float64 rounds the sum onto a tie of float32."""
    a, b, c = np.float32([1 + 2.0**-12]), np.float32([1 + 2.0**-12]), np.float32([2.0**-60])
    twice = (a.astype(np.float64) * b + c).astype(np.float32)
    assert twice[0] == np.float32(1 + 2.0**-11)
    assert exact_fma(a, b, c)[0] == np.float32(1 + 2.0**-11 + 2.0**-23)


def test_specials() -> None:
    inf, nan = np.inf, np.nan
    a, b = np.float32([inf, 0, 1, nan, 3e38]), np.float32([1, inf, 1, 1, 10])
    c = np.float32([1, 1, -inf, 1, 0])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(exact_fma(a, b, c), [inf, nan, -inf, nan, inf])
        wide = exact_fma(a.astype("f8"), b.astype("f8"), c.astype("f8"))
    np.testing.assert_array_equal(wide[:4], [inf, nan, -inf, nan])


def test_the_instruction(interpret: Any) -> None:
    x = np.float32([1 + 2.0**-12] * 32)
    z = np.zeros(32, np.float32)
    interpret(
        """func @f(%p: *f32, %q: *f32) warps = 1 {
  %g = global_view %p : global<f32, [32]>
  %x = load %g[0] : reg<f32, [32]>
  %z = fma %x, %x, 8.673617379884035e-19
  %h = global_view %q : global<f32, [32]>
  store %h[0], %z
}""",
        [x, z],
    )
    assert (z == np.float32(1 + 2.0**-11 + 2.0**-23)).all()
    numbers = np.arange(32, dtype=np.int32)
    result = np.zeros(32, np.int32)
    interpret(
        """func @f(%p: *i32, %q: *i32) warps = 1 {
  %g = global_view %p : global<i32, [32]>
  %x = load %g[0] : reg<i32, [32]>
  %z = fma %x, 65536, %x
  %w = fma %z, 65536, 1
  %h = global_view %q : global<i32, [32]>
  store %h[0], %w
}""",
        [numbers, result],
    )
    assert result.tolist() == [(n << 16) + 1 for n in range(32)]
