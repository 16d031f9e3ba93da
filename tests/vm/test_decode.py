"""Decode forms: value * 2**f + c is a number of the destination, for every code at every place."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.vm.decode import SUBNORMAL_SCALE, decode_form
from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import Dtype, bf16, dtype, f16, f32
from tileloom.vm.dtypes.names import predefined
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing, pairs, pieces
from tileloom.vm.places import field_places, split_bases

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


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("window", [7, 8, 10, 11])
@pytest.mark.parametrize("bits", range(1, 8))
def test_fields_lie_in_their_window(bits: int, window: int, raised: bool) -> None:
    places = field_places(bits, window, raised)
    assert len(places) == pairs(bits)
    assert all(place >= 0 and place + bits <= window for place in places)
    assert places.count(0) <= field_places(bits, window).count(0) or not raised
    split = [parts for parts in pieces(bits) if len(parts) > 1]
    bases = split_bases(bits, window, raised)
    assert [len(parts) for parts in split] == [len(row) for row in bases]
    assert all(0 <= base <= 16 - bits for row in bases for base in row)


@pytest.mark.parametrize("bits", range(1, 9))
def test_subnormals_of_bf16_have_no_constant(bits: int) -> None:
    form = decode_form(dtype(f"u{bits}"), bf16, PAIRED, "subnormal")
    assert set(form.constants) == {0.0}
    assert all(f >= -133 and f + bits <= 8 - 133 for f in form.exponents)
    default = decode_form(dtype(f"u{bits}"), bf16, PAIRED)
    assert default == decode_form(dtype(f"u{bits}"), bf16, PAIRED, "") != form


@pytest.mark.parametrize("name", ["u1", "b1"])
def test_narrow_single_bits_share_factors(name: str) -> None:
    form = decode_form(dtype(name), f16, PAIRED, "narrow")
    assert form.exponents == form.exponents[:4] * 4 and len(set(form.exponents)) == 4
    default = decode_form(dtype(name), f16, PAIRED)
    assert default.exponents == default.exponents[:8] * 2 and len(set(default.exponents)) == 8


@pytest.mark.parametrize(("name", "dest"), [("u2", f16), ("u1", bf16), ("e2m1", f16)])
def test_only_single_bits_are_narrow(name: str, dest: Dtype) -> None:
    with pytest.raises(VMTypeError, match="`narrow` is a form of single bits"):
        decode_form(dtype(name), dest, PAIRED, "narrow")


@pytest.mark.parametrize("source", NARROW, ids=str)
def test_subnormals_are_exact_and_scaled_products_normal(source: Dtype) -> None:
    if source.kind == "codebook":
        return
    form = decode_form(source, bf16, PAIRED, "subnormal")
    values = source.table.astype(np.float64)
    values = values[np.isfinite(values)]
    smallest = np.abs(values[values != 0]).min()
    for exponent, constant in zip(form.exponents, form.constants, strict=True):
        decoded = np.ldexp(values, exponent) + constant
        assert np.array_equal(bf16.decode(bf16.encode(decoded)), decoded)
        # Activations of 2**-40 and more leave products above the subnormals of f32.
        assert np.ldexp(smallest, exponent) * SUBNORMAL_SCALE * 2.0**-40 > 2.0**-126


def test_subnormal_fields_of_floats() -> None:
    for name, exponent in (("e2m1", 1 - 127), ("e4m3", 7 - 127), ("e5m2", 15 - 127)):
        form = decode_form(dtype(name), bf16, PAIRED, "subnormal")
        assert (set(form.exponents), set(form.constants)) == ({exponent}, {0.0})


@pytest.mark.parametrize(
    ("source", "dest", "packing", "form", "message"),
    [
        ("u4", bf16, PAIRED, "normal", "unknown form `normal` of `decode`"),
        ("u4", f16, PAIRED, "subnormal", "`subnormal` is a form of `bf16`, not of `f16`"),
        (
            "u4",
            bf16,
            CONTIGUOUS,
            "subnormal",
            "`subnormal` is a form of the paired packing, not of `contiguous`",
        ),
        ("nf4", bf16, PAIRED, "subnormal", "the values of `nf4` have no form `subnormal`"),
    ],
)
def test_forms_that_are_not_there(
    source: str, dest: Dtype, packing: Packing, form: str, message: str
) -> None:
    with pytest.raises(VMTypeError) as caught:
        decode_form(dtype(source), dest, packing, form)
    assert caught.value.message == message


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
