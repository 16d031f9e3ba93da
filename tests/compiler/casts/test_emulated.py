"""Every plan as PTX on the emulator, which shares no code with the planner, on all codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cast_cases import FLOATS, PACKINGS, SOURCES, all_codes, custom, finite, has_f16_form
from plan_kernels import emulate

from tileloom.compiler.casts import Plan, plan_cast, plan_decode
from tileloom.vm.decode import decode_form
from tileloom.vm.dtypes import Dtype, bf16, dtype, f16
from tileloom.vm.packing import CONTIGUOUS, Packing, pack_words, pairs, unpack_words


def wanted_decode(source: Dtype, dest: Dtype, packing: Packing, codes: Any) -> Any:
    form = decode_form(source, dest, packing)
    place = np.arange(codes.shape[1]) // 2 % len(form.exponents)
    values = np.ldexp(source.decode(codes).astype(np.float64), np.array(form.exponents)[place])
    values += np.array(form.constants)[place]
    return dest.decode(dest.encode(values)) if source.kind == "codebook" else values


def plans_of(source: Dtype, target: str) -> list[tuple[Plan, Dtype, Packing, Any]]:
    """Plans, their destinations and packings, and the values that they must give."""
    found = []
    count = 2 * pairs(source.bits)
    codes = all_codes(source, count)
    for packing in PACKINGS:
        for dest in (*FLOATS, dtype("i8")):
            values = dest.decode(dest.encode(source.decode(codes)))
            found.append((plan_cast(source, dest, packing, count, target), dest, packing, values))
        for dest in (f16, bf16):
            if dest == bf16 or has_f16_form(source):
                plan = plan_decode(source, dest, packing, count, target)
                found.append((plan, dest, packing, wanted_decode(source, dest, packing, codes)))
    return found


# Only the plans of e4m3 differ between the targets.
CASES = [(source, "sm_90a") for source in [*SOURCES, *custom()]] + [(dtype("e4m3"), "sm_80")]


@pytest.mark.parametrize(("source", "target"), CASES, ids=str)
def test_plans_on_the_emulator(source: Dtype, target: str) -> None:
    cases = plans_of(source, target)
    count = 2 * pairs(source.bits)
    codes = all_codes(source, count)
    inputs = [pack_words(codes, source.bits, packing) for _, _, packing, _ in cases]
    results = emulate([plan for plan, *_ in cases], inputs, target)
    has_value = finite(source, codes)
    for (plan, dest, packing, values), words in zip(cases, results, strict=True):
        found = words if dest.bits == 32 else unpack_words(words, dest.bits, CONTIGUOUS, count)
        got = dest.decode(found)
        assert np.array_equal(got[has_value], values[has_value]), (dest, packing, str(plan))
