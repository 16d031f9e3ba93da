"""How near a result in f16, bf16 or f32 must be to float64's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tileloom.programs import samples

# Half the distance between neighbours, relative to the lower one.
ROUNDING = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-24}
SMALLEST = {"f16": 2.0**-25, "bf16": 2.0**-134, "f32": 2.0**-150}


def assert_close(
    found: samples.Array,
    expected: NDArray[np.float64],
    element: str,
    slack: float | NDArray[np.float64] = 0.0,
) -> None:
    """Each element is the expected one, rounded once, up to `slack` in its own unit."""
    assert found.shape == expected.shape
    error = np.abs(samples.decode(found, element) - expected)
    bound = ROUNDING[element] * 1.001 * np.abs(expected) + SMALLEST[element] + slack
    worst = np.unravel_index(np.argmax(error - bound), error.shape) if error.size else ()
    assert (error <= bound).all(), f"at {worst}: off by {error[worst]}, {expected[worst]} expected"
