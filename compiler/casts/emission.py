"""Plans as PTX: one instruction for each operation."""

from __future__ import annotations

from collections.abc import Sequence

from ..ptx import Builder, Operand, Register, RegisterKind, Vector
from .plan import Half, Plan, Word

B16, B32 = RegisterKind.B16, RegisterKind.B32

# Operations with a 16-bit result, which stands in both halves of their word.
GIVES_HALF = {"cvt.rn.satfinite.e4m3x2.f32"}


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
        sources = [operand(source) for source in op.srcs]
        if op.opcode in GIVES_HALF:
            pair = builder.compute(op.opcode, B16, *sources)
            words[op.dst] = builder.compute("mov.b32", B32, Vector((pair, pair)))
            continue
        value = builder.pure if op.is_constant else builder.compute
        words[op.dst] = value(op.opcode, B32, *sources)
    return [words[number] for number in plan.outputs]


def _split(builder: Builder, word: Register) -> tuple[Register, Register]:
    """The halves of a word. ptxas reads them in place: no instruction remains."""
    low, high = builder.once(B16), builder.once(B16)
    builder.emit("mov.b32", (Vector((low, high)),), (word,))
    return low, high
