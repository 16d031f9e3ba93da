"""What Python itself finds wrong in a kernel shows the user's frames only; our own faults don't."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tileloom import vm


def misspelled_function() -> Any:
    return vm.laod  # type: ignore[attr-defined]


def misspelled_keyword() -> Any:
    return vm.full(vm.f32, (32,), layot=None)  # type: ignore[call-arg]


def unknown_attribute() -> Any:
    return vm.full(vm.f32, (32,)).sum()  # type: ignore[attr-defined]


def quotient_by_zero() -> Any:
    return 1 // 0


CASES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (misspelled_function, AttributeError, "`tileloom.vm` has no `laod`: did you mean `load`?"),
    (misspelled_keyword, TypeError, "full() got an unexpected keyword argument 'layot'"),
    (unknown_attribute, AttributeError, "'Tile' object has no attribute 'sum'"),
    (quotient_by_zero, ZeroDivisionError, "integer division or modulo by zero"),
]


@pytest.mark.parametrize(("mistake", "kind", "message"), CASES)
def test_the_users_frames_alone(
    mistake: Callable[[], Any], kind: type[Exception], message: str
) -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.f32]) -> None:
        vm.launch(grid=[1], warps=1)
        mistake()

    with pytest.raises(kind) as caught:
        f.trace()
    assert str(caught.value) == message
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert {Path(frame.filename).name for frame in frames} == {Path(__file__).name}


def test_our_own_faults_keep_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.f32]) -> None:
        vm.launch(grid=[1], warps=1)

    monkeypatch.setattr("tileloom.vm.dsl.kernel.verify", None)
    with pytest.raises(TypeError) as caught:
        f.trace()
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert "kernel.py" in {Path(frame.filename).name for frame in frames}


def test_numpys_numbers_left_of_a_tile() -> None:
    @vm.kernel
    def f(y: vm.Ptr[vm.f32]) -> None:
        vm.launch(grid=[1], warps=1)
        tile = np.float32(3.0) * vm.full(vm.f32, (32,), 2.0) - np.int64(1)  # type: ignore[operator]
        vm.store(vm.global_view(y, [32]), [0], tile)

    y = np.zeros(32, np.float32)
    f(y, device="interpreter")
    assert (y == 5).all()
