"""Lowering of statements: loops, branches, and the instructions between them."""

from __future__ import annotations

from tileloom.vm.instruction import Instruction
from tileloom.vm.ir import Block, Break, For, If, Return, While

from ..emit.context import Context
from ..emit.linear import Facts, Linear, gcd
from ..ptx import Register, RegisterKind
from .registry import lower_instruction

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64


def lower_block(context: Context, block: Block) -> None:
    """Emits the code of statements in order."""
    for statement in block:
        context.describe(statement)
        match statement:
            case Instruction():
                lower_instruction(context, statement)
            case For():
                _lower_for(context, statement)
            case While():
                _lower_while(context, statement)
            case If():
                _lower_if(context, statement)
            case Break():
                assert context.break_labels, "break outside a loop"
                context.builder.branch(context.break_labels[-1])
            case Return():
                context.builder.emit("ret")


def _lower_for(context: Context, loop: For) -> None:
    lower, upper, step = (context.scalars.integer(e) for e in (loop.lower, loop.upper, loop.step))
    constant = lower.is_const and upper.is_const and step.is_const
    short = loop.unroll == 0 or upper.const - lower.const <= step.const
    if constant and short and not _has_break(loop.body):
        for index in range(lower.const, upper.const, step.const):
            context.bind_scalar(loop.index, Linear({}, index))
            lower_block(context, loop.body)
        return
    _emit_loop(context, loop, lower, upper, step)


def _has_break(block: Block) -> bool:
    """Whether a block leaves the loop whose body it is."""
    for statement in block:
        if isinstance(statement, Break):
            return True
        if isinstance(statement, If) and (
            _has_break(statement.then) or _has_break(statement.orelse)
        ):
            return True
    return False


def _emit_loop(context: Context, loop: For, lower: Linear, upper: Linear, step: Linear) -> None:
    builder, scalars = context.builder, context.scalars
    forms = (lower, upper, step)
    wide = loop.index.type.dtype.bits == 64 or any(map(scalars.is_wide, forms))  # type: ignore[union-attr]
    suffix, kind = ("64", B64) if wide else ("32", B32)
    end, top = builder.fresh_label("end"), builder.fresh_label("loop")
    start, stop = scalars.register(lower, wide), scalars.in_register(upper, wide)
    if upper.is_const:
        stop_operand: Register | int = upper.const
    else:
        stop_operand = stop
    stride = scalars.register(step, wide)
    runs = scalars.compare("<", lower, upper)
    if runs is False:
        return
    with builder.region():
        index = builder.once(kind)
        _learn_index(context, index, lower, upper, step)
        builder.emit(f"mov.b{suffix}", (index,), (start,))
        if isinstance(runs, Register):
            builder.branch(end, runs, negated=True)
        builder.place(top)
        context.break_labels.append(end)
        context.bind_scalar(loop.index, Linear.of(index))
        lower_block(context, loop.body)
        context.break_labels.pop()
        builder.emit(f"add.s{suffix}", (index,), (index, stride))
        again = builder.storage(PRED)
        builder.emit(f"setp.lt.s{suffix}", (again,), (index, stop_operand))
        builder.branch(top, again)
        builder.place(end)


def _learn_index(
    context: Context, index: Register, lower: Linear, upper: Linear, step: Linear
) -> None:
    """lower <= index <= upper - 1; with a step that divides the span, index <= upper - step."""
    facts = context.facts
    last = upper + -1
    if step.is_const and facts.divisor(upper - lower) % step.const == 0:
        last = upper + -step.const
    divisor = gcd(facts.divisor(lower), facts.divisor(step))
    facts.learn(index, Facts(facts.lower(lower), facts.upper(last), divisor or 1))
    facts.bound_above(index, last)


def _lower_while(context: Context, loop: While) -> None:
    builder = context.builder
    top, end = builder.fresh_label("while"), builder.fresh_label("end")
    with builder.region():
        builder.place(top)
        condition = context.scalars.predicate(loop.condition)
        if condition is False:
            builder.place(end)
            return
        if isinstance(condition, Register):
            builder.branch(end, condition, negated=True)
        context.break_labels.append(end)
        lower_block(context, loop.body)
        context.break_labels.pop()
        builder.branch(top)
        builder.place(end)


def _lower_if(context: Context, statement: If) -> None:
    builder = context.builder
    condition = context.scalars.predicate(statement.condition)
    if isinstance(condition, bool):
        lower_block(context, statement.then if condition else statement.orelse)
        return
    otherwise, end = builder.fresh_label("else"), builder.fresh_label("end")
    # One region around both sides: what leaves either of them is placed before the branch.
    with builder.region():
        builder.branch(otherwise if statement.orelse else end, condition, negated=True)
        with builder.region():
            lower_block(context, statement.then)
        if statement.orelse:
            builder.branch(end)
            builder.place(otherwise)
            with builder.region():
                lower_block(context, statement.orelse)
        builder.place(end)
