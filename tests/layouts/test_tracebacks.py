"""Errors of layouts, called for by themselves, show the caller's frames alone."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tileloom.layouts import (
    LayoutError,
    bank_conflicts,
    fragments,
    local,
    parse_layout,
    parse_memory_layout,
    replicate,
    row_major,
    spatial,
)
from tileloom.layouts.tracebacks import FULL_TRACEBACK_VARIABLE

WARP = spatial(8, 4)
MISTAKES: dict[str, Callable[[], Any]] = {
    "no quotient": lambda: WARP / local(3, 5),
    "no left quotient": lambda: WARP.left_divide(local(3, 5)),
    "no extent": lambda: local(0),
    "no copies": lambda: replicate(0),
    "no thread": lambda: WARP(40, 0),
    "no dimension": lambda: WARP.reduce([2]),
    "no order": lambda: WARP.permute([0, 0]),
    "no shape": lambda: WARP.reshape([5, 5]),
    "no owner": lambda: WARP.owners([8, 0]),
    "no layout": lambda: parse_layout("locl(2, 3)"),
    "no memory layout": lambda: parse_memory_layout("row(2"),
    "no place": lambda: row_major(4, 4).offset([4, 0]),
    "no fragment": lambda: fragments.mma_a("f15"),
    "no width": lambda: bank_conflicts([0], 3),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_only_the_users_frames(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LayoutError) as caught:
        MISTAKES[mistake]()
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert {frame.filename for frame in frames} == {__file__}
    monkeypatch.setenv(FULL_TRACEBACK_VARIABLE, "1")
    with pytest.raises(LayoutError) as caught:
        MISTAKES[mistake]()
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert "layouts" in frames[-1].filename and frames[-1].filename != __file__
