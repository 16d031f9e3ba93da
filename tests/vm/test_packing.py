"""Packings: bijections, pairs at equal bits of both halves, fast packing as defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tileloom.vm.packing import (
    CONTIGUOUS,
    PAIRED,
    Packing,
    PackingError,
    pack_words,
    pairs,
    pieces,
    unit_words,
    unpack_words,
)

BITS = range(1, 9)


def packed_by_definition(codes: NDArray[Any], bits: int, packing: Packing) -> NDArray[np.uint32]:
    """Every code bit at the position that the packing states."""
    count = codes.shape[-1]
    positions = packing.positions(bits, count)
    stream = np.zeros((*codes.shape[:-1], 32 * packing.words(bits, count)), np.uint32)
    for bit in range(bits):
        stream[..., positions[:, bit]] = codes >> bit & 1
    grouped = stream.reshape(*codes.shape[:-1], -1, 32)
    return np.asarray((grouped << np.arange(32, dtype=np.uint32)).sum(-1), np.uint32)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("packing", [CONTIGUOUS, PAIRED])
def test_positions_are_a_bijection(packing: Packing, bits: int) -> None:
    count = 6 * pairs(bits)
    positions = packing.positions(bits, count)
    assert positions.shape == (count, bits)
    assert sorted(positions.ravel().tolist()) == list(range(count * bits))


def test_the_contiguous_packing_follows_the_elements() -> None:
    assert CONTIGUOUS.positions(3, 2).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert CONTIGUOUS.positions(64, 2)[1, 0] == 64


@pytest.mark.parametrize("bits", BITS)
def test_a_pair_lies_at_the_same_bits_of_both_halves(bits: int) -> None:
    positions = PAIRED.positions(bits, 2 * pairs(bits))
    assert (positions[::2] % 32 < 16).all()
    assert (positions[1::2] == positions[::2] + 16).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_widths_that_divide_a_half_lie_side_by_side(bits: int) -> None:
    positions = PAIRED.positions(bits, 2 * pairs(bits))
    for pair in range(16 // bits):
        assert positions[2 * pair].tolist() == list(range(pair * bits, pair * bits + bits))


@pytest.mark.parametrize("bits", BITS)
def test_units(bits: int) -> None:
    assert unit_words(bits) * 32 == 2 * pairs(bits) * bits
    assert len(pieces(bits)) == pairs(bits)
    whole = [parts for parts in pieces(bits) if len(parts) == 1]
    assert len(whole) == unit_words(bits) * (16 // bits), (
        "as many whole fields as there is room for"
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("packing", [CONTIGUOUS, PAIRED])
def test_packing_words_equals_the_definition(packing: Packing, bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (3, 2, 4 * pairs(bits)), np.uint8)
    words = pack_words(codes, bits, packing)
    assert words.dtype == np.uint32
    assert np.array_equal(words, packed_by_definition(codes, bits, packing))
    assert np.array_equal(unpack_words(words, bits, packing), codes)


@pytest.mark.parametrize(("bits", "count"), [(3, 5), (5, 7), (7, 1), (12, 3), (17, 5), (8, 0)])
def test_contiguous_tails_are_zero(bits: int, count: int) -> None:
    codes = np.full((2, count), (1 << bits) - 1, np.uint32)
    words = pack_words(codes, bits, CONTIGUOUS)
    assert words.shape == (2, -(-count * bits // 32))
    assert np.array_equal(words, packed_by_definition(codes, bits, CONTIGUOUS))
    assert np.array_equal(unpack_words(words, bits, CONTIGUOUS, count), codes)


def test_upper_bits_of_codes_are_ignored() -> None:
    for packing in (CONTIGUOUS, PAIRED):
        words = pack_words(np.full(8, 0xF5, np.uint8), 4, packing)
        assert words.tolist() == [0x55555555]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Packing("planes"), "no packing is called `planes`: contiguous, paired"),
        (lambda: PAIRED.positions(9, 32), "1 to 8 bits, not 9"),
        (lambda: PAIRED.positions(3, 16), "comes in units of 32 elements: 16 is not a multiple"),
        (lambda: pieces(0), "1 to 8 bits, not 0"),
        (lambda: unpack_words(np.zeros(2, np.uint32), 4, PAIRED, 8), "take 1 words, not 2"),
    ],
)
def test_mistakes(call: Any, message: str) -> None:
    with pytest.raises(PackingError, match=message):
        call()


def test_packings_are_values() -> None:
    assert Packing("paired") == PAIRED != CONTIGUOUS == Packing()
    assert len({PAIRED, Packing("paired")}) == 1
    assert str(PAIRED) == "paired"
