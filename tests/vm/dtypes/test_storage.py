"""Packing against the definition: one Python integer as the bit string."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tileloom.vm.dtypes import gather_bits, pack_bits, packed_bytes, scatter_bits, unpack_bits


def as_integer(codes: list[int], bits: int, offset: int) -> int:
    return sum(code << (offset + e) * bits for e, code in enumerate(codes))


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 64), st.integers(0, 21))
def test_pack_and_unpack_any_width_at_any_offset(
    data: st.DataObject, bits: int, offset: int
) -> None:
    codes = data.draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=40))
    array = np.array(codes, np.uint64)
    packed = pack_bits(array, bits, offset)
    assert packed.size == packed_bytes(len(codes), bits, offset)
    assert packed.flags.c_contiguous
    assert int.from_bytes(packed.tobytes(), "little") == as_integer(codes, bits, offset)
    assert unpack_bits(packed, bits, len(codes), offset).tolist() == codes
    noise = packed.copy()
    if offset * bits >= 8:
        noise[0] = 255  # bits before the first element don't matter
        assert unpack_bits(noise, bits, len(codes), offset).tolist() == codes


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
def test_offset_is_any_element_of_a_longer_array(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 1 << bits, 97).astype(np.uint8)
    packed = pack_bits(codes, bits)
    for start in range(97):
        np.testing.assert_array_equal(unpack_bits(packed, bits, 97 - start, start), codes[start:])


def test_codes_come_in_the_smallest_unsigned_dtype() -> None:
    data = np.zeros(64, np.uint8)
    for bits, expected in [(3, "u1"), (8, "u1"), (9, "u2"), (16, "u2"), (17, "u4"), (33, "u8")]:
        assert unpack_bits(data, bits, 4).dtype == np.dtype(expected)


def test_too_few_bytes_is_an_error() -> None:
    assert unpack_bits(np.zeros(3, np.uint8), 3, 8).size == 8
    with pytest.raises(ValueError, match="8 elements of 3 bits from element 1 on don't fit 3"):
        unpack_bits(np.zeros(3, np.uint8), 3, 8, 1)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 64))
def test_gather_and_scatter_single_elements(data: st.DataObject, bits: int) -> None:
    size = 40
    before = data.draw(st.binary(min_size=size, max_size=size))
    slots = data.draw(st.lists(st.integers(0, (8 * size - 7) // bits - 1), unique=True, max_size=9))
    start = data.draw(st.integers(0, 7))
    codes = [data.draw(st.integers(0, (1 << bits) - 1)) for _ in slots]
    positions = np.array([start + slot * bits for slot in slots], np.int64)
    buffer = np.frombuffer(before, np.uint8).copy()
    expected = int.from_bytes(before, "little")
    got = gather_bits(buffer, positions, bits)
    assert got.tolist() == [expected >> int(p) & ((1 << bits) - 1) for p in positions]
    scatter_bits(buffer, positions, np.array(codes, np.uint64), bits)
    for position, code in zip(positions.tolist(), codes, strict=True):
        expected &= ~(((1 << bits) - 1) << position)
        expected |= code << position
    assert int.from_bytes(buffer.tobytes(), "little") == expected


def test_millions_of_elements_need_no_loop() -> None:
    codes = np.random.default_rng(0).integers(0, 8, 2_000_000).astype(np.uint8)
    np.testing.assert_array_equal(unpack_bits(pack_bits(codes, 3), 3, codes.size), codes)
