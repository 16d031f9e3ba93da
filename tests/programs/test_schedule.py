"""The choice of schedules: legal for every problem, and what the record says for recorded ones."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tileloom.programs.quantized_matmul.schedule as schedule_module
from tileloom.compiler import compile_function
from tileloom.programs.quantized_matmul.candidates import candidates
from tileloom.programs.quantized_matmul.config import REDUCTION_BYTES
from tileloom.programs.quantized_matmul.geometry import Geometry
from tileloom.programs.quantized_matmul.packing import Packed
from tileloom.programs.quantized_matmul.plan import plan, traced
from tileloom.programs.quantized_matmul.quantization import default_zero_point
from tileloom.programs.quantized_matmul.schedule import (
    H100,
    SHARED_BYTES,
    Entry,
    Machine,
    Schedule,
    choose,
    entries,
    largest_tokens,
)
from tileloom.programs.quantized_matmul.tuning import Problem
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import dtype

MACHINES = [H100, Machine(66), Machine(108, False)]
NAMES = ["", "i4", "b3", "nf4", "e2m1", "e3m2", "e5m2", "e4m0"]


def geometries() -> st.SearchStrategy[Geometry]:
    sizes = st.one_of(st.integers(1, 3000), st.sampled_from([4096, 8192, 10240, 28672, 57344]))
    groups = st.sampled_from([1, 7, 16, 32, 33, 48, 64, 100, 128, 256, 1 << 20])
    return st.builds(
        lambda bits, k, n, group: Geometry(bits, k, n, min(group, k)),
        st.integers(1, 8), sizes, sizes, groups,
    )  # fmt: skip


def check_legal(schedule: Schedule, geometry: Geometry, m: int) -> None:
    """What the kernel takes for granted."""
    assert 1 <= schedule.k_warps * schedule.feature_warps <= 32
    assert schedule.tokens in (8, 16, 32, 64) and schedule.splits >= 1
    assert schedule.k_warps == 1 or geometry.cut.contiguous
    if schedule.splits > 1 and not schedule.cluster:
        # A block of a cluster may be left without work; one that writes to memory should not.
        turns = -(-geometry.num_spans(schedule.tokens) // schedule.k_warps)
        each = -(-turns // schedule.splits)
        assert (schedule.splits - 1) * each < turns, "a part of k is empty"
    if schedule.cluster:
        assert schedule.splits in (2, 4, 8)
        features = schedule.feature_warps * geometry.cut.block_features
        assert features % schedule.splits == 0
    assert schedule.tokens >= min(m, 8)


@settings(max_examples=400, deadline=None)
@given(geometries(), st.integers(1, 5000), st.sampled_from(NAMES), st.sampled_from(MACHINES))
def test_every_choice_is_legal(geometry: Geometry, m: int, name: str, machine: Machine) -> None:
    chosen = choose(geometry, m, machine, name)
    check_legal(chosen, geometry, m)
    assert chosen.tokens <= largest_tokens(geometry)
    assert machine.clusters or not chosen.cluster
    assert chosen == choose(geometry, m, machine, name)
    assert Schedule.parse(str(chosen)) == chosen


@settings(max_examples=100, deadline=None)
@given(geometries(), st.integers(1, 16))
def test_candidates_are_legal_and_hold_the_choice(geometry: Geometry, m: int) -> None:
    found = candidates(geometry, m)
    assert choose(geometry, m) in found and len(set(found)) == len(found)
    for schedule in found:
        check_legal(schedule, geometry, m)
        assert Schedule.parse(str(schedule)) == schedule
        assert schedule.stages == 0 or schedule.stages >= 2
        resident = max(1, schedule.min_blocks)
        assert resident * schedule.stages * schedule.slot_bytes(geometry) <= SHARED_BYTES


@pytest.mark.parametrize("group", [1, 16, 32, 64, 128, 1 << 20])
@pytest.mark.parametrize("bits", range(1, 9))
def test_recorded_schedules_fit_other_groups(bits: int, group: int) -> None:
    """Their slots hold more scales then."""
    for k, n in ((8192, 8192), (8192, 57344), (8192, 10240), (4096, 14336), (28672, 8192)):
        geometry = Geometry(bits, k, n, min(group, k))
        for m in (1, 8, 16):
            chosen = choose(geometry, m)
            check_legal(chosen, geometry, m)
            slots = chosen.stages * chosen.slot_bytes(geometry)
            assert max(1, chosen.min_blocks) * slots <= SHARED_BYTES, str(chosen)


@pytest.mark.parametrize("name", ["u1", "u3", "u4", "u8"])
@pytest.mark.parametrize("word", ["k8f1t8s1d0a2w", "k2f2t16s2cd0a3w", "k4f4t16s1a2"])
def test_slots_take_the_bytes_that_a_schedule_says(name: str, word: str) -> None:
    """Apart from zero points, which these weights don't have, and the sums of warps."""
    problem, schedule = Problem(name, 8192, 8192, 8), Schedule.parse(word)
    lowered = compile_function(traced(problem.plan(schedule).config))
    said = schedule.stages * schedule.slot_bytes(problem.geometry)
    assert lowered.shared_bytes <= max(said, REDUCTION_BYTES)
    scales = 2 * problem.geometry.cut.block_features * schedule.warps
    assert lowered.shared_bytes >= said - schedule.stages * scales


