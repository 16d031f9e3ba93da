"""Every code of every dtype up to 8 bits, and rounding at every boundary between two values."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from tileloom.vm.dtypes import Dtype, DtypeError, codebook, dtype, predefined

SMALL = [each for each in predefined() if each.bits <= 8]
SMALL_FLOATS = [each for each in SMALL if each.kind == "float" and each.name != "e8m0"]
ORACLES = {
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e3m4": ml_dtypes.float8_e3m4,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e8m0": ml_dtypes.float8_e8m0fnu,
    "u2": ml_dtypes.uint2,
    "u4": ml_dtypes.uint4,
    "i2": ml_dtypes.int2,
    "i4": ml_dtypes.int4,
    "u8": np.uint8,
    "i8": np.int8,
}
names = pytest.mark.parametrize


def by_name(each: Dtype) -> str:
    return each.name


def all_codes(each: Dtype) -> np.ndarray:
    return np.arange(1 << each.bits, dtype=np.uint16)


def exact_value(each: Dtype, code: int) -> Fraction | None:
    """The value of a code by the definition, in exact arithmetic; None for a special one."""
    if each.kind == "uint" or each.kind == "bool":
        return Fraction(code)
    if each.kind == "int":
        return Fraction(code - ((code >> each.bits - 1) << each.bits))
    if each.kind == "bipolar":
        return Fraction(sum((2 * (code >> i & 1) - 1) * 2**i for i in range(each.bits)))
    if each.kind == "codebook":
        return Fraction(each.values[code])
    if each.name == "e8m0":
        return None if code == 255 else Fraction(2) ** (code - 127)
    x, y = each.exponent_bits, each.mantissa_bits
    sign, field, fraction = code >> x + y, code >> y & ((1 << x) - 1), code & ((1 << y) - 1)
    top = (1 << x) - 1
    if (each.name == "e5m2" and field == top) or (
        each.name == "e4m3" and field == top and fraction == 7
    ):
        return None
    bias = (1 << x - 1) - 1
    unit = Fraction(2) ** (max(field, 1) - bias - y)
    return (-1) ** sign * (fraction + (2**y if field else 0)) * unit


@names("each", SMALL, ids=by_name)
def test_decode_is_the_definition_on_every_code(each: Dtype) -> None:
    values = each.decode(all_codes(each))
    assert values.dtype == (np.float64 if each.is_float else np.int64)
    for code, value in enumerate(values):
        expected = exact_value(each, code)
        if expected is None:
            assert not np.isfinite(value)
        else:
            assert Fraction(value.item()) == expected


@names("name", sorted(ORACLES))
def test_decode_agrees_with_ml_dtypes(name: str) -> None:
    each = dtype(name)
    codes = all_codes(each)
    raw = codes.astype(np.uint8)
    ours = each.decode(codes)
    theirs = raw.view(ORACLES[name]).astype(np.float64)
    if name == "e3m4":  # theirs has infinities and NaNs at the top exponent, ours has not
        ours, theirs = ours[np.isfinite(theirs)], theirs[np.isfinite(theirs)]
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(np.signbit(ours), np.signbit(theirs))


@names("each", SMALL, ids=by_name)
def test_encode_inverts_decode_on_every_code(each: Dtype) -> None:
    codes = all_codes(each)
    values = each.decode(codes)
    back = each.encode(values)
    assert back.dtype == np.uint8
    number = ~np.isnan(values)
    np.testing.assert_array_equal(back[number], codes[number])
    assert np.isnan(each.decode(back)[~number]).all()


@names("each", SMALL, ids=by_name)
def test_rounding_at_every_midpoint_and_beside_it(each: Dtype) -> None:
    values = each.decode(all_codes(each)).astype(np.float64)
    finite = np.isfinite(values)
    order, codes = np.unique(values[finite], return_index=True)
    codes = all_codes(each)[finite][codes]
    middle = (order[:-1] + order[1:]) / 2
    below, above = np.nextafter(middle, -np.inf), np.nextafter(middle, np.inf)
    if each.kind == "bool":
        return  # encodes by `!= 0`, see below
    zero = each.decode(each.encode(middle)) == 0  # either zero is right; signs have a test
    np.testing.assert_array_equal(each.decode(each.encode(below)), order[:-1])
    np.testing.assert_array_equal(each.decode(each.encode(above)), order[1:])
    even = np.where(codes[:-1] % 2 == 0, codes[:-1], codes[1:])
    # Around zero the lower neighbour may be the code of minus zero: compare by value there.
    tied = each.encode(middle)
    assert ((tied == even) | zero).all()
    assert (each.decode(tied)[zero] == values[even][zero]).all()


@names("each", SMALL_FLOATS, ids=by_name)
def test_floats_saturate_and_keep_signs(each: Dtype) -> None:
    top = each.max_finite
    np.testing.assert_array_equal(
        each.decode(each.encode([top * 1.49, -top * 4, 1e300, -1e300])), [top, -top, top, -top]
    )
    infinity = np.inf if each.name == "e5m2" else top
    np.testing.assert_array_equal(
        each.decode(each.encode([np.inf, -np.inf])), [infinity, -infinity]
    )
    tiny = each.decode(1) / 4
    zeros = each.decode(each.encode([-0.0, 0.0, -tiny, tiny]))
    assert (zeros == 0).all()
    assert np.signbit(zeros).tolist() == [True, False, True, False]


@names("each", SMALL_FLOATS, ids=by_name)
def test_nan_is_kept_or_becomes_the_largest_value(each: Dtype) -> None:
    decoded = each.decode(each.encode(np.nan))
    if each.name in ("e4m3", "e5m2"):
        assert np.isnan(decoded)
    else:
        assert decoded == each.max_finite


@names("name", ["e4m3", "e5m2", "e2m1", "e2m3", "e3m2"])
def test_encode_agrees_with_ml_dtypes_in_range(name: str) -> None:
    each = dtype(name)
    rng = np.random.default_rng(7)
    scales = np.exp2(rng.integers(-20, 18, 20_000))
    values = np.clip(rng.standard_normal(20_000) * scales, each.min_finite, each.max_finite)
    theirs = values.astype(ORACLES[name]).view(np.uint8)
    np.testing.assert_array_equal(each.encode(values), theirs)


@names("name", ["u3", "i5", "u8", "i16", "u32", "i64", "u64", "i33"])
def test_integers_round_to_even_and_clip(name: str) -> None:
    each = dtype(name)
    low, high = each.min_finite, each.max_finite
    assert each.decode(each.encode([0.5, 1.5, 2.5, 1.49])).tolist() == [0, 2, 2, 1]
    assert each.decode(each.encode([-1e30, 1e30, np.inf, -np.inf, np.nan])).tolist() == [
        low,
        high,
        high,
        low,
        0,
    ]
    wide = np.array([-(2**62), 2**62, -1, 3])
    assert each.decode(each.encode(wide)).tolist() == [
        max(low, min(high, value)) for value in wide.tolist()
    ]


def test_64_bit_integers_are_exact() -> None:
    signed = np.array([-(2**63), 2**63 - 1, -1, 0, 2**53 + 1])
    np.testing.assert_array_equal(dtype("i64").decode(dtype("i64").encode(signed)), signed)
    unsigned = np.array([2**64 - 1, 2**63 + 1, 0], np.uint64)
    decoded = dtype("u64").decode(dtype("u64").encode(unsigned))
    assert decoded.dtype == np.uint64
    np.testing.assert_array_equal(decoded, unsigned)


def test_bool_is_anything_but_zero() -> None:
    assert dtype("bool").encode([0.0, -0.0, 0.25, -3.0]).tolist() == [0, 0, 1, 1]


def test_scale_type_limits() -> None:
    scale = dtype("e8m0")
    codes = scale.encode([0.0, 2.0**-200, 2.0**200, np.inf, -1.0, np.nan])
    assert codes.tolist() == [0, 0, 254, 254, 255, 255]


@names(("name", "oracle"), [("f16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_16_bit_floats_over_all_codes(name: str, oracle: type) -> None:
    each = dtype(name)
    codes = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):
        theirs = codes.view(oracle).astype(np.float64)
    np.testing.assert_array_equal(each.decode(codes), theirs)
    number = ~np.isnan(theirs)
    np.testing.assert_array_equal(each.encode(theirs)[number], codes[number])
    assert np.isnan(each.decode(each.encode(theirs[~number]))).all()


@names("name", ["f16", "bf16"])
@names("source", [np.float64, np.float32])
def test_16_bit_floats_round_at_every_midpoint(name: str, source: type) -> None:
    each = dtype(name)
    codes = np.arange(1 << 15, dtype=np.uint16)
    values = each.decode(codes)
    codes, values = codes[np.isfinite(values)], values[np.isfinite(values)]
    middle = ((values[:-1] + values[1:]) / 2).astype(source)
    even = codes[:-1] + codes[:-1] % 2
    np.testing.assert_array_equal(each.encode(middle), even)
    np.testing.assert_array_equal(each.encode(-middle), even | 0x8000)
    np.testing.assert_array_equal(each.encode(np.nextafter(middle, source(0))), codes[:-1])
    np.testing.assert_array_equal(each.encode(np.nextafter(middle, source(np.inf))), codes[1:])
    step = values[-1] - values[-2]
    infinity = codes[-1] + 1
    beyond = [values[-1] + step / 2, np.nextafter(values[-1] + step / 2, 0), np.inf, -np.inf]
    expected = [infinity, codes[-1], infinity, infinity | 0x8000]
    np.testing.assert_array_equal(each.encode(np.array(beyond)), expected)


def test_bf16_rounds_integers_once() -> None:
    # 2**62 + 2**54 is a tie; the last bit, which float64 can't hold beside it, breaks it.
    exact = np.array([2**62 + 2**54, 2**62 + 2**54 + 1, -(2**62) - 2**54 - 1])
    assert dtype("bf16").encode(exact).tolist() == [0x5E80, 0x5E81, 0xDE81]


def test_tf32_drops_13_bits_to_even() -> None:
    tf32 = dtype("tf32")
    ulp = 2.0**-10
    got = tf32.decode(tf32.encode([1 + ulp / 2, 1 + 1.5 * ulp, 1 + ulp / 2 + 2.0**-50, -np.inf]))
    assert got.tolist() == [1.0, 1 + 2 * ulp, 1 + ulp, -np.inf]
    assert tf32.encode(1 + ulp).dtype == np.uint32
    assert int(tf32.encode(1 + ulp)) == int(np.float32(1 + ulp).view(np.uint32))
    assert np.isnan(tf32.decode(tf32.encode(np.nan)))


def test_f32_and_f64_are_numpys() -> None:
    signalling = np.array([0x7F800001, 0x3F800000], np.uint32)
    np.testing.assert_array_equal(dtype("f32").decode(signalling), [np.nan, 1.0])
    values = np.array([1 / 3, -1e300, 5e-324, -0.0])
    with np.errstate(over="ignore", under="ignore"):
        single = values.astype(np.float32)
    np.testing.assert_array_equal(dtype("f32").encode(values), single.view(np.uint32))
    np.testing.assert_array_equal(dtype("f64").encode(values), values.view(np.uint64))


def test_codebook_ties_nan_and_duplicates() -> None:
    book = codebook("steps4", [3.0, 1.0, -1.0, 1.0])
    assert book.decode([0, 1, 2, 3]).tolist() == [3.0, 1.0, -1.0, 1.0]
    assert book.encode([2.0, 0.0, 1.0, 9.0, -9.0]).tolist() == [0, 2, 1, 0, 2]
    assert book.encode(np.nan) == 1
    assert codebook("steps4", [3.0, 1.0, -1.0, 1.0]) is book


def test_decode_refuses_what_is_no_code() -> None:
    with pytest.raises(DtypeError, match="8 is no code of `u3`, which has 3 bits"):
        dtype("u3").decode([0, 8])
    with pytest.raises(DtypeError, match="-1 is no code of `i4`"):
        dtype("i4").decode([-1])
    with pytest.raises(DtypeError, match="must be integers, not `float64`"):
        dtype("u3").decode([0.5])


def test_shapes_and_empty_arrays_pass_through() -> None:
    for name in ("u3", "i4", "e3m2", "bf16", "f16", "tf32", "nf4", "b2", "e8m0"):
        each = dtype(name)
        assert each.encode(np.zeros((2, 0, 3))).shape == (2, 0, 3)
        assert each.decode(np.zeros((2, 3), np.uint8)).shape == (2, 3)
        assert each.encode(1.0).shape == ()
