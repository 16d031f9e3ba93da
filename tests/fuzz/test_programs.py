"""Random programs: interpreter and emulator agree, and every program's PTX assembles."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tileloom.runtime.fuzz.campaign import Chunk, default_settings, run_chunk

PROGRAMS = 512
_A_TEST = 64
_ASSEMBLED = 128  # for all targets: what takes longest; the others are compiled for one


def explained(chunk: Chunk) -> str:
    """What is wrong, with how to see it again."""
    lines = [
        f"`tileloom fuzz --count 1 --seed {f.case.seed}`: {f.kind}: {f.message}"
        for f in chunk.findings
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("first", range(0, PROGRAMS, _A_TEST))
def test_random_programs(first: int) -> None:
    settings = default_settings("emulator")
    if first >= _ASSEMBLED:
        settings = replace(settings, assembles=False, own_target=True)
    chunk = run_chunk(range(first, first + _A_TEST), settings)
    assert not chunk.findings, explained(chunk)
    assert len(chunk.milliseconds) == _A_TEST
    # A generator whose productions are mostly refused tests nothing.
    assert sum(chunk.refusals.values()) < _A_TEST


@pytest.mark.skipif("TILELOOM_FUZZ_SEED" not in os.environ, reason="TILELOOM_FUZZ_SEED is not set")
def test_other_programs() -> None:
    """Seeds that nobody has seen: a run of the whole suite stays the same without them."""
    first = int(os.environ["TILELOOM_FUZZ_SEED"])
    chunk = run_chunk(range(first, first + 8), default_settings("emulator"))
    assert not chunk.findings, explained(chunk)
