"""Statements: control flow as a generator that yields where a thread group has to wait."""

from __future__ import annotations

import enum
from collections.abc import Generator
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeAlias

from tileloom.layouts import LayoutError

from ..diagnostics import ExecutionError, Location, VMError
from ..dtypes import DtypeError
from ..expr import Expr
from ..instruction import Instruction
from ..ir import Block, Break, For, Group, If, Part, Return, Statement, While
from ..packing import PackingError
from ..semantics import rules
from ..types import GlobalType, ScalarType
from .group import Blocked, ThreadGroup, World
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


Wait: TypeAlias = "Blocked | Spin | Several"
Run: TypeAlias = Generator[Wait, None, Outcome]


def execute(group: ThreadGroup, block: Block) -> Run:
    """Run statements in order; yields while the group has to wait, and says how they ended."""
    number = 0
    while number < len(block):
        statement = block[number]
        number += 1
        if isinstance(statement, Instruction):
            yield from _instruction(group, statement)
            continue
        if isinstance(statement, Group):
            # Groups that follow each other run together, and so do those with nothing in between
            # but what they can't change and nobody waits for.
            run = list(takewhile(_goes_with_groups, block[number - 1 :]))
            number += len(run) - 1
            for each in run:
                if isinstance(each, Instruction):
                    yield from _instruction(group, each)
            yield from _run_groups(group, [each for each in run if isinstance(each, Group)])
            continue
        outcome = yield from _control(group, statement)
        if outcome is not Outcome.NEXT:
            return outcome
    return Outcome.NEXT


def _goes_with_groups(statement: Statement) -> bool:
    """Whether it is a group, or makes a scalar or view of what is known before groups run."""
    if not isinstance(statement, Instruction):
        return isinstance(statement, Group)
    result = statement.result
    makes = result is not None and isinstance(result.type, ScalarType | GlobalType)
    return makes and not statement.effect and not any(True for _ in statement.mutated())


def _instruction(group: ThreadGroup, instruction: Instruction) -> Generator[Wait, None, None]:
    blocked = step(group, instruction)
    while blocked is not None:
        yield blocked
        blocked = step(group, instruction)


@dataclass(eq=False)
class Task:
    """A started block or group; `wait` is what it waited for last."""

    group: ThreadGroup
    run: Run
    wait: Wait | None = None
    seen: int = -1  # `World.writes` when it last ran

    def can_run(self, world: World) -> bool:
        """Whether running it now can achieve anything."""
        match self.wait:
            case Blocked():
                return self.wait.ready()
            case Spin(idle=True):
                return self.seen != world.writes
            case Several(tasks):
                return any(task.can_run(world) for task in tasks)
        return True

    def advance(self, world: World) -> bool:
        """Runs until it waits again; false once it has ended."""
        self.seen = world.writes
        try:
            self.wait = next(self.run)
        except StopIteration:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Several:
    """Groups of a block, none of which can go on."""

    tasks: tuple[Task, ...]

    @property
    def location(self) -> Location | None:
        """Where the first of them waits."""
        wait = self.tasks[0].wait
        return None if wait is None else wait.location


def _run_groups(group: ThreadGroup, groups: list[Group]) -> Run:
    """Run the groups at the same time; one that has threads of an earlier one runs after it."""
    waiting = [(statement, group.part.inside(statement)) for statement in groups]
    live: list[Task] = []
    while waiting or live:
        waiting = _start_groups(group, waiting, live)
        ready = [task for task in live if task.can_run(group.world)]
        if not ready:
            yield Several(tuple(live))
            continue
        task = group.world.random.choice(ready)
        if not task.advance(group.world):
            live.remove(task)
            group.stream.end(task.group.stream)
    return Outcome.NEXT


def _start_groups(
    group: ThreadGroup, waiting: list[tuple[Group, Part]], live: list[Task]
) -> list[tuple[Group, Part]]:
    """Starts the groups whose threads are free; those that must wait on."""
    held = [task.group.part for task in live]
    left = []
    for statement, part in waiting:
        if any(part.meets(other) for other in held):
            left.append((statement, part))
        else:
            inner = group.start(part)
            live.append(Task(inner, execute(inner, statement.body)))
        held.append(part)
    return left


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
