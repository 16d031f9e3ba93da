"""Programs in processes of their own: what kills a process, or never ends, is a finding, and the
programs behind it run all the same."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tileloom.runtime.fuzz.apart import Message, Program, Result, Stage, run_apart
from tileloom.runtime.fuzz.chunk import Settings
from tileloom.runtime.fuzz.generate import generate
from tileloom.runtime.fuzz.parsing import Finding

ROOT = Path(__file__).parents[2]
SETTINGS = Settings("cuda", ("sm_90a",))


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes import the functions here by name."""
    monkeypatch.syspath_prepend(str(ROOT))


def pretend(programs: Sequence[Program], settings: Settings) -> Iterator[Message]:
    """Seed 1 hangs, seed 3 kills the process, seed 4 raises, behind seed 5 nothing works, seed 6 is
    wrong; seed 5 and 6 say that they were refused something."""
    assert settings == SETTINGS
    for at, seed in enumerate(programs):
        assert isinstance(seed, int)
        case = generate(seed).case
        yield Stage("running", at, 0.5 if seed == 1 else 60.0, case)
        if seed == 1:
            time.sleep(600)
        if seed == 3:
            os.abort()
        if seed == 4:
            raise RuntimeError("a mistake of ours")
        if seed == 5:
            yield Result(at, Finding("error on cuda", "lost", case), ("no",), 2.0, True, True)
            time.sleep(600)
        if seed == 6:
            yield Result(at, Finding("mismatch on cuda", "wrong", case), ("no",), 3.0)
            continue
        yield Result(at, milliseconds=1.0, newest=seed % 2 == 0)


def test_every_program_is_accounted_for(capfd: pytest.CaptureFixture[str]) -> None:
    began = time.perf_counter()
    chunk = run_apart(range(9), SETTINGS, pretend)
    found = {f.case.seed: (f.kind, f.message) for f in chunk.findings}
    assert found == {
        1: ("hang on cuda", "nothing for 0.5 seconds, at running"),
        3: ("death on cuda", "the process ended with status -6, at running"),
        4: ("death on cuda", "the process ended with status 1, at running"),
        5: ("error on cuda", "lost"),
        6: ("mismatch on cuda", "wrong"),
    }
    assert list(chunk.seeds) == list(range(9)) and len(chunk.milliseconds) == 9
    assert sorted(chunk.milliseconds)[-6:] == [1.0, 1.0, 1.0, 1.0, 2.0, 3.0]
    assert chunk.newest == 4  # seeds 0, 2, 5, 8
    assert chunk.refusals == {"no": 2}
    assert time.perf_counter() - began < 200
    assert "a mistake of ours" in capfd.readouterr().err


def at_once(programs: Sequence[Program], settings: Settings) -> Iterator[Message]:
    """Ends before it says anything."""
    os._exit(7)
    yield Result(0)


def test_a_process_that_never_begins_is_the_first_program_s_fault() -> None:
    chunk = run_apart([generate(3).case], SETTINGS, at_once)
    assert [(f.case.seed, f.kind, f.message) for f in chunk.findings] == [
        (3, "death on cuda", "the process ended with status 7, at the start of the process")
    ]


def silent(programs: Sequence[Program], settings: Settings) -> Iterator[Message]:
    """Ends well, but without a word about its second program."""
    yield Result(0)


def test_a_program_without_a_word_is_a_finding() -> None:
    chunk = run_apart([3, 4], SETTINGS, silent)
    assert [f.case.seed for f in chunk.findings] == [4]
