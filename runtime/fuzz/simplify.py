"""Simpler forms of a program, one change at a time: for the search for the smallest one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tileloom.vm.expr import Const, Expr
from tileloom.vm.instruction import Instruction, Role, roles
from tileloom.vm.ir import For, Function, Statement, Value, map_values, rewrite, walk
from tileloom.vm.types import RegType


def simpler_settings(function: Function) -> Iterator[Function]:
    """Fewer warps, fewer blocks, no unrolling."""
    for warps in (1, 2):
        if warps < function.num_warps:
            yield replace(function, num_warps=warps)
    if function.grid != (Const(1),):
        yield replace(function, grid=(Const(1),))

    def rolled(statement: Statement) -> tuple[Statement, ...]:
        if isinstance(statement, For) and statement.unroll != 1:
            return (replace(statement, unroll=1),)
        return (statement,)

    if any(isinstance(s, For) and s.unroll != 1 for s in walk(function.body)):
        yield replace(function, body=rewrite(function.body, rolled))


def without_a_layout(function: Function) -> Iterator[Function]:
    """One register tile whose layout is inferred."""
    values: list[Value] = []
    for statement in walk(function.body):
        value = getattr(statement, "result", None)
        if value is not None and isinstance(value.type, RegType) and value.type.layout is not None:
            values.append(value)
    for value in values:
        type_ = value.type
        assert isinstance(type_, RegType)
        plain = Value(value.name, replace(type_, layout=None))
        body = map_values(
            function.body,
            lambda v, old=value, new=plain: new if v is old else v,  # type: ignore[misc]
        )
        yield replace(function, body=body)


def simpler_expressions(function: Function) -> Iterator[Function]:
    """One index, bound or scalar operand that is the constant 0 (a bound: 1)."""
    for number in range(len(list(walk(function.body)))):
        for place in range(_places(list(walk(function.body))[number])):
            yield replace(function, body=_replaced(function, number, place))


def _places(statement: Statement) -> int:
    if isinstance(statement, For):
        return 2
    return len(_own(statement)) if isinstance(statement, Instruction) else 0


def _own(instruction: Instruction) -> list[tuple[str, int]]:
    """The fields that hold scalar expressions, and the place in the field's tuple (-1: none)."""
    found: list[tuple[str, int]] = []
    for name, role in roles(type(instruction)).items():
        value = getattr(instruction, name)
        if role is Role.INDICES:
            found += [(name, n) for n, e in enumerate(value) if not isinstance(e, Const)]
        elif role is not Role.ATTRIBUTE and isinstance(value, Expr):
            found += [(name, -1)] * (not isinstance(value, Const))
    return found


def _replaced(function: Function, number: int, place: int) -> tuple[Statement, ...]:
    chosen = list(walk(function.body))[number]

    def rule(statement: Statement) -> tuple[Statement, ...]:
        if isinstance(statement, For) and statement.location is chosen.location:
            if place == 0:
                return (replace(statement, lower=Const(0)),)
            return (replace(statement, upper=Const(1)),)
        if statement is not chosen or not isinstance(statement, Instruction):
            return (statement,)
        name, at = _own(statement)[place]
        value: Any = getattr(statement, name)
        new: Any = Const(0)
        if at >= 0:
            new = (*value[:at], Const(0), *value[at + 1 :])
        return (replace(statement, **{name: new}),)

    return rewrite(function.body, rule)
