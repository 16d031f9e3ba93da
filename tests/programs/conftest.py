"""Fixtures of the programs' tests."""

from __future__ import annotations

import pytest

from tileloom.runtime.cuda.context import available


@pytest.fixture(params=["interpreter", "emulator", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each executor in turn; the GPU where there is one."""
    name: str = request.param
    if name == "cuda" and not available():
        pytest.skip("no NVIDIA GPU")
    return name
