"""Every plan as PTX on the emulator, which shares no code with the planner, on all codes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from cast_cases import (
    CAST_SOURCES,
    FLOATS,
    PACKINGS,
    all_codes,
    custom,
    finite,
    has_f16_form,
    same,
    wanted_cast,
)
from plan_kernels import emulate

from tileloom.compiler.casts import Plan, plan_cast, plan_decode
from tileloom.vm.decode import decode_form
from tileloom.vm.dtypes import Dtype, bf16, dtype, f16
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing, pack_words, pairs, unpack_words


class Case(NamedTuple):
    """A plan and the values that it must give, where it promises one (None: everywhere)."""

    plan: Plan
    dest: Dtype
    packing: Packing
    values: Any
    promised: Any = None

    def holds(self, words: Any) -> bool:
        count = self.plan.count
        wide = self.dest.bits == 32
        codes = words if wide else unpack_words(words, self.dest.bits, CONTIGUOUS, count)
        found = self.dest.decode(codes)
        if self.promised is None:
            return same(found, self.values)
        return same(found[self.promised], self.values[self.promised])


def wanted_decode(source: Dtype, dest: Dtype, packing: Packing, codes: Any, name: str = "") -> Any:
    form = decode_form(source, dest, packing, name)
    place = np.arange(codes.shape[1]) // 2 % len(form.exponents)
    values = np.ldexp(source.decode(codes).astype(np.float64), np.array(form.exponents)[place])
    values += np.array(form.constants)[place]
    return wanted_cast(source, dest, codes) if source.kind == "codebook" else values


def plans_of(source: Dtype, target: str) -> list[Case]:
    """Casts and decodes; decodes promise nothing for infinities and NaNs."""
    found = []
    count = 2 * pairs(source.bits)
    codes = all_codes(source, count)
    for packing in PACKINGS:
        for dest in (*FLOATS, dtype("i8")):
            plan = plan_cast(source, dest, packing, count, target)
            found.append(Case(plan, dest, packing, wanted_cast(source, dest, codes)))
        for dest in (f16, bf16):
            if source.specials != "scale" and (dest == bf16 or has_f16_form(source)):
                plan = plan_decode(source, dest, packing, count, target)
                values = wanted_decode(source, dest, packing, codes)
                found.append(Case(plan, dest, packing, values, finite(source, codes)))
    if source.specials != "scale" and source.kind != "codebook":
        plan = plan_decode(source, bf16, PAIRED, count, target, "subnormal")
        values = wanted_decode(source, bf16, PAIRED, codes, "subnormal")
        found.append(Case(plan, bf16, PAIRED, values, finite(source, codes)))
    if source.bits == 1 and source.kind != "codebook":
        plan = plan_decode(source, f16, PAIRED, count, target, "narrow")
        values = wanted_decode(source, f16, PAIRED, codes, "narrow")
        found.append(Case(plan, f16, PAIRED, values))
    return found


# Only the plans of e4m3 differ between the targets.
CASES = [(source, "sm_90a") for source in [*CAST_SOURCES, *custom()]] + [(dtype("e4m3"), "sm_80")]


@pytest.mark.parametrize(("source", "target"), CASES, ids=str)
def test_plans_on_the_emulator(source: Dtype, target: str) -> None:
    cases = plans_of(source, target)
    count = 2 * pairs(source.bits)
    codes = all_codes(source, count)
    inputs = [pack_words(codes, source.bits, case.packing) for case in cases]
    results = emulate([case.plan for case in cases], inputs, target)
    for case, words in zip(cases, results, strict=True):
        assert case.holds(words), (case.dest, case.packing, str(case.plan))
