"""Branches that become guards: an arrival at a barrier needs no jump around it."""

from __future__ import annotations

from ..ptx import (
    Builder,
    Instruction,
    Item,
    Label,
    Register,
    RegisterKind,
    has_effect,
    reads_memory,
)


def is_only_arrival(items: list[Item]) -> bool:
    """Whether a branch holds no more than the arrival at a counting barrier."""
    instructions = [item for item in items if isinstance(item, Instruction)]
    effects = [i for i in instructions if has_effect(i.opcode) or reads_memory(i.opcode)]
    arrivals = [i for i in effects if i.opcode.startswith("mbarrier.arrive.release")]
    return (
        not any(isinstance(item, Label) for item in items)
        and len(instructions) <= 16
        and len(arrivals) == 1
        and all(i is arrivals[0] or i.opcode == "bar.warp.sync" for i in effects)
        and all(i.predicate is None for i in instructions if i is not arrivals[0])
        and all(register.region is not None for i in instructions for register in i.defs)
    )


def guard(builder: Builder, items: list[Item], condition: Register) -> None:
    """Emits a branch that is only an arrival without a jump, which would part the products in
    flight around it. What comes before the arrival may run in any case."""
    for item in items:
        if isinstance(item, Instruction) and item.opcode.startswith("mbarrier.arrive"):
            predicate = condition
            if item.predicate is not None:
                assert not item.negated
                predicate = builder.once(RegisterKind.PRED)
                builder.emit("and.pred", (predicate,), (condition, item.predicate))
            builder.emit(item.opcode, item.dsts, item.srcs, predicate)
        else:
            builder.recent().append(item)
