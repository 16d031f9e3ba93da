"""Packed storage: element e of a b-bit array occupies bits [e * b, e * b + b) of its bytes.

Least significant bit first, straddling bytes where b does not divide 8. Eight elements of at most
8 bits fill `bits` bytes exactly, so they are packed as one 64-bit word at a time; wider odd widths
go through single bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .codecs import unsigned

Array = NDArray[Any]
Bytes = NDArray[np.uint8]


def packed_bytes(count: int, bits: int, offset: int = 0) -> int:
    """Return how many bytes hold `count` elements of `bits` bits after the first `offset`."""
    return -(-(offset + count) * bits // 8)


def pack_bits(codes: ArrayLike, bits: int, offset: int = 0) -> Bytes:
    """Pack codes of `bits` (1 to 64) bits into bytes, the first at element `offset`.

    The shape is flattened in C order; bits before and after the elements are zero.
    """
    flat = np.asarray(codes).reshape(-1)
    size = packed_bytes(flat.size, bits, offset)
    before = offset // 8 * bits
    if offset % 8:
        flat = np.concatenate([np.zeros(offset % 8, flat.dtype), flat])
    packed = _pack(flat.astype(unsigned(bits), copy=False), bits)
    if not before:
        return packed[:size]
    return np.concatenate([np.zeros(before, np.uint8), packed])[:size]


def unpack_bits(data: ArrayLike, bits: int, count: int, offset: int = 0) -> Array:
    """Return `count` codes, from element `offset` on, as the smallest unsigned dtype.

    `data` is an array of bytes; raises `ValueError` when it is too short.
    """
    flat = np.asarray(data, np.uint8).reshape(-1)
    if packed_bytes(count, bits, offset) > flat.size:
        raise ValueError(
            f"{count} elements of {bits} bits from element {offset} on don't fit {flat.size} bytes"
        )
    first, skip = offset // 8 * bits, offset % 8
    codes = _unpack(flat[first : first + packed_bytes(count + skip, bits)], bits, count + skip)
    return codes[skip:]


def _pack(codes: Array, bits: int) -> Bytes:
    if bits in (8, 16, 32, 64):
        return np.ascontiguousarray(codes).view(np.uint8)
    if bits > 8:
        single = np.unpackbits(
            np.ascontiguousarray(codes).view(np.uint8).reshape(-1, codes.itemsize),
            axis=1,
            count=bits,
            bitorder="little",
        )
        return np.packbits(single.reshape(-1), bitorder="little")
    groups = _padded(codes, 8).reshape(-1, 8)
    words = groups[:, 0].astype("<u8")
    for place in range(1, 8):
        words |= groups[:, place].astype(np.uint64) << np.uint64(place * bits)
    return np.ascontiguousarray(words.view(np.uint8).reshape(-1, 8)[:, :bits].reshape(-1))


def _unpack(data: Bytes, bits: int, count: int) -> Array:
    if bits in (8, 16, 32, 64):
        return data.copy().view(unsigned(bits))[:count]
    if bits > 8:
        single = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
        width = unsigned(bits).itemsize
        packed = np.packbits(single, axis=1, bitorder="little")
        wide = np.zeros((count, width), np.uint8)
        wide[:, : packed.shape[1]] = packed
        return wide.view(unsigned(bits)).reshape(-1)
    groups = _padded(data, bits).reshape(-1, bits)
    padded = np.zeros((groups.shape[0], 8), np.uint8)
    padded[:, :bits] = groups
    words = padded.view("<u8").reshape(-1)
    codes = np.empty((words.size, 8), np.uint8)
    mask = np.uint64((1 << bits) - 1)
    for place in range(8):
        codes[:, place] = words >> np.uint64(place * bits) & mask
    return codes.reshape(-1)[:count]


def _padded(array: Array, multiple: int) -> Array:
    missing = -array.size % multiple
    return np.concatenate([array, np.zeros(missing, array.dtype)]) if missing else array


def gather_bits(data: Bytes, positions: Array, bits: int) -> Array:
    """Return the codes of `bits` (1 to 64) bits that start at bit `positions` of `data`.

    Positions (any shape) must lie inside; several may overlap.
    """
    byte, shift = positions >> 3, (positions & 7).astype(np.uint64)
    last = data.size - 1
    result: Array = data[byte].astype(np.uint64) >> shift
    for place in range(1, (bits + 14) // 8):
        # The byte after an element's last is read too, so clamp: its bits are masked off.
        following = data[np.minimum(byte + place, last)].astype(np.uint64)
        if place < 8:
            result |= following << (np.uint64(8 * place) - shift)
        else:
            result |= np.where(shift == 0, np.uint64(0), following << (np.uint64(64) - shift))
    if bits < 64:
        result &= np.uint64((1 << bits) - 1)
    return result.astype(unsigned(bits))


def scatter_bits(data: Bytes, positions: Array, codes: Array, bits: int) -> None:
    """Store `codes` at bit `positions` of `data`, leaving all other bits as they are.

    Elements that share a bit must carry the same code.
    """
    start, code = positions.reshape(-1), codes.reshape(-1).astype(np.uint64)
    byte, shift = start >> 3, (start & 7).astype(np.uint64)
    mask = (1 << bits) - 1
    for place in range((bits + 14) // 8):
        keep = _window(np.full(start.shape, mask, np.uint64), shift, place)
        value = _window(code, shift, place)
        used = keep != 0
        np.bitwise_and.at(data, byte[used] + place, ~keep[used])
        np.bitwise_or.at(data, byte[used] + place, value[used])


def _window(code: Array, shift: Array, place: int) -> Bytes:
    """Byte number `place` of `code << shift`, without overflowing 64 bits."""
    if place == 0:
        return (code << shift).astype(np.uint8)
    moved = np.uint64(8 * place) - shift
    inside = moved < 64
    return np.where(inside, code >> np.where(inside, moved, np.uint64(0)), 0).astype(np.uint8)
