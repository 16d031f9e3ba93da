import copy
import pickle

import numpy as np
import pytest

from tileloom.vm import dtypes
from tileloom.vm.dtypes import Dtype, DtypeError, codebook, dtype, predefined


def test_every_name_of_the_design_exists() -> None:
    integers = {f"u{n}" for n in range(1, 65)} | {f"i{n}" for n in range(2, 65)}
    floats = {f"e{x}m{y}" for x in range(1, 8) for y in range(8) if 3 <= 1 + x + y <= 8}
    others = {f"b{n}" for n in range(1, 9)} | {"f16", "bf16", "tf32", "f32", "f64"}
    expected = integers | floats | others | {"e8m0", "nf4", "bool"}
    assert {each.name for each in predefined()} == expected
    assert all(dtype(name).name == name for name in expected)


def test_a_dtype_is_one_object_even_after_copies() -> None:
    assert dtype("u3") is dtype("u3") is dtypes.u3
    assert copy.deepcopy(dtype("u3")) == pickle.loads(pickle.dumps(dtype("u3"))) == dtype("u3")
    assert len({dtype("u3"), copy.copy(dtype("u3")), dtype("i3")}) == 2


@pytest.mark.parametrize(
    ("name", "bits", "kind", "fields"),
    [
        ("u3", 3, "uint", (0, 0, 0)),
        ("i64", 64, "int", (0, 0, 0)),
        ("e3m2", 6, "float", (3, 2, 3)),
        ("e1m1", 3, "float", (1, 1, 0)),
        ("e5m2", 8, "float", (5, 2, 15)),
        ("bf16", 16, "float", (8, 7, 127)),
        ("tf32", 32, "float", (8, 10, 127)),
        ("f64", 64, "float", (11, 52, 1023)),
        ("b2", 2, "bipolar", (0, 0, 0)),
        ("nf4", 4, "codebook", (0, 0, 0)),
        ("bool", 1, "bool", (0, 0, 0)),
    ],
)
def test_fields(name: str, bits: int, kind: str, fields: tuple[int, int, int]) -> None:
    each = dtype(name)
    assert (each.bits, each.kind) == (bits, kind)
    assert (each.exponent_bits, each.mantissa_bits, each.bias) == fields


def test_native_dtypes_have_the_same_bits() -> None:
    native = {each.name: each.numpy for each in predefined() if each.numpy is not None}
    assert sorted(native) == sorted(
        ["bool", "f16", "f32", "f64"] + [f"{k}{n}" for k in "ui" for n in (8, 16, 32, 64)]
    )
    assert native["u16"] == np.uint16
    assert native["i8"] == np.int8
    assert native["f32"] == np.float32


def test_nbytes_of_whole_bytes_only() -> None:
    assert (dtype("f32").nbytes, dtype("i24").nbytes) == (4, 3)
    with pytest.raises(DtypeError, match="`u3` has 3 bits, no whole number of bytes"):
        _ = dtype("u3").nbytes


@pytest.mark.parametrize(
    ("name", "range_"),
    [
        ("u3", (0, 7)),
        ("i4", (-8, 7)),
        ("b3", (-7, 7)),
        ("e4m3", (-448.0, 448.0)),
        ("e5m2", (-57344.0, 57344.0)),
        ("e2m1", (-6.0, 6.0)),
        ("f16", (-65504.0, 65504.0)),
        ("u64", (0, 2**64 - 1)),
        ("i64", (-(2**63), 2**63 - 1)),
        ("bf16", (-(2.0 - 2**-7) * 2.0**127, (2.0 - 2**-7) * 2.0**127)),
    ],
)
def test_finite_range(name: str, range_: tuple[float, float]) -> None:
    assert (dtype(name).min_finite, dtype(name).max_finite) == range_


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("u65", "unknown dtype `u65`; did you mean `u6`?"),
        ("int8", "unknown dtype `int8`; did you mean `i8`?"),
        ("bfloat16", "unknown dtype `bfloat16`; did you mean `bf16`?"),
        ("float", "unknown dtype `float`; did you mean `f32`?"),
        ("F16", "unknown dtype `F16`; did you mean `f16`?"),
        ("e4m3fn", "unknown dtype `e4m3fn`; did you mean `e4m3`?"),
        ("quaternion", "unknown dtype `quaternion`"),
    ],
)
def test_unknown_names_get_advice(name: str, message: str) -> None:
    with pytest.raises(DtypeError) as caught:
        dtype(name)
    assert str(caught.value) == message


def test_names_must_be_strings() -> None:
    with pytest.raises(DtypeError, match="a dtype's name is a string, not `int`"):
        dtype(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("three", [1, 2, 3], "code book `three` has 3 values, not 2, 4, 8, ... or 256"),
        ("none", [], "code book `none` has 0 values"),
        ("wild", [1, float("inf")], "code book `wild` has a value that is not finite"),
        ("f16", [0, 1], "`f16` already names another dtype"),
        ("nf4", [0, 1], "`nf4` already names another dtype"),
        ("a b", [0, 1], "`a b` can't name a code book: it is no identifier"),
    ],
)
def test_bad_code_books(name: str, values: list[float], message: str) -> None:
    with pytest.raises(DtypeError, match=message.replace(".", r"\.")):
        codebook(name, values)


def test_constants_are_the_named_dtypes() -> None:
    for name in dtypes.__all__:
        value = getattr(dtypes, name)
        if isinstance(value, Dtype):
            assert value is dtype(name.rstrip("_"))
