"""Casts to dtypes of at most 8 bits: rounding to nearest even and saturation, as codecs define."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cast_cases import SOURCES, all_codes, outputs
from numpy.typing import NDArray
from plan_executor import run
from plan_kernels import emulate

from tileloom.compiler.casts import plan_cast
from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import Dtype, bf16, dtype, f16, f32
from tileloom.vm.packing import CONTIGUOUS, PAIRED, pack_words, pairs, unpack_words

DESTS = [
    dtype(name)
    for name in ("u1", "i2", "u3", "i5", "u8", "i8", "e2m1", "e3m2", "e2m3", "e4m3", "e5m2", "e1m6")
]
SMALL_FLOATS = [d for d in SOURCES if d.kind == "float"]


def samples(source: Dtype, dest: Dtype) -> NDArray[np.uint32]:
    """Codes of `source`: all of them up to 16 bits, else edges of `dest`'s rounding and noise."""
    if source.bits <= 16:
        return np.arange(1 << source.bits, dtype=np.uint32)
    generator = np.random.default_rng(7)
    noise = generator.integers(0, 1 << 32, 4096, np.uint32)
    values = np.unique(dest.table[np.isfinite(dest.table)].astype(np.float64))
    middles = (values[1:] + values[:-1]) / 2
    edges = source.encode(np.concatenate([values, middles, values * 4, [0.0, -0.0]]))
    steps = np.concatenate([edges + np.uint32(delta % 2**32) for delta in range(-2, 3)])
    return np.concatenate([noise, steps]).astype(np.uint32)


def check(source: Dtype, dest: Dtype, count: int = 12, target: str = "sm_80") -> None:
    codes = samples(source, dest)
    codes = np.resize(codes, (-(-codes.size // count), count))
    words = pack_words(codes, source.bits, CONTIGUOUS)
    found = unpack_words(
        run(plan_cast(source, dest, CONTIGUOUS, count, target), words),
        dest.bits,
        CONTIGUOUS,
        count,
    )
    compare(source, dest, codes, found)


def compare(source: Dtype, dest: Dtype, codes: Any, found: Any) -> None:
    assert np.array_equal(found, dest.encode(source.decode(codes)))


@pytest.mark.parametrize("dest", DESTS, ids=str)
@pytest.mark.parametrize("source", [f16, bf16, f32], ids=str)
def test_floats(source: Dtype, dest: Dtype) -> None:
    check(source, dest)


@pytest.mark.parametrize("source", [f16, bf16, f32, dtype("i16")], ids=str)
def test_e4m3_where_the_hardware_converts(source: Dtype) -> None:
    e4m3 = dtype("e4m3")
    for count in (12, 7, 1):
        check(source, e4m3, count, "sm_90a")
    assert plan_cast(f32, e4m3, CONTIGUOUS, 16, "sm_90a").slots_per_element <= 0.75
    assert not any("e4m3" in op.opcode for op in plan_cast(f32, e4m3, CONTIGUOUS, 4, "sm_86").ops)


@pytest.mark.parametrize("dest", SMALL_FLOATS, ids=str)
def test_f32_to_every_small_float(dest: Dtype) -> None:
    check(f32, dest)


@pytest.mark.parametrize("name", ["i12", "u16", "i16", "i32", "u32"])
def test_integers(name: str) -> None:
    source = dtype(name)
    for dest in DESTS:
        if dest.kind != "float" or source.bits <= 16:
            check(source, dest)


@pytest.mark.parametrize("packing", [CONTIGUOUS, PAIRED], ids=str)
@pytest.mark.parametrize("source", ["u4", "i8", "b3", "e3m2", "e4m3", "e5m2", "e8m0", "nf4"])
def test_narrow_to_narrow(source: str, packing: Any) -> None:
    old = dtype(source)
    count = 2 * pairs(old.bits)
    codes = all_codes(old, count)
    for dest in (dtype("e2m1"), dtype("e4m3"), dtype("i4")):
        plan = plan_cast(old, dest, packing, count, "sm_90a")
        found = outputs(plan, old, dest, packing, codes)
        compare(old, dest, codes, found)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_odd_counts(count: int) -> None:
    for dest in DESTS:
        check(bf16, dest, count)


def test_on_the_emulator() -> None:
    count, cases = 8, [(s, d) for s in (f16, f32, dtype("i16")) for d in DESTS]
    plans = [plan_cast(s, d, CONTIGUOUS, count, "sm_90a") for s, d in cases]
    codes = [
        np.random.default_rng(3).permutation(samples(s, d))[: 128 * count].reshape(-1, count)
        for s, d in cases
    ]
    words = [pack_words(c, s.bits, CONTIGUOUS) for c, (s, _) in zip(codes, cases, strict=True)]
    for (source, dest), given, found in zip(
        cases, codes, emulate(plans, words, "sm_90a"), strict=True
    ):
        compare(source, dest, given, unpack_words(found, dest.bits, CONTIGUOUS, count))


@pytest.mark.parametrize(("source", "dest"), [("i32", "e4m3"), ("f16", "nf4"), ("f64", "u4")])
def test_what_is_not_planned(source: str, dest: str) -> None:
    with pytest.raises(VMTypeError):
        plan_cast(dtype(source), dtype(dest), CONTIGUOUS, 4, "sm_90a")
