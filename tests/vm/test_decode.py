"""Decode forms: value * 2**f + c is a number of the destination, for every code at every place."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.vm.decode import decode_form, field_places
from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import Dtype, bf16, dtype, f16, f32
from tileloom.vm.dtypes.names import predefined
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing, pairs

NARROW = [d for d in predefined() if d.bits <= 8 and d.kind != "bool" and d.specials != "scale"]
INTEGERS = [d for d in NARROW if d.kind in ("uint", "int", "bipolar")]


def has_form(source: Dtype, dest: Dtype) -> bool:
    return dest == bf16 or source.kind != "float" or source.exponent_bits <= 5


@pytest.mark.parametrize("packing", [CONTIGUOUS, PAIRED])
@pytest.mark.parametrize("dest", [f16, bf16])
def test_decoded_values_are_exact(dest: Dtype, packing: Packing) -> None:
    checked = 0
    for source in NARROW:
        if not has_form(source, dest) or source.kind == "codebook":
            continue
        form = decode_form(source, dest, packing)
        values = source.table.astype(np.float64)
        values = values[np.isfinite(values)]
        for exponent, constant in zip(form.exponents, form.constants, strict=True):
            decoded = np.ldexp(values, exponent) + constant
            assert np.array_equal(dest.decode(dest.encode(decoded)), decoded), source
            checked += 1
    assert checked > 40


@pytest.mark.parametrize("source", NARROW, ids=str)
def test_one_entry_for_every_pair(source: Dtype) -> None:
    form = decode_form(source, bf16, PAIRED)
    assert len(form.exponents) == len(form.constants) == pairs(source.bits)
    contiguous = decode_form(source, bf16, CONTIGUOUS)
    assert (contiguous.exponents, contiguous.constants) == ((0,), (0.0,))
    assert form.code_xor == 0


@pytest.mark.parametrize("bits", range(1, 9))
def test_unsigned_codes_are_subnormals_of_f16(bits: int) -> None:
    form = decode_form(dtype(f"u{bits}"), f16, PAIRED)
    assert set(form.constants) == {0.0}
    assert all(f >= -24 and f + bits <= 11 - 24 for f in form.exponents)


@pytest.mark.parametrize("bits", range(1, 8))
def test_codes_lie_under_128_in_bf16(bits: int) -> None:
    form = decode_form(dtype(f"u{bits}"), bf16, PAIRED)
    assert set(form.constants) == {128.0}
    assert all(f >= 0 and f + bits <= 7 for f in form.exponents)


@pytest.mark.parametrize("source", INTEGERS, ids=str)
def test_products_of_bf16_are_normal(source: Dtype) -> None:
    """Factors near 1, so that products with activations stay out of f32's subnormals."""
    assert all(-8 <= f <= 7 for f in decode_form(source, bf16, PAIRED).exponents)


def test_forms_of_signed_and_bipolar_integers() -> None:
    form = decode_form(dtype("i4"), bf16, PAIRED)
    assert (form.exponents, form.constants) == ((0, 3, 3, 3), (136.0, 192.0, 192.0, 192.0))
    form = decode_form(dtype("b8"), bf16, PAIRED)
    assert (form.exponents, form.constants) == ((-7, -7), (255 / 128,) * 2)


@pytest.mark.parametrize(
    ("name", "exponent"),
    [("e2m1", 1 - 15), ("e3m2", 3 - 15), ("e5m2", 0), ("e4m3", 0), ("e5m1", -1)],
)
def test_floats_keep_the_difference_of_the_biases(name: str, exponent: int) -> None:
    assert set(decode_form(dtype(name), f16, PAIRED).exponents) == {exponent}
    assert set(decode_form(dtype(name), bf16, PAIRED).exponents) == {0}


@pytest.mark.parametrize("window", [7, 10, 11])
@pytest.mark.parametrize("bits", range(1, 8))
def test_fields_lie_in_their_window(bits: int, window: int) -> None:
    places = field_places(bits, window)
    assert len(places) == pairs(bits)
    assert all(place >= 0 and place + bits <= window for place in places)


@pytest.mark.parametrize(
    ("source", "dest", "message"),
    [
        ("u9", f16, "`u9` can't be decoded"),
        ("bool", f16, "`bool` can't be decoded"),
        ("e8m0", bf16, "`e8m0` can't be decoded"),
        ("e6m1", f16, "`e6m1` has a wider exponent than `f16`"),
        ("u4", f32, "`decode` gives `f16` or `bf16`, not `f32`"),
    ],
)
def test_types_without_a_form(source: str, dest: Dtype, message: str) -> None:
    with pytest.raises(VMTypeError) as caught:
        decode_form(dtype(source), dest, PAIRED)
    assert caught.value.message == message
