"""Each seeded defect is found by the interpreter and by the emulator; no twin raises an alarm."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from defect import Defect
from defects_in_place import BOUNDS, UNINITIALISED
from defects_in_time import RACES, WAITS

from tileloom.compiler import Lowered, compile_function
from tileloom.runtime.emulator import EmulatorError, parse_module
from tileloom.vm import parse
from tileloom.vm.diagnostics import ExecutionError
from tileloom.vm.interpreter import run

DEFECTS = (*RACES, *WAITS, *UNINITIALISED, *BOUNDS)
SEEDS = (0, 1, 2)
MODES = ("late", "early")
by_name = pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)


def arguments() -> list[object]:
    x = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    return [x, np.zeros_like(x), np.int32(3)]


def interpret(defect: Defect, wrong: bool, seed: int) -> np.ndarray:
    given = arguments()
    run(parse(defect.text(wrong)), [*given[:2], 3], seed=seed)
    assert isinstance(given[1], np.ndarray)
    return given[1]


def compiled(defect: Defect, wrong: bool) -> Lowered:
    return compile_function(parse(defect.text(wrong)), "sm_90a", with_locations=True)


def emulate(lowered: Lowered, seed: int, mode: str, cluster: bool) -> np.ndarray:
    given = arguments()
    kernel = parse_module(lowered.ptx).kernels[lowered.kernel_name]
    kernel.launch(
        2 if cluster else 1, lowered.num_threads, given, shared_bytes=lowered.shared_bytes,
        seed=seed, asynchronous=mode,
    )  # fmt: skip
    assert isinstance(given[1], np.ndarray)
    return given[1]


def test_there_are_enough() -> None:
    kinds = Counter(defect.kind for defect in DEFECTS)
    assert len(DEFECTS) >= 25
    assert min(kinds.values()) >= 5 and set(kinds) == {"race", "wait", "uninitialised", "bounds"}
    assert all(defect.text(True) != defect.text(False) for defect in DEFECTS)


@by_name
def test_the_interpreter_finds_it(defect: Defect) -> None:
    for seed in SEEDS:
        with pytest.raises(ExecutionError, match=defect.says):
            interpret(defect, True, seed)


@by_name
def test_the_emulator_finds_it(defect: Defect) -> None:
    lowered = compiled(defect, True)
    for seed in SEEDS:
        found = []
        for mode in MODES:
            try:
                emulate(lowered, seed, mode, defect.cluster)
            except EmulatorError as error:
                found.append(error.message)
                assert error.line and error.comment and error.location
        assert any(re.search(defect.emulator_says, message) for message in found), found


@by_name
def test_the_twin_raises_no_alarm(defect: Defect) -> None:
    meant = interpret(defect, False, 0)
    lowered = compiled(defect, False)
    for seed in SEEDS:
        assert np.array_equal(interpret(defect, False, seed), meant)
        for mode in MODES:
            assert np.array_equal(emulate(lowered, seed, mode, defect.cluster), meant)