def test_recorded_problems_get_their_own_schedule() -> None:
    """The very one that was measured, whether its operands are staged or not."""
    assert len(entries()) >= 200
    for entry in entries():
        geometry = Geometry(dtype(entry.weight).bits, entry.k, entry.n, 128)
        check_legal(entry.schedule, geometry, entry.m)
        assert choose(geometry, entry.m, weight=entry.weight) == entry.schedule
        assert entry.schedule.tokens == entry.tokens
        dependent = choose(geometry, entry.m, weight=entry.weight, dependent=True)
        check_legal(dependent, geometry, entry.m)
        assert dependent == entry.dependent or entry.dependent is None
    assert sum(entry.dependent is not None for entry in entries()) >= 150


def recorded(monkeypatch: pytest.MonkeyPatch, *found: Entry) -> None:
    """Another record."""
    monkeypatch.setattr(schedule_module, "entries", lambda: found)
    monkeypatch.setattr(schedule_module, "choose", choose.__wrapped__)


@pytest.mark.parametrize(
    "word", ["k4f1t8s1d0b4", "k8f1t8s1d0a2wb2", "k4f1t8s1d2x", "k4f2t8s2cd0a2w"]
)
def test_a_recorded_word_is_launched_as_it_is(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    recorded(monkeypatch, Entry("u8", 8192, 10240, 8, Schedule.parse(word)))
    for n, group in ((10240, 128), (8192, 128), (10240, 8192)):
        geometry = Geometry(8, 8192, n, group)
        assert str(schedule_module.choose(geometry, 8, weight="u8")) == word


def test_dependent_launches_choose_what_was_measured_so(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, other, dependent = map(Schedule.parse, ("k8f1t8s1", "k8f1t8s1d0a2w", "k4f1t8s2cd0a2w"))
    recorded(
        monkeypatch,
        Entry("u4", 8192, 8192, 1, plain, dependent), Entry("u4", 8192, 8192, 4, other),
    )  # fmt: skip
    geometry = Geometry(4, 8192, 8192, 128)
    assert [schedule_module.choose(geometry, m) for m in (1, 4)] == [plain, other]
    chosen = [schedule_module.choose(geometry, m, dependent=True) for m in (1, 4)]
    assert chosen == [dependent, dependent]
    # Another shape is farther than another number of tokens.
    recorded(
        monkeypatch, Entry("u4", 8192, 8192, 4, other), Entry("u4", 8192, 9000, 4, plain, plain)
    )
    assert schedule_module.choose(geometry, 4, dependent=True) == other


def test_a_plan_is_of_the_launches_that_are_asked_for() -> None:
    """The record's fastest schedules differ here, by a third."""
    problem = Problem("u1", 4096, 14336, 16)
    packed = Packed(
        np.empty(0, np.uint32), np.empty(0, np.float16), None, dtype("u1"), problem.geometry,
        default_zero_point(dtype("u1")), "f16",
    )  # fmt: skip
    words = [plan(packed, 16, "f16", "f16", dependent=each).schedule for each in (False, True)]
    found = next(e for e in entries() if (e.weight, e.k, e.n, e.m) == ("u1", 4096, 14336, 16))
    assert words == [found.schedule, found.dependent] and words[0] != words[1]


def test_parts_in_a_workspace_are_of_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    word = "k8f1t16s3d0a2wb1"
    recorded(monkeypatch, Entry("u5", 11008, 4096, 16, Schedule.parse(word)))
    chosen = {n: str(schedule_module.choose(Geometry(5, 11008, n, 128), 16)) for n in (4096, 4160)}
    assert chosen[4096] == word and chosen[4160] != word


def test_a_record_is_of_feature_blocks_as_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words mean other blocks where these are narrower."""
    word = "k2f2t8s2cd0a3w"
    recorded(monkeypatch, Entry("u4", 8192, 16384, 8, Schedule.parse(word)))
    narrow, wide = Geometry(4, 8192, 16384, 128), Geometry(4, 8192, 16448, 128)
    assert (narrow.cut.tiles, wide.cut.tiles) == (2, 4)
    assert str(schedule_module.choose(narrow, 8)) == word
    assert str(schedule_module.choose(wide, 8)) != word


def test_few_tokens_choose_by_the_nearest_number_of_them() -> None:
    known = {(e.weight, e.k, e.n, e.m): e.schedule for e in entries()}
    problems = [key[:3] for key in known if key[3] == 1]
    assert len(problems) >= 55
    for problem in problems:
        weight, k, n = problem
        geometry = Geometry(dtype(weight).bits, k, n, 128)
        counts = [m for m in (1, 2, 4, 8) if (*problem, m) in known]
        for m in range(1, 17):
            nearest = 16 if m > 8 else min(counts, key=lambda each: abs(log2(each / m)))
            assert choose(geometry, m, weight=weight) == known[*problem, nearest], (problem, m)
    assert known["u2", 8192, 8192, 1] != known["u2", 8192, 8192, 8]


def test_every_recorded_choice_is_a_program_that_fits() -> None:
    configs = set()
    for entry in entries():
        problem = Problem(entry.weight, entry.k, entry.n, entry.m)
        chosen = choose(problem.geometry, entry.m, weight=entry.weight)
        configs.add(problem.plan(chosen).config)
    assert len(configs) >= 20
    for config in sorted(configs, key=repr)[::4]:
        lowered = compile_function(traced(config))
        assert 0 < lowered.shared_bytes <= SHARED_BYTES


@pytest.mark.parametrize("text", ["", "k8", "k8f1t8", "k8f1t8s1z", "k8f1t8s1d", "8f1t8s1"])
def test_a_wrong_word_is_told(text: str) -> None:
    with pytest.raises(VMError, match="is no schedule"):
        Schedule.parse(text)


def test_problems_have_plans() -> None:
    problem = Problem("u3", 4096, 4096, 16)
    plan = problem.plan(Schedule.parse("k8f1t16s2c"))
    assert plan.config.cluster == 2 and not plan.config.split
    assert plan.grid == (1, 64, 2) and plan.workspace == (0, 0)
    split = problem.plan(Schedule.parse("k8f1t16s2"))
    assert split.config.split and split.workspace == (64 * 2 * 64 * 16, 64)


@pytest.mark.parametrize(
    "name", ["u1", "u3", "u4", "u6", "u8", "b3", "nf4", "e2m1", "e3m2", "e4m3"]
)
def test_every_choice_has_a_program(name: str) -> None:
    for k, n, m in ((4096, 4096, 1), (8192, 8192, 16), (1000, 333, 17), (384, 1536, 64)):
        problem = Problem(name, k, n, m)
        schedule = choose(problem.geometry, m, H100, name)
        assert traced(problem.plan(schedule).config).body, (k, n, m, str(schedule))
