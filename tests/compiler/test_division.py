"""Division of scalars: by constants, without dividing, and by what a launch knows."""

from __future__ import annotations

import numpy as np
import pytest
from execution import emulate

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.vm.dtypes import i32, i64

MOST = 2**31 - 1
NUMBERS = [0, 1, 2, 6, 7, 8, 23, 24, 25, 47, 48, 1 << 20, 1 << 30, MOST - 1, MOST]


@vm.kernel
def divide(y: vm.Ptr[i32], number: i32, divisor: int) -> None:
    vm.launch(grid=[1], warps=1)
    vm.assume(number >= 0)
    view = vm.global_view(y, [2])
    vm.store(view, [0], vm.full(i32, (1,)) + number // divisor)
    vm.store(view, [1], vm.full(i32, (1,)) + number % divisor)


@pytest.mark.parametrize("divisor", [3, 5, 6, 7, 10, 24, 48, 96, 641, 1000003, (1 << 30) + 1, MOST])
def test_by_a_constant(divisor: int) -> None:
    function = divide.trace(divisor=divisor)
    ptx = compile_function(function).ptx
    assert "div.u32" not in ptx and "rem.u32" not in ptx and "mul.hi.u32" in ptx
    for number in [*NUMBERS, divisor - 1, divisor, MOST // divisor * divisor - 1]:
        y = np.full(2, -1, np.int32)
        emulate(function, [y, number])
        assert tuple(y) == divmod(number, divisor)


@vm.kernel
def known_by_the_launch(y: vm.Ptr[i32], number: i32, value: i32, inverse: i64) -> None:
    vm.launch(grid=[1], warps=1)
    vm.assume(number >= 0)
    vm.assume(value >= 1)
    quotient, rest = vm.Divisor(value, inverse).divide(number)
    view = vm.global_view(y, [2])
    vm.store(view, [0], vm.full(i32, (1,)) + quotient)
    vm.store(view, [1], vm.full(i32, (1,)) + rest)


@pytest.mark.parametrize("value", [1, 2, 3, 7, 64, 1000003, MOST])
def test_by_what_the_launch_knows(value: int) -> None:
    function = known_by_the_launch.trace()
    assert "div." not in compile_function(function).ptx
    for number in NUMBERS:
        y = np.full(2, -1, np.int32)
        emulate(function, [y, number, value, vm.Divisor.inverse_of(value)])
        assert tuple(y) == divmod(number, value)
