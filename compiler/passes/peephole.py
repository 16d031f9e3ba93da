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
    copies = [
        item
        for item in items
        if type(item) is Instruction and item.opcode in _COPIES and item.predicate is None
    ]
    replaced: dict[Register, Register] = {}
    for copy in copies:
        target, source = copy.dsts[0], copy.srcs[0]
        if not (isinstance(target, Register) and isinstance(source, Register)):
            continue
        source = replaced.get(source, source)
        if is_fixed(target, definitions) and is_fixed(source, definitions):
            replaced[target] = source
    if replaced:
        for item in items:
            if type(item) is Instruction and not replaced.keys().isdisjoint(item.uses()):
                item.replace_uses(replaced)
    return items


def definitions_of(items: list[Item]) -> dict[Register, int]:
    """How often each register is written."""
    counts: dict[Register, int] = {}
    for item in items:
        if type(item) is Instruction:
            for register in item.defs():
                counts[register] = counts.get(register, 0) + 1
    return counts


def is_fixed(register: Register, definitions: dict[Register, int]) -> bool:
    """Whether a register holds one value wherever it can be read."""
    return register.region is not None and definitions.get(register, 0) == 1


def remove_dead(items: list[Item]) -> list[Item]:
    """Drops instructions without effect whose results nothing live reads."""
    writers: dict[Register, list[Instruction]] = {}
    pending: list[Instruction] = []
    live: set[int] = set()
    for item in items:
        if type(item) is not Instruction:
            continue
        for register in item.defs():
            writers.setdefault(register, []).append(item)
        if has_effect(item.opcode):
            live.add(id(item))
            pending.append(item)
    while pending:
        for register in pending.pop().uses():
            for writer in writers.pop(register, ()):
                if id(writer) not in live:
                    live.add(id(writer))
                    pending.append(writer)
    return [item for item in items if type(item) is not Instruction or id(item) in live]


def renumber(items: list[Item]) -> dict[RegisterKind, int]:
    """Names registers by first appearance; gives the number of each kind."""
    counts: dict[RegisterKind, int] = dict.fromkeys(RegisterKind, 0)
    seen: set[Register] = set()
    for item in items:
        if type(item) is not Instruction:
            continue
        for register in item.defs() + item.uses():
            if register not in seen:
                seen.add(register)
                register.name = f"%{register.kind.prefix}{counts[register.kind]}"
                counts[register.kind] += 1
    return counts
