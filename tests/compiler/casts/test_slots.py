"""Issue slots per element: budgets for plans, and what ptxas makes of them."""

from __future__ import annotations

import pytest
from sass_slots import count_slots

from tileloom.compiler.casts import plan_cast, plan_decode
from tileloom.compiler.casts.__main__ import slots_per_element, slots_table
from tileloom.runtime.errors import ToolMissingError
from tileloom.vm.dtypes import bf16, dtype, f16
from tileloom.vm.packing import CONTIGUOUS, PAIRED, pairs

# Decodes whose factors and constants the consumer takes: (f16, bf16).
# Seven bits of bf16 count where f16 has eleven: u4 fits once.
DECODES = {
    "u1": (0.54, 0.57),
    "u2": (0.57, 0.63),
    "u3": (0.66, 0.75),
    "u4": (0.63, 0.88),
    "u5": (0.79, 0.97),
    "u6": (0.875, 1.0),
    "u7": (0.97, 1.07),
    "u8": (0.5, 1.0),
    "e2m1": (1.38, 2.13),
    "e5m2": (0.5, 2.0),
}

# Decodes to bf16 subnormals. Eight bits count.
SUBNORMALS = {
    "u1": 0.54,
    "u2": 0.57,
    "u3": 0.75,
    "u4": 0.63,
    "u5": 0.97,
    "u6": 0.94,
    "u7": 1.0,
    "u8": 0.5,
    "e2m1": 1.63,
    "e4m3": 1.5,
}

# True values: (f16, bf16).
CASTS = {
    "u1": (1.04, 1.07),
    "u2": (1.07, 1.13),
    "u3": (1.16, 1.25),
    "u4": (1.13, 1.38),
    "u5": (1.29, 1.47),
    "u6": (1.38, 1.5),
    "u7": (1.47, 1.57),
    "u8": (1.0, 1.5),
    "i8": (1.25, 1.75),
    "b4": (1.25, 1.5),
    "b6": (1.57, 1.69),
    "b7": (1.69, 2.07),
    "e2m1": (1.88, 2.13),
    "e3m2": (2.32, 2.63),
    "e4m3": (0.75, 2.0),
    "e5m0": (1.69, 2.63),
    "e5m1": (1.85, 2.75),
    "e5m2": (0.5, 2.0),
    "e7m0": (3.25, 2.0),
}


@pytest.mark.parametrize(("name", "budgets"), DECODES.items())
def test_decodes_stay_within_their_budgets(name: str, budgets: tuple[float, float]) -> None:
    for dest, budget in zip((f16, bf16), budgets, strict=True):
        slots = slots_per_element("decode", dtype(name), dest, PAIRED, "sm_90a")
        assert slots is not None and slots <= budget


@pytest.mark.parametrize(("name", "budget"), SUBNORMALS.items())
def test_subnormal_decodes_stay_within_their_budgets(name: str, budget: float) -> None:
    slots = slots_per_element("subnormal", dtype(name), bf16, PAIRED, "sm_90a")
    assert slots is not None and slots <= budget


def test_narrow_decodes_take_two_more_shifts_a_word() -> None:
    slots = slots_per_element("narrow", dtype("u1"), f16, PAIRED, "sm_90a")
    assert slots is not None and slots <= 0.54 + 2 / 32


@pytest.mark.parametrize(("name", "budgets"), CASTS.items())
def test_casts_stay_within_their_budgets(name: str, budgets: tuple[float, float]) -> None:
    for dest, budget in zip((f16, bf16), budgets, strict=True):
        slots = slots_per_element("cast", dtype(name), dest, PAIRED, "sm_90a")
        assert slots is not None and slots <= budget


@pytest.mark.parametrize("bits", range(1, 9))
def test_signs_of_integers_cost_nothing_but_in_bytes(bits: int) -> None:
    for verb in ("cast", "decode"):
        for dest in (f16, bf16):
            unsigned = slots_per_element(verb, dtype(f"u{bits}"), dest, PAIRED, "sm_90a")
            signed = slots_per_element(verb, dtype(f"i{max(bits, 2)}"), dest, PAIRED, "sm_90a")
            if 2 <= bits <= 7:
                assert signed == unsigned


def test_neighbours_come_cheap_by_permutes() -> None:
    budgets = {"u4": 1.5, "i4": 1.5, "u8": 1.0, "u2": 1.25, "e4m3": 0.5, "e5m2": 0.5}
    for name, budget in budgets.items():
        slots = slots_per_element("cast", dtype(name), f16, CONTIGUOUS, "sm_90a")
        assert slots is not None and slots <= budget, name


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90a"])
def test_ptxas_adds_nothing(target: str) -> None:
    names = [*(f"u{bits}" for bits in range(1, 9)), "i3", "i8", "b4", "e2m1", "e3m2", "e4m3", "nf4"]
    plans, labels = [], []
    for name in names:
        source = dtype(name)
        count = max(64, 2 * pairs(source.bits))
        for dest in (f16, bf16):
            for plan in (plan_decode, plan_cast):
                plans.append(plan(source, dest, PAIRED, count, target))
                labels.append((name, dest.name, plan.__name__))
        if source.kind != "codebook":
            plans.append(plan_decode(source, bf16, PAIRED, count, target, "subnormal"))
            labels.append((name, "bf16", "subnormal"))
    try:
        counted = count_slots(plans, target)
    except ToolMissingError as error:
        pytest.skip(error.message)
    for label, plan, counts in zip(labels, plans, counted, strict=True):
        assert sum(counts.values()) >= plan.slots * 0.6, f"nothing counted for {label}"
        # ptxas may build a constant of two equal halves by a permute, once for a kernel.
        spare = 6 if counts["PRMT"] else 2
        assert sum(counts.values()) <= plan.slots + spare, (label, plan.slots, counts)


def test_the_table_has_a_line_for_every_dtype() -> None:
    lines = list(slots_table("sm_90a"))
    assert lines[2].split() == ["dtype", *["paired"] * 7, *["contiguous"] * 4]
    cells = {line.split()[0]: line.split()[1:] for line in lines[3:]}
    assert cells["u4"][0] == "0.625" and cells["e6m1"][0] == "-"
    assert len(cells) > 50
