"""Every plan gives what it states, for every code at every place, executed in numpy."""

from __future__ import annotations

import time

import numpy as np
import pytest
from cast_cases import (
    CAST_SOURCES,
    FLOATS,
    PACKINGS,
    SOURCES,
    TARGETS,
    all_codes,
    custom,
    finite,
    has_f16_form,
    outputs,
    same,
    wanted_cast,
)

from tileloom.compiler.casts import plan_cast, plan_decode
from tileloom.vm.decode import decode_form
from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import Dtype, bf16, dtype, f16, f32
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing, PackingError, pairs

INTEGER_DESTS = [dtype(name) for name in ("i8", "u8", "i16", "i32", "u32", "u4", "i3")]


def check_cast(source: Dtype, dest: Dtype, packing: Packing, count: int, target: str) -> None:
    plan = plan_cast(source, dest, packing, count, target)
    codes = all_codes(source, count)
    got = dest.decode(outputs(plan, source, dest, packing, codes))
    assert same(got, wanted_cast(source, dest, codes))


@pytest.mark.parametrize("source", CAST_SOURCES + custom(), ids=str)
@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_casts_to_floats(source: Dtype, packing: Packing) -> None:
    targets = TARGETS if source.kind == "float" else TARGETS[-1:]
    for dest in FLOATS:
        for target in targets:
            check_cast(source, dest, packing, 4 * pairs(source.bits), target)


@pytest.mark.parametrize("source", [*SOURCES, *custom()], ids=str)
def test_signs_of_zero_stay(source: Dtype) -> None:
    if source.kind != "float":
        return
    zeros = np.array([[0, 1 << source.bits - 1] * (2 * pairs(source.bits))], np.uint8)
    for dest in FLOATS:
        plan = plan_cast(source, dest, PAIRED, zeros.shape[1], "sm_90a")
        got = outputs(plan, source, dest, PAIRED, zeros)
        assert np.array_equal(got, dest.encode(source.decode(zeros)))


@pytest.mark.parametrize("source", CAST_SOURCES + custom(), ids=str)
@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_casts_to_integers(source: Dtype, packing: Packing) -> None:
    for dest in INTEGER_DESTS:
        check_cast(source, dest, packing, 2 * pairs(source.bits), "sm_90a")


@pytest.mark.parametrize("source", [*SOURCES, *custom()], ids=str)
@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_decodes(source: Dtype, packing: Packing) -> None:
    count = 4 * pairs(source.bits)
    codes = all_codes(source, count)
    has_value = finite(source, codes)
    for dest in (f16, bf16):
        if dest == f16 and not has_f16_form(source):
            continue
        form = decode_form(source, dest, packing)
        place = np.arange(count) // 2 % len(form.exponents)
        wanted = np.ldexp(source.decode(codes).astype(np.float64), np.array(form.exponents)[place])
        wanted += np.array(form.constants)[place]
        if source.kind == "codebook":
            wanted = wanted_cast(source, dest, codes)
        for target in TARGETS if source.kind == "float" else TARGETS[-1:]:
            plan = plan_decode(source, dest, packing, count, target)
            got = dest.decode(outputs(plan, source, dest, packing, codes))
            assert np.array_equal(got[has_value], wanted[has_value])


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_subnormal_decodes(source: Dtype) -> None:
    if source.kind == "codebook":
        return
    count = 4 * pairs(source.bits)
    codes = all_codes(source, count)
    form = decode_form(source, bf16, PAIRED, "subnormal")
    place = np.arange(count) // 2 % len(form.exponents)
    wanted = np.ldexp(source.decode(codes).astype(np.float64), np.array(form.exponents)[place])
    wanted += np.array(form.constants)[place]
    plan = plan_decode(source, bf16, PAIRED, count, "sm_80", "subnormal")
    got = bf16.decode(outputs(plan, source, bf16, PAIRED, codes))
    has_value = finite(source, codes)
    assert np.array_equal(got[has_value], wanted[has_value])
    assert not any("x2" in op.opcode for op in plan.ops), "no arithmetic at all"


