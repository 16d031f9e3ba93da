"""Statements: control flow as a generator that yields where a thread group has to wait."""

from __future__ import annotations

import enum
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias

from tileloom.layouts import LayoutError

from ..diagnostics import ExecutionError, Location, VMError
from ..dtypes import DtypeError
from ..expr import Expr
from ..instruction import Instruction
from ..ir import Block, Break, For, If, Return, Statement, While
from ..packing import PackingError
from ..semantics import rules
from .group import Blocked, ThreadGroup
from .scalars import PoisonError


class Outcome(enum.Enum):
    """How a block of statements ended."""

    NEXT = enum.auto()
    BREAK = enum.auto()
    RETURN = enum.auto()


@dataclass(frozen=True, slots=True)
class Spin:
    """The end of a turn of a `while` loop; `idle` if the turn changed nothing."""

    location: Location | None
    idle: bool


Wait: TypeAlias = Blocked | Spin
Run: TypeAlias = Generator[Wait, None, Outcome]


def execute(group: ThreadGroup, block: Block) -> Run:
    """Run statements in order; yields while the group has to wait, and says how they ended."""
    for statement in block:
        if isinstance(statement, Instruction):
            blocked = step(group, statement)
            while blocked is not None:
                yield blocked
                blocked = step(group, statement)
            continue
        outcome = yield from _control(group, statement)
        if outcome is not Outcome.NEXT:
            return outcome
    return Outcome.NEXT


def step(group: ThreadGroup, instruction: Instruction) -> Blocked | None:
    """Execute one instruction, or say why it can't run yet."""
    group.stream.clocks.current = group.stream
    try:
        result = rules()[type(instruction)](group, instruction)
    except (VMError, PoisonError, ArithmeticError, ValueError) as error:
        raise _located(group, error, instruction.location, f"`{instruction.name}`") from None
    if isinstance(result, Blocked):
        return result
    if instruction.result is not None:
        group.env[instruction.result] = result
    return None


def _control(group: ThreadGroup, statement: Statement) -> Run:
    match statement:
        case For():
            return (yield from _for(group, statement))
        case While():
            return (yield from _while(group, statement))
        case If(condition, then, orelse, location):
            chosen = then if _decide(group, condition, location, "`if`") else orelse
            return (yield from execute(group, chosen))
        case Break():
            return Outcome.BREAK
        case Return():
            return Outcome.RETURN
    raise AssertionError(statement)


def _for(group: ThreadGroup, loop: For) -> Run:
    where = (group, loop.location, "`for`")
    lower, upper, increment = (_integer(e, *where) for e in (loop.lower, loop.upper, loop.step))
    if increment <= 0:
        raise ExecutionError(f"`for`: the step is {increment}, not positive", loop.location)
    for index in range(lower, upper, increment):
        group.env[loop.index] = index
        outcome = yield from execute(group, loop.body)
        if outcome is Outcome.RETURN:
            return outcome
        if outcome is Outcome.BREAK:
            break
    return Outcome.NEXT


def _while(group: ThreadGroup, loop: While) -> Run:
    state = None
    while _decide(group, loop.condition, loop.location, "`while`"):
        outcome = yield from execute(group, loop.body)
        if outcome is Outcome.RETURN:
            return outcome
        if outcome is Outcome.BREAK:
            break
        previous, state = state, (group.mutations, group.world.writes)
        yield Spin(loop.location, idle=previous == state)
    return Outcome.NEXT


def _decide(group: ThreadGroup, condition: Expr, location: Location | None, what: str) -> bool:
    try:
        return bool(group.scalar(condition))
    except (PoisonError, ArithmeticError, ValueError) as error:
        raise _located(group, error, location, what) from None


def _integer(expr: Expr, group: ThreadGroup, location: Location | None, what: str) -> int:
    try:
        return int(group.scalar(expr))
    except (PoisonError, ArithmeticError, ValueError) as error:
        raise _located(group, error, location, what) from None


def _located(group: ThreadGroup, error: Exception, location: Location | None, what: str) -> VMError:
    """The error with the place of the statement, and the block it happened in."""
    match error:
        case VMError():
            if error.location is None:
                error.location = location
                if not error.message.startswith("`"):
                    error.message = f"{what}: {error.message}"
        case PoisonError(poison=poison):
            error = ExecutionError(f"{what} depends on an uninitialised scalar", location)
            error.note(f"it comes from {poison.origin}", poison.location)
        case ZeroDivisionError():
            error = ExecutionError(f"{what}: integer division by zero", location)
        case DtypeError() | PackingError() | LayoutError() | ArithmeticError():
            error = ExecutionError(f"{what}: {error}", location)
        case _:
            raise error
    if any(group.block):
        error.note(f"in block {list(group.block)}")
    return error
