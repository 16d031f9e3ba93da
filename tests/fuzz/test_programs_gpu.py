"""Random programs on a GPU: what they give and print is what the interpreter says.

They run in a process of their own, so that what goes wrong there spoils no other test.
"""

from __future__ import annotations

import pytest

from tileloom.runtime.cuda import context
from tileloom.runtime.fuzz.campaign import default_settings, run_chunk

from .test_programs import explained

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("first", [0, 64])
def test_random_programs(first: int) -> None:
    if not context.available():
        pytest.skip("no GPU")
    chunk = run_chunk(range(first, first + 64), default_settings("cuda"))
    assert not chunk.findings, explained(chunk)
    assert chunk.newest >= 8
