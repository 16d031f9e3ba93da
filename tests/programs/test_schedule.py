"""The choice of schedules: legal for every problem, and what the record says for recorded ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tileloom.compiler import compile_function
from tileloom.programs.quantized_matmul.candidates import candidates
from tileloom.programs.quantized_matmul.config import REDUCTION_BYTES
from tileloom.programs.quantized_matmul.geometry import Geometry
from tileloom.programs.quantized_matmul.plan import traced
from tileloom.programs.quantized_matmul.schedule import (
    H100,
    SHARED_BYTES,
    Machine,
    Schedule,
    choose,
    entries,
    largest_tokens,
    staged,
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
    assert len(entries()) >= 100
    for entry in entries():
        geometry = Geometry(dtype(entry.weight).bits, entry.k, entry.n, 128)
        check_legal(entry.schedule, geometry, entry.m)
        chosen = choose(geometry, entry.m, weight=entry.weight)
        in_memory = entry.schedule.splits > 1 and not entry.schedule.cluster
        assert chosen == staged(entry.schedule, geometry) or in_memory
        assert chosen.stages >= 2 and chosen.tokens == entry.tokens


def test_few_tokens_choose_by_the_nearest_number_of_them() -> None:
    recorded = {(e.weight, e.k, e.n, e.m): e.schedule for e in entries()}
    problems = [key[:3] for key in recorded if key[3] == 1]
    assert len(problems) >= 55
    for weight, k, n in problems:
        geometry = Geometry(dtype(weight).bits, k, n, 128)
        chosen = [choose(geometry, m, weight=weight) for m in range(1, 17)]
        one, eight, sixteen = (staged(recorded[weight, k, n, m], geometry) for m in (1, 8, 16))
        assert chosen == [one] * 2 + [eight] * 6 + [sixteen] * 8, (weight, k, n)
    assert recorded["u2", 8192, 8192, 1] != recorded["u2", 8192, 8192, 8]


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