@pytest.mark.parametrize("name", ["u1", "b1"])
def test_narrow_decodes(name: str) -> None:
    source = dtype(name)
    count = 4 * pairs(1)
    codes = all_codes(source, count)
    form = decode_form(source, f16, PAIRED, "narrow")
    place = np.arange(count) // 2 % len(form.exponents)
    wanted = np.ldexp(source.decode(codes).astype(np.float64), np.array(form.exponents)[place])
    wanted += np.array(form.constants)[place]
    plan = plan_decode(source, f16, PAIRED, count, "sm_80", "narrow")
    assert np.array_equal(f16.decode(outputs(plan, source, f16, PAIRED, codes)), wanted)


@pytest.mark.parametrize(
    "name", ["u1", "i2", "u3", "i4", "b3", "u5", "i7", "i8", "e2m1", "e3m2", "nf4"]
)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 13])
def test_odd_counts_of_contiguous_elements(name: str, count: int) -> None:
    source = dtype(name)
    codes = all_codes(source, count)
    for dest in (*FLOATS, dtype("i8")):
        plan = plan_cast(source, dest, CONTIGUOUS, count, "sm_90a")
        got = dest.decode(outputs(plan, source, dest, CONTIGUOUS, codes))
        assert np.array_equal(got, dest.decode(dest.encode(source.decode(codes))))


@pytest.mark.parametrize("target", TARGETS)
def test_infinities_and_nans_stay(target: str) -> None:
    for name in ("e5m2", "e4m3", "e8m0"):
        source = dtype(name)
        for dest in (bf16, f32) if name == "e8m0" else FLOATS:
            check_cast(source, dest, PAIRED, 8, target)
            specials = wanted_cast(source, dest, np.arange(256))[~np.isfinite(source.table)]
            assert specials.size and not np.isfinite(specials).any()


def test_exponents_beyond_f16_saturate() -> None:
    codes = np.arange(256).reshape(-1, 4)
    for name in ("e6m1", "e7m0", "e8m0"):
        source = dtype(name)
        plan = plan_cast(source, f16, CONTIGUOUS, 4, "sm_80")
        got = f16.decode(outputs(plan, source, f16, CONTIGUOUS, codes)).ravel()
        beyond = np.abs(source.table) > 65504
        assert np.array_equal(np.abs(got[beyond]), np.full(beyond.sum(), 65504.0))
        assert np.array_equal(np.sign(got[beyond]), np.sign(source.table[beyond]))


@pytest.mark.parametrize(("source", "dest"), [("u9", f16), ("bool", f32), ("u4", dtype("f64"))])
def test_types_without_a_plan(source: str, dest: Dtype) -> None:
    with pytest.raises(VMTypeError):
        plan_cast(dtype(source), dest, CONTIGUOUS, 8, "sm_80")


def test_types_without_a_decode() -> None:
    with pytest.raises(VMTypeError, match="wider exponent"):
        plan_decode(dtype("e7m0"), f16, PAIRED, 4, "sm_80")


def test_counts_that_a_packing_cannot_hold() -> None:
    with pytest.raises(PackingError, match="units of 32 elements: 16 is not a multiple"):
        plan_cast(dtype("u3"), f16, PAIRED, 16, "sm_80")


def test_plans_are_words_in_order() -> None:
    plan = plan_cast(dtype("u4"), f16, PAIRED, 8, "sm_90a")
    assert str(plan).splitlines()[:4] == [
        "inputs w0..w0",
        "mov.b32 w1, 0x64006400",
        "lop3.b32 w2, w0, 0x000f000f, w1, 0x0000006a",
        "sub.f16x2 w3, w2, w1",
    ]
    assert len(plan.outputs) == 4
    assert plan_cast(dtype("u4"), f16, PAIRED, 8, "sm_90a") is plan


def test_planning_is_fast() -> None:
    started = time.process_time()
    for source in SOURCES:
        plan_cast.__wrapped__(source, bf16, PAIRED, 64, "sm_90a")
    assert (time.process_time() - started) / len(SOURCES) < 0.01
