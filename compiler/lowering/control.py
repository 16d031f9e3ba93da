"""Lowering of statements: loops, branches, and the instructions between them."""

from __future__ import annotations

from dataclasses import dataclass

from tileloom.vm.instruction import Instruction
from tileloom.vm.ir import Block, Break, For, Group, If, Return, While, blocks_of
from tileloom.vm.types import ScalarType

from ..emit.context import Context
from ..emit.linear import Facts, Linear, gcd
from ..ptx import Pair, Register, RegisterKind, Symbol
from .guards import guard, is_only_arrival
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
            case Group():
                _lower_group(context, statement)


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


def _lower_group(context: Context, group: Group) -> None:
    """The group's threads run the body, the others branch around it.

    In a branch that keeps its code, a group without loops keeps its own too.
    """
    builder, around = context.builder, context.part
    part = around.inside(group)
    end = builder.fresh_label("end")
    with builder.region(closed=builder.closed and not _has_loop(group.body)):
        if group.warps is None:
            _keep_one_thread(context, end)
        else:
            warp = Linear.of(context.warp())
            first = (part.first - around.first) // 32
            for before in (
                context.scalars.compare("<", warp, Linear({}, first)),
                context.scalars.compare("<", Linear({}, first + part.num_threads // 32 - 1), warp),
            ):
                assert before is not True, "an empty group"
                if isinstance(before, Register):
                    builder.branch(end, before)
        with context.within(part):
            lower_block(context, group.body)
        builder.place(end)


def _keep_one_thread(context: Context, end: str) -> None:
    """All threads but one of the first warp branch to `end`."""
    builder = context.builder
    thread = context.thread()
    if not context.target.has("elect"):
        others = builder.pure("setp.ne.s32", PRED, thread, 0)
        builder.branch(end, others)
        return
    if context.num_threads > 32:
        builder.branch(end, builder.pure("setp.gt.s32", PRED, thread, 31))
    elected = builder.storage(PRED)
    builder.emit("elect.sync", (Pair(Symbol("_"), elected),), (0xFFFFFFFF,))
    builder.branch(end, elected, negated=True)


def _has_loop(block: Block) -> bool:
    """Whether a block's code may run several times."""
    return any(
        isinstance(statement, For | While) or any(map(_has_loop, blocks_of(statement)))
        for statement in block
    )


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
    """One loop, or with `unroll` = n a loop of n turns at a time and one for what is left."""
    runs = context.scalars.compare("<", lower, upper)
    if runs is False:
        return
    end = context.builder.fresh_label("end")
    with context.builder.region():
        context.break_labels.append(end)
        copies = loop.unroll if step.is_const else 1
        if copies <= 1:
            _turns(context, loop, _Range(lower, upper, step), runs)
        else:
            stop = upper + -(copies - 1) * step.const
            span = context.facts.divisor(upper - lower)
            first = context.scalars.compare("<", lower, stop)
            index = _turns(context, loop, _Range(lower, stop, step, copies), first)
            if span % (copies * step.const):
                left = context.scalars.compare("<", Linear.of(index), upper)
                rest = _Range(Linear.of(index), upper, step)
                _turns(context, loop, rest, left)
        context.break_labels.pop()
        context.builder.place(end)


@dataclass(frozen=True)
class _Range:
    """The values of a loop's index; `copies` of the body stand in one turn."""

    lower: Linear
    upper: Linear
    step: Linear
    copies: int = 1


def _turns(context: Context, loop: For, span: _Range, runs: Register | bool) -> Register:
    """Emits turns from `lower` while the index is below `upper`; gives the index register."""
    builder, scalars = context.builder, context.scalars
    type_ = loop.index.type
    assert isinstance(type_, ScalarType)
    forms = (span.lower, span.upper, span.step)
    wide = type_.dtype.bits == 64 or any(map(scalars.is_wide, forms))
    suffix, kind = ("64", B64) if wide else ("32", B32)
    start, stop = scalars.register(span.lower, wide), scalars.register(span.upper, wide)
    stride = scalars.register(span.step * span.copies, wide)
    index = builder.storage(kind)
    builder.emit(f"mov.b{suffix}", (index,), (start,))
    if runs is False:
        return index
    top, done = builder.fresh_label("loop"), builder.fresh_label("done")
    if isinstance(runs, Register):
        builder.branch(done, runs, negated=True)
    with builder.region():
        builder.place(top)
        # What a turn sees of the index never changes while it runs.
        seen = builder.once(kind)
        builder.emit(f"mov.b{suffix}", (seen,), (index,))
        _learn_index(context, seen, span)
        for copy in range(span.copies):
            context.bind_scalar(loop.index, Linear.of(seen) + span.step * copy)
            lower_block(context, loop.body)
        builder.emit(f"add.s{suffix}", (index,), (seen, stride))
        again = builder.compute(f"setp.lt.s{suffix}", PRED, index, stop)
        builder.branch(top, again)
        builder.place(done)
    return index


def _learn_index(context: Context, index: Register, span: _Range) -> None:
    """lower <= index <= upper - 1; with a step that divides the span, index <= upper - step."""
    facts, step = context.facts, span.step
    last = span.upper + -1
    if step.is_const and facts.divisor(span.upper - span.lower) % step.const == 0:
        last = span.upper + -step.const
    divisor = gcd(facts.divisor(span.lower), facts.divisor(step * span.copies))
    facts.learn(index, Facts(facts.lower(span.lower), facts.upper(last), divisor))
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
    # Two sides outside of loops, or with loops of their own, compute what each needs: it would
    # take registers all the way to there. Of one, and in innermost loops, what can leave is placed
    # before the branch, by the region around both.
    seldom = not context.break_labels or _has_loop((statement,))
    closed = bool(statement.orelse) and seldom
    with builder.region():
        start = len(builder.recent())
        builder.branch(otherwise if statement.orelse else end, condition, negated=True)
        with builder.region(closed):
            lower_block(context, statement.then)
        if not statement.orelse and is_only_arrival(builder.recent()[start + 1 :]):
            body = builder.recent()[start + 1 :]
            del builder.recent()[start:]
            guard(builder, body, condition)
            return
        if statement.orelse:
            builder.branch(end)
            builder.place(otherwise)
            with builder.region(closed):
                lower_block(context, statement.orelse)
        builder.place(end)
