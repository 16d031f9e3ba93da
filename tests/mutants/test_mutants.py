"""Planted bugs: they fit the sources, and the machinery plants and hunts them."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tileloom.runtime import cli
from tileloom.runtime.mutants.catalogue import ROOT, Mutant, catalogue, named
from tileloom.runtime.mutants.command import judge
from tileloom.runtime.mutants.corpus import read_corpus, write_corpus
from tileloom.vm.diagnostics import UsageError

KINDS = {
    "swizzle", "barrier", "wait", "tail", "lop3 table", "sign", "zero point", "scale index",
    "32-bit wrap", "clobbered register", "fragment lane", "predicate", "stale cache key",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, 24)
    return folder


def test_there_are_enough() -> None:
    mutants = catalogue()
    assert len(mutants) >= 50
    assert {m.kind for m in mutants} >= KINDS
    assert len({m.name for m in mutants}) == len(mutants)
    assert all(m.says for m in mutants)


@pytest.mark.parametrize("mutant", catalogue(), ids=lambda m: m.name)
def test_it_fits_the_sources(mutant: Mutant) -> None:
    assert mutant.problem() == ""
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    ast.parse(source.replace(mutant.old, mutant.new))


def test_drift_is_an_error() -> None:
    gone = replace(catalogue()[0], old="no such text anywhere")
    assert "occurs 0 times" in gone.problem()
    assert "no `compiler/nowhere.py`" in replace(gone, file="compiler/nowhere.py").problem()
    twice = replace(gone, old="return")
    assert "times in" in twice.problem()
    untested = replace(catalogue()[0], tests=("tests/nowhere.py",))
    assert "no `tests/nowhere.py`" in untested.problem()


def test_a_corpus_is_read_back(corpus: Path) -> None:
    cases = list(read_corpus(corpus))
    assert len(cases) > 16
    assert len({key for _, key in cases}) == len(cases)


@pytest.mark.parametrize("name", ["tail-off-by-one", "digit-unmasked", "surplus-threads-store"])
def test_it_is_caught(name: str, corpus: Path) -> None:
    verdict = judge(named(name), corpus)
    assert verdict.changed and verdict.caught.startswith("program "), verdict


def _other(new: str, *tests: str) -> Mutant:
    file, old = "compiler/passes/shared.py", "_ALIGNMENT = 128"
    return Mutant("other", "none", file, "a change of the test's own", old, new, tests)


def test_a_harmless_change_survives(corpus: Path) -> None:
    verdict = judge(_other("_ALIGNMENT = 2 * 64"), corpus)
    assert (verdict.changed, verdict.caught) == (0, "")


def test_a_crash_is_a_catch(corpus: Path) -> None:
    verdict = judge(_other("_ALIGNMENT = unknown_name"), corpus)
    assert verdict.caught == "crash: NameError: name 'unknown_name' is not defined"


def test_a_test_catches_what_programs_cannot(corpus: Path) -> None:
    mutant = Mutant(
        "deeper", "none", "compiler/targets.py", "one register too many",
        "max_registers_per_thread: int = 255", "max_registers_per_thread: int = 256",
        ("tests/mutants/check_registers.py",),
    )  # fmt: skip
    verdict = judge(mutant, corpus)
    assert verdict.caught.endswith("check_registers.py::test_registers_per_thread"), verdict


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["mutants", "--only", "tail-off-by-one", "--programs", "8", "--json"])
    fields = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0
    assert (fields["planted"], fields["caught"], fields["survivors"]) == (1, 1, [])
    assert fields["median_seconds"] > 0


def test_an_unknown_bug() -> None:
    with pytest.raises(UsageError, match="no planted bug `swizle-shift`"):
        named("swizle-shift")
