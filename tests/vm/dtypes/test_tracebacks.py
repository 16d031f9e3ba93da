"""Errors of dtypes show the caller's frames alone."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tileloom.vm.dtypes import DtypeError, codebook, dtype

MISTAKES: dict[str, Callable[[], Any]] = {
    "unknown": lambda: dtype("foat16"),
    "no code": lambda: dtype("u3").decode([8]),
    "no integer": lambda: dtype("u3").decode([0.5]),
    "three levels": lambda: codebook("three", [1, 2, 3]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_only_the_users_frames(mistake: str) -> None:
    with pytest.raises(DtypeError) as caught:
        MISTAKES[mistake]()
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert {frame.filename for frame in frames} == {__file__}
