"""What a function's IR says of its parameters: what a launch can check before it starts.

Only what every run does counts: the views and promises in the function's outermost block whose
expressions read parameters alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tileloom.vm.diagnostics import LaunchError
from tileloom.vm.expr import (
    Binary,
    Const,
    Expr,
    Ref,
    Select,
    Special,
    Unary,
    apply_binary,
    children,
    references,
)
from tileloom.vm.instruction import Effect, Instruction
from tileloom.vm.instructions.debug import Assume
from tileloom.vm.instructions.memory import GlobalView
from tileloom.vm.ir import Function, Value, instructions
from tileloom.vm.types import GlobalType, PointerType, ScalarType


@dataclass(frozen=True)
class View:
    """A view of the memory behind parameter number `param`."""

    param: int
    type: GlobalType


@dataclass(frozen=True)
class Facts:
    """What is known of a function's parameters, which are given by their numbers.

    `written`: those whose memory may be written. `views`: what must lie inside their arrays.
    `alignments`: bytes the addresses must be multiples of. `assumptions`: what must hold.
    `sizing`: the scalars that decide all this and the grid.
    """

    written: frozenset[int]
    views: tuple[View, ...]
    alignments: dict[int, int]
    assumptions: tuple[Assume, ...]
    sizing: frozenset[int]


def facts_of(function: Function) -> Facts:
    """The facts of a function."""
    origins = _origins(function)
    known = {p for p in function.params if isinstance(p.type, ScalarType)}
    outermost = [s for s in function.body if isinstance(s, Instruction)]
    views = tuple(_views(outermost, origins, known))
    assumptions = tuple(
        s for s in outermost if isinstance(s, Assume) and _is_known(s.condition, known)
    )
    expressions = [*function.grid, *(a.condition for a in assumptions)]
    expressions += [e for v in views for e in (*v.type.shape, *v.type.strides)]
    deciding = {value for e in expressions for value in references(e)}
    return Facts(
        written=frozenset(_written(function, origins)),
        views=views,
        alignments=_alignments(function, origins),
        assumptions=assumptions,
        sizing=frozenset(i for i, p in enumerate(function.params) if p in deciding),
    )


def evaluate(expr: Expr, values: Mapping[Value, Any]) -> Any:
    """The value of an expression over the parameters' values.

    Raises:
        KeyError: it reads something else.
        LaunchError: it divides by zero.
    """
    match expr:
        case Const(value):
            return value
        case Ref(value):
            return values[value]
        case Unary("-", operand):
            return -evaluate(operand, values)
        case Unary(_, operand):
            return not evaluate(operand, values)
        case Binary(op, lhs, rhs):
            try:
                return apply_binary(op, evaluate(lhs, values), evaluate(rhs, values))
            except ZeroDivisionError:
                raise LaunchError("the grid or a view's shape divides by zero") from None
        case Select(condition, then, otherwise):
            chosen = then if evaluate(condition, values) else otherwise
            return evaluate(chosen, values)
    raise KeyError(expr)


def _is_known(expr: Expr, known: set[Value]) -> bool:
    if isinstance(expr, Ref):
        return expr.value in known
    return not isinstance(expr, Special) and all(_is_known(c, known) for c in children(expr))


def _origins(function: Function) -> dict[Value, int]:
    """Every view of global memory, and the pointer parameter behind it."""
    found = {p: i for i, p in enumerate(function.params) if isinstance(p.type, PointerType)}
    for instruction in instructions(function.body):
        result = instruction.result
        if result is None or not isinstance(result.type, GlobalType):
            continue
        for operand in instruction.operands():
            if isinstance(operand, Value) and operand in found:
                found[result] = found[operand]
    return found


def _written(function: Function, origins: Mapping[Value, int]) -> Iterator[int]:
    for instruction in instructions(function.body):
        if instruction.effect & Effect.WRITES_MEMORY:
            for operand in _targets(instruction):
                if operand in origins:
                    yield origins[operand]


def _targets(instruction: Instruction) -> Iterator[Value]:
    """What an instruction that writes memory writes: its `target`, or anything if it has none."""
    target = getattr(instruction, "target", None)
    operands = [target] if target is not None else instruction.operands()
    return (o for o in operands if isinstance(o, Value))


def _views(
    outermost: list[Instruction], origins: Mapping[Value, int], known: set[Value]
) -> Iterator[View]:
    for instruction in outermost:
        result = instruction.result
        if result is None or result not in origins or not isinstance(result.type, GlobalType):
            continue
        if all(_is_known(e, known) for e in (*result.type.shape, *result.type.strides)):
            yield View(origins[result], result.type)


def _alignments(function: Function, origins: Mapping[Value, int]) -> dict[int, int]:
    needed: dict[int, int] = {}
    for instruction in instructions(function.body):
        if isinstance(instruction, GlobalView) and instruction.pointer in origins:
            assert isinstance(instruction.pointer, Value)
            param = origins[instruction.pointer]
            needed[param] = max(needed.get(param, 1), instruction.alignment)
    return needed
