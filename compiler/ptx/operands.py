"""Operands of PTX instructions: typed virtual registers, immediates, vectors, addresses.

Registers are compared by identity. A register knows whether it is assigned once (`region` is the
nesting depth of the region that defines it) or is mutable storage (`region` is None): only the
former may take part in value numbering and hoisting.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import NamedTuple


class RegisterKind(Enum):
    """Width classes of virtual registers; the value is (PTX type, name prefix)."""

    PRED = ("pred", "p")
    B16 = ("b16", "h")
    B32 = ("b32", "r")
    B64 = ("b64", "d")

    # Members are singletons; Enum's own hash is a Python call, and tables by kind are hot.
    __hash__ = object.__hash__

    def __init__(self, ptx_type: str, prefix: str) -> None:
        self.ptx_type, self.prefix = ptx_type, prefix


class Register:
    """A virtual register. `region` is the depth of its only definition, None when mutable."""

    __slots__ = ("kind", "name", "region")

    def __init__(self, kind: RegisterKind, number: int, region: int | None = None) -> None:
        self.kind = kind
        self.name = f"%{kind.prefix}{number}"
        self.region = region

    def __repr__(self) -> str:
        return self.name


class Float32(NamedTuple):
    """A binary32 immediate, held as its bits so that every NaN and zero survives printing."""

    bits: int

    @staticmethod
    def of(value: float) -> Float32:
        """The immediate nearest to `value`; overflow gives an infinity."""
        try:
            return Float32(struct.unpack("<I", struct.pack("<f", value))[0])
        except OverflowError:
            return Float32(0x7F800000 if value > 0 else 0xFF800000)


class Symbol(NamedTuple):
    """A name the module defines (shared array, parameter) or PTX predefines (`%tid.x`)."""

    name: str


class LabelRef(NamedTuple):
    """A branch target."""

    name: str


class Vector(NamedTuple):
    """Registers in braces, as in `ld.global.v4.b32 {%r0, %r1, %r2, %r3}, ...`."""

    elements: tuple[Register | int | Float32, ...]


class Pair(NamedTuple):
    """Two destinations, `a|b`; the first may be the sink `_`."""

    first: Register | Symbol
    second: Register


class TensorAddress(NamedTuple):
    """A place in a tensor: the address of its map, and coordinates, that of neighbours first."""

    map: Register
    coordinates: tuple[Register | int, ...]


class Address(NamedTuple):
    """A memory operand: register or symbol plus a byte offset."""

    base: Register | Symbol
    offset: int = 0


Operand = Register | int | Float32 | Symbol | LabelRef | Vector | Pair | TensorAddress | Address


def registers_of(operand: Operand) -> tuple[Register, ...]:
    """The registers that an operand mentions, in order."""
    if isinstance(operand, Register):
        return (operand,)
    if isinstance(operand, Vector):
        return tuple([e for e in operand.elements if type(e) is Register])
    if isinstance(operand, Pair):
        return tuple(e for e in operand if isinstance(e, Register))
    if isinstance(operand, TensorAddress):
        own = (operand.map, *operand.coordinates)
        return tuple(e for e in own if isinstance(e, Register))
    if isinstance(operand, Address) and isinstance(operand.base, Register):
        return (operand.base,)
    return ()


def with_registers(operand: Operand, replaced: dict[Register, Register]) -> Operand:
    """The operand with registers exchanged."""
    if isinstance(operand, Register):
        return replaced.get(operand, operand)
    if isinstance(operand, Vector):
        elements = operand.elements
        return Vector(tuple([replaced.get(e, e) if type(e) is Register else e for e in elements]))
    if isinstance(operand, TensorAddress):
        moved = [replaced.get(e, e) if type(e) is Register else e for e in operand.coordinates]
        return TensorAddress(replaced.get(operand.map, operand.map), tuple(moved))
    if isinstance(operand, Address) and isinstance(operand.base, Register):
        return Address(replaced.get(operand.base, operand.base), operand.offset)
    return operand


def special(name: str) -> Symbol:
    """A special register such as `tid.x` or `ctaid.y`."""
    return Symbol("%" + name)
