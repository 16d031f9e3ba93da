"""Elements at run-time bit offsets: each is moved by itself, through the bytes that contain it.

A store rewrites whole bytes, so each byte must have one thread that stores to it (`ownership`);
what is not the element's in a byte stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ptx import Address, Register, RegisterKind
from .addresses import Access, shared_address
from .bits import Piece, assemble, split_at_words
from .chunks import Element
from .context import GlobalBinding, LoweringError
from .linear import Linear

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64

# Three bytes around an element at bit 7 are within a word.
_WIDEST = 25
_KEEP_OTHERS = 0xBA  # (a & ~b) | c


def load_elements(access: Access, bits: int, count: int, opcode: str) -> list[Register]:
    """The words of a thread's `count` elements; masked elements are zero."""
    builder = access.context.builder
    pieces: list[list[Piece]] = [[] for _ in range(-(-count * bits // 32))]
    for element in access.elements:
        place = _place(access, element, bits)
        value = _load(access, place, element, 0, opcode)
        for number in range(1, place.num_bytes):
            byte = _load(access, place, element, number, opcode)
            value = builder.compute("bfi.b32", B32, byte, value, 8 * number, 8)
        value = builder.compute("shr.u32", B32, value, place.shift)
        done = 0
        for _, _, width, word, bit in split_at_words(0, bits, element.tile_bit):
            pieces[word].append(Piece(value, done, width, bit))
            done += width
    return [assemble(builder, parts) for parts in pieces]


def store_elements(access: Access, words: list[Register], bits: int) -> None:
    """Stores a thread's elements one after the other, each into bytes that are read before."""
    builder = access.context.builder
    for element in access.elements:
        place = _place(access, element, bits)
        cuts = split_at_words(element.tile_bit, bits, 0)
        code = assemble(
            builder, [Piece(words[word], bit, width, to) for word, bit, width, _, to in cuts]
        )
        code = builder.compute("and.b32", B32, code, (1 << bits) - 1)
        code = builder.compute("shl.b32", B32, code, place.shift)
        mask = builder.compute("mov.b32", B32, (1 << bits) - 1)
        mask = builder.compute("shl.b32", B32, mask, place.shift)
        for number in range(place.num_bytes):
            old = _load(access, place, element, number, f"ld.{access.space}")
            mine, others = code, mask
            if number:
                mine = builder.compute("shr.u32", B32, code, 8 * number)
                others = builder.compute("shr.u32", B32, mask, 8 * number)
            new = builder.compute("lop3.b32", B32, old, others, mine, _KEEP_OTHERS)
            condition = place.reaches(access, element, number)
            if condition is not False:
                predicate = condition if isinstance(condition, Register) else None
                target = (place.address(access, number), new)
                builder.emit(f"st.{access.space}.u8", (), target, predicate)


@dataclass(eq=False)
class _Place:
    """Where an element of `bits` bits begins: bit `shift` (0 to 7) of the byte `byte`."""

    byte: Register
    shift: Register
    bits: int
    aligned: bool  # it never straddles bytes more than its width makes it

    @property
    def num_bytes(self) -> int:
        """The bytes it may lie in."""
        return -(-self.bits // 8) if self.aligned else (self.bits + 14) // 8

    def address(self, access: Access, number: int) -> Address:
        """The operand for one of its bytes."""
        binding = access.binding
        if isinstance(binding, GlobalBinding):
            register = access.context.builder.pure("add.s64", B64, binding.pointer, self.byte)
            return Address(register, number)
        return shared_address(access.context, binding, Linear.of(self.byte) + number)

    def reaches(self, access: Access, element: Element, number: int) -> Register | bool:
        """Whether the element is inside the memory and reaches into one of its bytes."""
        condition = access.condition(element.mask)
        if number == 0 or 8 * number < self.bits:
            return condition
        pure = access.context.builder.pure
        reaches = pure("setp.gt.u32", PRED, self.shift, 8 * number - self.bits)
        return access.context.scalars.conjunction(condition, reaches)


def _place(access: Access, element: Element, bits: int) -> _Place:
    if bits > _WIDEST:
        raise LoweringError(
            f"elements of {bits} bits that start inside a byte can't be moved",
            hint="`assume` what makes every row begin at a whole byte",
        )
    context, pure = access.context, access.context.builder.pure
    base = access.bases[element.key] * bits + element.bit  # type: ignore[index]
    aligned = 8 % bits == 0 and context.facts.divisor(base) % bits == 0
    if isinstance(access.binding, GlobalBinding):
        place = context.scalars.in_register(base, wide=True)
        low = pure("cvt.u32.u64", B32, place)
        byte = pure("shr.s64", B64, place, 3)
    else:
        low = context.scalars.in_register(base)
        byte = pure("shr.u32", B32, low, 3)
    return _Place(byte, pure("and.b32", B32, low, 7), bits, aligned)


def _load(access: Access, place: _Place, element: Element, number: int, opcode: str) -> Register:
    """One of an element's bytes; zero where it is not reached."""
    builder = access.context.builder
    condition = place.reaches(access, element, number)
    register = builder.once(B32)
    if condition is not True:
        builder.emit("mov.b32", (register,), (0,))
    if condition is not False:
        predicate = condition if isinstance(condition, Register) else None
        source = (place.address(access, number), *access.hints)
        builder.emit(f"{opcode}.u8", (register,), source, predicate)
    return register
