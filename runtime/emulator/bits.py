"""Bit operations: and or xor not cnot shl shr shf lop3 bfe bfi brev szext."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .opcode import Custom, Form, Mods, OpcodeError, Pure, opcode
from .step import Flow
from .syntax import Int
from .types import B32, TYPES, U32, Array, Type

if TYPE_CHECKING:
    from .linker import Linker
    from .step import Step
    from .syntax import Instruction

_LOGIC: dict[str, Callable[..., Any]] = {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


@opcode("and", "or", "xor")
def logic(mods: Mods) -> Form:
    type_ = mods.type("pred", "b16", "b32", "b64")
    return Pure((type_,), (type_, type_), _LOGIC[mods.base], Flow(2, mixes=True))


@opcode("not")
def invert(mods: Mods) -> Form:
    type_ = mods.type("pred", "b16", "b32", "b64")
    return Pure((type_,), (type_,), np.bitwise_not, Flow(1))


@opcode("cnot")
def cnot(mods: Mods) -> Form:
    type_ = mods.type("b16", "b32", "b64")
    return Pure((type_,), (type_,), lambda a: (a == 0).astype(a.dtype))


# ---- shifts


def shift_left(a: Array, amount: Array) -> Array:
    """a << amount; amounts of the width and more give 0."""
    bits = a.dtype.itemsize * 8
    if amount.size == 1:
        count = int(amount[0, 0])
        return np.zeros_like(a) if count >= bits else np.left_shift(a, a.dtype.type(count))
    shifted: Array = np.left_shift(a, (amount & np.uint32(bits - 1)).astype(a.dtype))
    result: Array = np.where(amount >= bits, a.dtype.type(0), shifted)
    return result


def shift_right(a: Array, amount: Array) -> Array:
    """a >> amount, arithmetic for signed `a`; amounts are clamped to the width."""
    bits = a.dtype.itemsize * 8
    signed = a.dtype.kind == "i"
    if amount.size == 1:
        count = int(amount[0, 0])
        if count >= bits and not signed:
            return np.zeros_like(a)
        fixed: Array = np.right_shift(a, a.dtype.type(min(count, bits - 1)))
        return fixed
    limited = np.minimum(amount, np.uint32(bits - 1)).astype(a.dtype)
    shifted: Array = np.right_shift(a, limited)
    if not signed:
        shifted = np.where(amount >= bits, a.dtype.type(0), shifted)
    return shifted


@opcode("shl")
def shl(mods: Mods) -> Form:
    type_ = mods.type("b16", "b32", "b64")
    return Pure((type_,), (type_, U32), shift_left, Flow(1))


@opcode("shr")
def shr(mods: Mods) -> Form:
    type_ = mods.type()
    if type_.is_float or type_.lanes > 1 or type_.bits < 16:
        raise OpcodeError(f"`{mods.text}`: type `.{type_.name}` is not supported")
    if not type_.signed:
        return Pure((type_,), (type_, U32), shift_right, Flow(1))
    view, raw = type_.view, type_.raw
    return Pure(
        (type_,), (type_, U32), lambda a, n: shift_right(a.view(view), n).view(raw), Flow(1)
    )


@opcode("shf")
def funnel_shift(mods: Mods) -> Form:
    """shf.l: upper word of {b, a} << c; shf.r: lower word of {b, a} >> c."""
    left = mods.choice("l", "r") == "l"
    wrap = mods.choice("wrap", "clamp") == "wrap"
    mods.type("b32")
    full = np.uint64(32)

    def run(a: Array, b: Array, amount: Array) -> Array:
        count = amount & np.uint32(31) if wrap else np.minimum(amount, np.uint32(32))
        both = (b.astype(np.uint64) << full) | a
        wide = (
            (both << count.astype(np.uint64)) >> full if left else both >> count.astype(np.uint64)
        )
        return wide.astype(np.uint32)

    return Pure((B32,), (B32, B32, U32), run, Flow(2))


# ---- lop3


def lut_function(table: int) -> Callable[[Array, Array, Array], Array]:
    """The three-input function of a lop3 table: bit 4a+2b+c of `table` is f(a, b, c).

    It is expanded about the input that needs the fewest operations.
    """
    best: tuple[int, int] | None = None
    for pivot in range(3):
        low, high = _halves(table, pivot)
        cost = _cost(low, high)
        if best is None or cost < best[0]:
            best = cost, pivot
    assert best is not None
    pivot = best[1]
    join = _join(*_halves(table, pivot))
    if pivot == 0:
        return lambda a, b, c: join(a, b, c)
    if pivot == 1:
        return lambda a, b, c: join(b, a, c)
    return lambda a, b, c: join(c, a, b)


def _halves(table: int, pivot: int) -> tuple[int, int]:
    """The two-input tables (bit 2x+y) left when input `pivot` is 0 and 1, others in order."""
    result = [0, 0]
    for index in range(8):
        bits = [(index >> 2) & 1, (index >> 1) & 1, index & 1]
        value = bits.pop(pivot)
        result[value] |= ((table >> index) & 1) << (2 * bits[0] + bits[1])
    return result[0], result[1]


_TWO: dict[int, tuple[int, Callable[[Array, Array], Array]]] = {
    0b0000: (1, lambda x, y: np.zeros_like(x | y)),
    0b0001: (2, lambda x, y: ~(x | y)),
    0b0010: (2, lambda x, y: ~x & y),
    0b0011: (1, lambda x, y: ~x),
    0b0100: (2, lambda x, y: x & ~y),
    0b0101: (1, lambda x, y: ~y),
    0b0110: (1, lambda x, y: x ^ y),
    0b0111: (2, lambda x, y: ~(x & y)),
    0b1000: (1, lambda x, y: x & y),
    0b1001: (2, lambda x, y: ~(x ^ y)),
    0b1010: (0, lambda x, y: y),
    0b1011: (2, lambda x, y: ~x | y),
    0b1100: (0, lambda x, y: x),
    0b1101: (2, lambda x, y: x | ~y),
    0b1110: (1, lambda x, y: x | y),
    0b1111: (2, lambda x, y: ~np.zeros_like(x | y)),
}


def _cost(low: int, high: int) -> int:
    if low == high:
        return _TWO[low][0]
    if low in (0, 15) or high in (0, 15):
        return 1 + _TWO[high if low in (0, 15) else low][0] + (high == 0 or low == 15)
    if low == high ^ 15:
        return 1 + _TWO[low][0]
    return 2 + _TWO[low][0] + _TWO[low ^ high][0]


def _join(low: int, high: int) -> Callable[[Array, Array, Array], Array]:
    """f(p, x, y) = p ? high(x, y) : low(x, y), bitwise."""
    at_low, at_high, change = _TWO[low][1], _TWO[high][1], _TWO[low ^ high][1]
    if low == high:
        return lambda p, x, y: at_low(x, y)
    if low == high ^ 15:
        return lambda p, x, y: at_low(x, y) ^ p
    if low == 0:
        return lambda p, x, y: p & at_high(x, y)
    if high == 15:
        return lambda p, x, y: p | at_low(x, y)
    if high == 0:
        return lambda p, x, y: ~p & at_low(x, y)
    if low == 15:
        return lambda p, x, y: ~p | at_high(x, y)
    return lambda p, x, y: at_low(x, y) ^ (p & change(x, y))


@opcode("lop3")
def lop3(mods: Mods) -> Form:
    mods.type("b32")
    return Custom(_build_lop3)


def _build_lop3(instruction: Instruction, linker: Linker) -> Step:
    if len(instruction.operands) != 5 or not isinstance(instruction.operands[4], Int):
        raise OpcodeError("`lop3.b32` takes 4 operands and a table")
    table = instruction.operands[4].value
    if not 0 <= table < 256:
        raise OpcodeError(f"lop3 table {table} is not in 0 .. 255")
    out, *ins = instruction.operands[:4]
    slots = tuple(linker.source(operand, B32) for operand in ins)
    fn = lut_function(table)
    used = [slot for pivot, slot in enumerate(slots) if len({*_halves(table, pivot)}) > 1]
    if all(map(linker.is_constant, used)):
        fn = _spread(fn)
    return linker.pure_step(fn, (linker.dest(out, B32),), slots, Flow(3, mixes=True))


def _spread(fn: Callable[..., Array]) -> Callable[..., Array]:
    """A result that depends on literals only, for all lanes."""
    return lambda a, b, c: fn(a, b, c) | np.zeros_like(a | b | c)


# ---- bit fields


@opcode("bfe")
def bfe(mods: Mods) -> Form:
    """Extracts `length` bits at `start`; signed forms extend the top bit of field or word."""
    type_ = mods.type("u32", "s32", "u64", "s64")
    return Pure((type_,), (type_, U32, U32), _extract(type_), Flow(1))


def _extract(type_: Type) -> Callable[[Array, Array, Array], Array]:
    bits, raw = type_.bits, type_.raw
    one = raw.type(1)

    def run(a: Array, start: Array, length: Array) -> Array:
        first, count = start & np.uint32(255), length & np.uint32(255)
        if first.size == count.size == 1 and 0 < (size := int(count[0, 0])) < bits:
            low = int(first[0, 0])
            if low + size <= bits:
                if type_.signed:
                    top = (a << raw.type(bits - low - size)).view(type_.view)
                    extended: Array = (top >> type_.view.type(bits - size)).view(raw)
                    return extended
                cut: Array = a >> raw.type(low) & raw.type((1 << size) - 1)
                return cut
        field = shift_right(a, first)
        ones = shift_left(np.ones_like(a), count) - one
        kept: Array = np.where(count >= bits, field, field & ones)
        if not type_.signed:
            return kept
        top = np.minimum(first + count - np.uint32(1), np.uint32(bits - 1)).astype(raw)
        negative = ((a >> top) & one).astype(bool) & (count != 0)
        # Bits of the result from `present` upwards lie outside the field or the word.
        present = np.minimum(count, np.uint32(bits) - np.minimum(first, np.uint32(bits)))
        extension = shift_left(np.full_like(a, -1 % (1 << bits)), present)
        return np.where(negative, kept | extension, kept)

    return run


@opcode("bfi")
def bfi(mods: Mods) -> Form:
    """Inserts the low `length` bits of a into b at `start`."""
    type_ = mods.type("b32", "b64")
    one, bits = type_.raw.type(1), type_.bits

    def inserted(a: Array, b: Array, first: int, count: int) -> Array:
        raw = type_.raw.type
        mask = ((1 << count) - 1) << first & ((1 << bits) - 1)
        moved = a << raw(first) if first < bits else np.zeros_like(a)
        result: Array = moved & raw(mask) | b & raw(((1 << bits) - 1) ^ mask)
        return result

    def run(a: Array, b: Array, start: Array, length: Array) -> Array:
        first, count = start & np.uint32(255), length & np.uint32(255)
        if first.size == count.size == 1:
            return inserted(a, b, int(first[0, 0]), int(count[0, 0]))
        ones = shift_left(np.ones_like(a), count) - one
        ones = np.where(count >= bits, ~type_.raw.type(0), ones)
        mask, value = (np.broadcast_arrays(x, a, b, first)[0] for x in (ones, a & ones))
        place = np.broadcast_to(first, mask.shape)
        return (b & ~shift_left(mask, place)) | shift_left(value, place)

    return Pure((type_,), (type_, type_, U32, U32), run, Flow(2))


_REVERSED = np.array([int(f"{value:08b}"[::-1], 2) for value in range(256)], np.uint8)


@opcode("brev")
def brev(mods: Mods) -> Form:
    type_ = mods.type("b32", "b64")

    def run(a: Array) -> Array:
        octets = np.ascontiguousarray(a).view(np.uint8).reshape(*a.shape, -1)[..., ::-1]
        return np.ascontiguousarray(_REVERSED[octets]).view(type_.raw)[..., 0]

    return Pure((type_,), (type_,), run, Flow(1))


@opcode("szext")
def szext(mods: Mods) -> Form:
    """Extends the low `b` bits of a by zeros or sign."""
    mode = mods.choice("clamp", "wrap")
    type_ = mods.type("u32", "s32")
    extract = _extract(type_)

    def run(a: Array, b: Array) -> Array:
        count = b & np.uint32(31) if mode == "wrap" else np.minimum(b, np.uint32(32))
        return extract(a, np.zeros_like(count), count)

    return Pure((type_,), (type_, U32), run)


@opcode("bmsk")
def bmsk(mods: Mods) -> Form:
    """A mask of `b` ones at position `a`."""
    mode = mods.choice("clamp", "wrap")
    mods.type("b32")

    def run(a: Array, b: Array) -> Array:
        wrap = mode == "wrap"
        start = a & np.uint32(31) if wrap else np.minimum(a, np.uint32(32))
        count = b & np.uint32(31) if wrap else np.minimum(b, np.uint32(32))
        start, count = np.broadcast_arrays(start, count)
        ones = shift_left(np.ones_like(count), count) - np.uint32(1)
        return shift_left(ones, start)

    return Pure((TYPES["b32"],), (U32, U32), run)
