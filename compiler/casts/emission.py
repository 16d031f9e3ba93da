"""Plans as PTX: one instruction for each operation."""

from __future__ import annotations

from collections.abc import Sequence

from ..ptx import Builder, Operand, Register, RegisterKind, Vector
from .plan import Half, Plan, Word

B16, B32 = RegisterKind.B16, RegisterKind.B32


def emit_plan(builder: Builder, plan: Plan, inputs: Sequence[Register]) -> list[Register]:
    """Emits a plan's operations; returns the registers of its outputs.

    Constants are shared and leave the loops; all else is emitted where the builder stands.
    """
    assert len(inputs) >= plan.num_inputs, "a plan wants more words than the tile has"
    words = dict(enumerate(inputs[: plan.num_inputs]))
    halves: dict[int, tuple[Register, Register]] = {}

    def operand(source: Word | Half | int) -> Operand:
        match source:
            case Word(number):
                return words[number]
            case Half(number, high):
                if number not in halves:
                    halves[number] = _split(builder, words[number])
                return halves[number][high]
        return source

    for op in plan.ops:
        value = builder.pure if op.is_constant else builder.compute
        words[op.dst] = value(op.opcode, B32, *(operand(source) for source in op.srcs))
    return [words[number] for number in plan.outputs]


def _split(builder: Builder, word: Register) -> tuple[Register, Register]:
    """The halves of a word. ptxas reads them in place: no instruction remains."""
    low, high = builder.once(B16), builder.once(B16)
    builder.emit("mov.b32", (Vector((low, high)),), (word,))
    return low, high
