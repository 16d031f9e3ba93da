"""Division by numbers that a launch knows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tileloom import vm
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import i32, i64
from tileloom.vm.interpreter import run

MOST = 2**31 - 1


@vm.kernel
def divide(y: vm.Ptr[i32], number: i32, value: i32, inverse: i64) -> None:
    vm.launch(grid=[1], warps=1)
    vm.assume(number >= 0)
    vm.assume(value >= 1)
    quotient, rest = vm.Divisor(value, inverse).divide(number)
    view = vm.global_view(y, [2])
    vm.store(view, [0], vm.full(i32, (1,)) + quotient)
    vm.store(view, [1], vm.full(i32, (1,)) + rest)


@given(st.integers(0, MOST), st.integers(1, MOST) | st.integers(1, 300))
@example(MOST, 1)
@example(MOST, MOST)
@example(MOST - 1, MOST)
@example(0, 1)
@settings(max_examples=60, deadline=None)
def test_quotient_and_remainder(number: int, value: int) -> None:
    y = np.full(2, -1, np.int32)
    run(divide.trace(), [y, number, value, vm.Divisor.inverse_of(value)])
    assert tuple(y) == divmod(number, value)


@pytest.mark.parametrize("value", [0, -1, 1 << 31])
def test_numbers_that_divide_nothing(value: int) -> None:
    with pytest.raises(VMError, match="division by"):
        vm.Divisor.inverse_of(value)
