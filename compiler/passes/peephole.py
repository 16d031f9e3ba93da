"""Cleans emitted code: copies of registers that never change, and code nobody reads."""

from __future__ import annotations

from ..ptx import Instruction, Item, Register, RegisterKind, has_effect

_COPIES = frozenset({"mov.b32", "mov.b64", "mov.pred"})


def clean(items: list[Item]) -> list[Item]:
    """The items without redundant copies and dead code."""
    return remove_dead(forward_copies(items))


def forward_copies(items: list[Item]) -> list[Item]:
    """Reads the source of a copy instead of its target, where both are assigned once."""
    definitions = definitions_of(items)
    replaced: dict[Register, Register] = {}
    for item in items:
        if type(item) is not Instruction or item.opcode not in _COPIES or item.predicate:
            continue
        target, source = item.dsts[0], item.srcs[0]
        if not (isinstance(target, Register) and isinstance(source, Register)):
            continue
        source = replaced.get(source, source)
        if is_fixed(target, definitions) and is_fixed(source, definitions):
            replaced[target] = source
    if replaced:
        for item in items:
            if type(item) is Instruction and not replaced.keys().isdisjoint(item.uses):
                item.replace_uses(replaced)
    return items


def definitions_of(items: list[Item]) -> dict[Register, int]:
    """How often each register is written."""
    counts: dict[Register, int] = {}
    for item in items:
        if type(item) is Instruction:
            for register in item.defs:
                counts[register] = counts.get(register, 0) + 1
    return counts


def is_fixed(register: Register, definitions: dict[Register, int]) -> bool:
    """Whether a register holds one value wherever it can be read."""
    return register.region is not None and definitions.get(register, 0) == 1


def remove_dead(items: list[Item]) -> list[Item]:
    """Drops instructions without effect whose results nothing live reads."""
    first: dict[Register, Instruction] = {}  # that writes a register, and those that do, too
    others: dict[Register, list[Instruction]] = {}
    pending: list[Instruction] = []
    for item in items:
        if type(item) is not Instruction:
            continue
        for register in item.defs:
            if first.setdefault(register, item) is not item:
                others.setdefault(register, []).append(item)
        if has_effect(item.opcode):
            pending.append(item)
    live = set(pending)
    while pending:
        for register in pending.pop().uses:
            writer = first.pop(register, None)
            if writer is None:
                continue
            for each in (writer, *others.get(register, ())):
                if each not in live:
                    live.add(each)
                    pending.append(each)
    return [item for item in items if type(item) is not Instruction or item in live]


def renumber(items: list[Item]) -> dict[RegisterKind, int]:
    """Names registers by first appearance; gives the number of each kind."""
    counts: dict[RegisterKind, int] = dict.fromkeys(RegisterKind, 0)
    seen: set[Register] = set()
    for item in items:
        if type(item) is not Instruction:
            continue
        for register in item.defs + item.uses:
            if register not in seen:
                seen.add(register)
                kind = register.kind
                number = counts[kind]
                counts[kind] = number + 1
                register.name = f"%{kind.prefix}{number}"
    return counts
