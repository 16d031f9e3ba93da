"""Programs without some of their statements, and without what needs those."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from tileloom.vm.expr import references
from tileloom.vm.instruction import Instruction
from tileloom.vm.instructions.create import AllocRegisters
from tileloom.vm.instructions.memory import AllocShared
from tileloom.vm.ir import (
    Block,
    For,
    Function,
    Group,
    If,
    Statement,
    Value,
    While,
    blocks_of,
    reads,
    walk,
)
from tileloom.vm.types import GlobalType


def without_filled(function: Function, doomed: Collection[int]) -> tuple[Function, list[int]]:
    """As `without`; registers and shared tiles that nothing fills any more go too."""
    statements = list(walk(function.body))
    doomed = set(doomed)
    while True:
        rest, kept = without(function, doomed)
        lost = [s for n, s in enumerate(statements) if n not in set(kept)]
        empty = {v for s in lost if isinstance(s, Instruction) for v in _filled(s)}
        more = {
            n
            for n in kept
            if isinstance(s := statements[n], AllocShared | AllocRegisters) and s.result in empty
        }
        if not more:
            return rest, kept
        doomed |= more


def _filled(instruction: Instruction) -> Iterable[Value]:
    yield from instruction.mutated()
    target = getattr(instruction, "target", None)
    if isinstance(target, Value):
        yield target


def without(function: Function, doomed: Collection[int]) -> tuple[Function, list[int]]:
    """The function without the statements of these numbers (in `walk` order), and without those
    that read what they define; and the numbers of those that are left."""
    statements = list(walk(function.body))
    numbers = {id(s): number for number, s in enumerate(statements)}
    lost = {id(statements[number]) for number in doomed}
    gone: set[Value] = set()
    for statement in statements:
        if id(statement) not in lost and not gone.isdisjoint(_needed(statement)):
            lost.add(id(statement))
        if id(statement) in lost:
            lost.update(id(inner) for block in blocks_of(statement) for inner in walk(block))
            gone.update(_defined(statement))
    for statement in statements:
        if isinstance(statement, While) and _is_endless(statement, lost):
            lost.add(id(statement))
    kept: list[int] = []
    body = _kept(function.body, lost, numbers, kept)
    return replace(function, body=body), kept


def _is_endless(loop: While, lost: set[int]) -> bool:
    """Whether a loop has lost a statement that changes its condition."""
    deciding = set(references(loop.condition))
    return any(
        id(s) in lost and isinstance(s, Instruction) and not deciding.isdisjoint(s.mutated())
        for s in walk(loop.body)
    )


def _needed(statement: Statement) -> Iterable[Value]:
    yield from reads(statement)
    if isinstance(statement, Instruction) and statement.result is not None:
        type_ = statement.result.type
        if isinstance(type_, GlobalType):
            for expr in (*type_.shape, *type_.strides):
                yield from references(expr)


def _defined(statement: Statement) -> Iterable[Value]:
    for each in (statement, *(s for block in blocks_of(statement) for s in walk(block))):
        if isinstance(each, Instruction) and each.result is not None:
            yield each.result


def _kept(
    block: Block, lost: set[int], numbers: dict[int, int], kept: list[int]
) -> tuple[Statement, ...]:
    """The statements that are left; their numbers are appended to `kept` in `walk` order."""
    found: list[Statement] = []
    for statement in block:
        if id(statement) in lost:
            continue
        at = len(kept)
        kept.append(numbers[id(statement)])
        match statement:
            case For(body=body) | While(body=body) | Group(body=body):
                inner = _kept(body, lost, numbers, kept)
                if not inner:
                    del kept[at:]
                    continue
                statement = replace(statement, body=inner)
            case If(then=then, orelse=orelse):
                sides = [_kept(side, lost, numbers, kept) for side in (then, orelse)]
                if not any(sides):
                    del kept[at:]
                    continue
                statement = replace(statement, then=sides[0], orelse=sides[1])
        found.append(statement)
    return tuple(found)


def without_unused_views(function: Function) -> Function:
    """The function without results that nothing reads, and then without unread parameters."""
    while True:
        used = {value for statement in walk(function.body) for value in _needed(statement)}
        unread = [
            number
            for number, s in enumerate(walk(function.body))
            if isinstance(s, Instruction)
            and s.result is not None
            and s.result not in used
            and not s.effect
        ]
        if not unread:
            break
        function, _ = without(function, unread)
    used |= {value for extent in function.grid for value in references(extent)}
    return replace(function, params=tuple(p for p in function.params if p in used))
