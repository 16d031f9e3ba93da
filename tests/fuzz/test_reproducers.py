"""Cases that random programs have found: each failed once, and says at its head how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tileloom.runtime.fuzz.case import read_case
from tileloom.runtime.fuzz.shrink import finding_of

CASES = sorted((Path(__file__).parent / "reproducers").glob("*.vm"))


def test_there_are_cases() -> None:
    assert len(CASES) >= 6


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_it_is_fixed(path: Path) -> None:
    finding = finding_of(read_case(path))
    assert finding is None, f"{finding.kind}: {finding.message}"
