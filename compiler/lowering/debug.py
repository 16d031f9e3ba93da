"""Lowering of checks and promises. A failed check speaks through the device's `assert`."""

from __future__ import annotations

from tileloom.vm.expr import Binary, Const, Expr
from tileloom.vm.instructions.debug import Assert, Assume, Trap

from ..emit.calls import emit_failure
from ..emit.context import Context
from ..emit.linear import Facts, Linear
from ..emit.scalars import scalar_kind
from ..ptx import Register, RegisterKind
from .registry import lowering

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


@lowering(Assume)
def lower_assume(context: Context, instruction: Assume) -> None:
    assume(context, instruction.condition)


def assume(context: Context, condition: Expr) -> None:
    """Learns from a condition that holds: `x % c == 0` and bounds of x by constants."""
    match condition:
        case Binary("and", lhs, rhs):
            assume(context, lhs)
            assume(context, rhs)
        case Binary("==", Binary("%", value, Const(divisor)), Const(0)) if divisor:
            _learn(context, value, Facts(divisor=int(divisor)))
        case Binary(op, value, Const(bound)) if op in _FLIPPED:
            _bound(context, op, value, bound)
        case Binary(op, Const(bound), value) if op in _FLIPPED:
            _bound(context, _FLIPPED[op], value, bound)


def _bound(context: Context, op: str, value: Expr, bound: float) -> None:
    if not isinstance(bound, int):
        return
    facts = {
        "<": Facts(hi=bound - 1), "<=": Facts(hi=bound), ">": Facts(lo=bound + 1),
        ">=": Facts(lo=bound), "==": Facts(lo=bound, hi=bound),
    }[op]  # fmt: skip
    _learn(context, value, facts)


def _learn(context: Context, value: Expr, facts: Facts) -> None:
    if scalar_kind(value) != "int":
        return
    form: Linear = context.scalars.integer(value)
    if len(form.terms) == 1 and form.const == 0:
        ((register, coefficient),) = form.terms.items()
        if coefficient == 1 and register.region is not None:
            context.facts.learn(register, facts)


@lowering(Assert)
def lower_assert(context: Context, instruction: Assert) -> None:
    condition = context.scalars.predicate(instruction.condition)
    if condition is True:
        return
    failed: Register | bool = True
    if isinstance(condition, Register):
        failed = context.builder.pure("not.pred", RegisterKind.PRED, condition)
    with context.guarded(failed):
        emit_failure(context, instruction.complaint(), instruction.location)


@lowering(Trap)
def lower_trap(context: Context, instruction: Trap) -> None:
    if instruction.message:
        emit_failure(context, f"trap: {instruction.message}", instruction.location)
    context.builder.emit("trap")
