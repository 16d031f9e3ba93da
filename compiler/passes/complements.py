"""Masks of complements: `~a & mask` is one operation, the complement none.

    not.b32 t, a;  and.b32 d, t, m;                      lop3.b32 d, a, m, 0, ~A & B;
    not.b32 t, a;  shr.u32 s, t, n;  and.b32 d, s, m;    shr.u32 u, a, n;  lop3.b32 d, u, m, 0, ...

The second where m has none of the n upper bits, which a shift fills with zeros. Assemblers do as
much only for complements that are read once; decodes read a word many times.
"""

from __future__ import annotations

from ..ptx import Instruction, Item, Register, RegisterKind
from .peephole import definitions_of, is_fixed, remove_dead

_MASKED_COMPLEMENT = 0x0C  # ~A & B of lop3's A, B, C


def absorb_complements(items: list[Item]) -> list[Item]:
    """Reads what a complement is of wherever it is masked."""
    if not any(type(item) is Instruction and item.opcode == "not.b32" for item in items):
        return items
    counts = definitions_of(items)
    complements: dict[Register, Register] = {}  # and what they are of
    zeros: dict[Register, int] = {}  # upper bits that are zeros in spite of it
    found: list[Item] = []
    for item in items:
        found.append(item)
        if type(item) is not Instruction or item.predicate is not None:
            continue
        if item.opcode == "not.b32":
            _note(item.dsts[0], item.srcs[0], counts, complements)
        elif item.opcode == "shr.u32":
            found += _shifted(item, counts, complements, zeros)
        elif item.opcode == "and.b32":
            source, mask = item.srcs
            if not (isinstance(source, Register) and isinstance(mask, int)):
                continue
            if source in complements and _spares(mask, zeros.get(source, 0)):
                operands = (complements[source], mask, 0, _MASKED_COMPLEMENT)
                found[-1] = Instruction("lop3.b32", item.dsts, operands)
    return remove_dead(found)


def _spares(mask: int, upper: int) -> bool:
    """Whether a mask has none of the upper bits."""
    return (mask & 0xFFFFFFFF) >> (32 - upper) == 0


def _note(
    target: object,
    source: object,
    counts: dict[Register, int],
    complements: dict[Register, Register],
) -> None:
    """Keeps that a register is another's complement, where neither ever changes."""
    if not (isinstance(target, Register) and isinstance(source, Register)):
        return
    if is_fixed(target, counts) and is_fixed(source, counts):
        complements[target] = source


def _shifted(
    item: Instruction,
    counts: dict[Register, int],
    complements: dict[Register, Register],
    zeros: dict[Register, int],
) -> list[Item]:
    """The shift of what a shifted complement is of."""
    target, (source, amount) = item.dsts[0], item.srcs
    if not (isinstance(source, Register) and source in complements and source not in zeros):
        return []
    if not (isinstance(target, Register) and isinstance(amount, int) and 0 < amount < 32):
        return []
    if not is_fixed(target, counts):
        return []
    plain = Register(RegisterKind.B32, 0, target.region)
    complements[target], zeros[target] = plain, amount
    return [Instruction("shr.u32", (plain,), (complements[source], amount))]
