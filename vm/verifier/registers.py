"""How many registers the threads of each 4 warps have, as `set_registers` moves them.

All threads of a block start with the same number. What a block has it keeps: who takes more waits
until others have given enough back. The hardware takes a `more` to fewer registers than the threads
have, or a `less` to more, for an illegal instruction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..diagnostics import VMValueError
from ..instruction import Instruction
from ..instructions.registers import SetRegisters
from ..ir import Block, For, Function, Group, If, Part, While, instructions

_REGISTERS = 1 << 16  # of a multiprocessor
_MOST = 256  # of a thread
_THREADS = 128  # that change together
_UNIT = 8
States = dict[int, frozenset[int]]  # of 4 warps each: what their threads may have
_START = -1


def starting_registers(function: Function) -> int | None:
    """How many registers a thread starts with; None if no group changes them.

    As many as the multiprocessor has for the blocks that shall fit, but no more than any group
    takes, and than each of those takes that take some before they give any.
    """
    if not any(isinstance(i, SetRegisters) for i in instructions(function.body)):
        return None
    walk = _Walk()
    walk.block(function.body, function.threads, _at_start(function))
    most = largest_start(function, walk.changes)
    return min([most, *(count for change, count in walk.first if change == "more")])


def largest_start(function: Function, changes: Sequence[SetRegisters]) -> int:
    """What the assembler lets threads start with, if nobody tells it."""
    threads = function.num_threads * max(1, function.min_blocks)
    taken = [each.count for each in changes if each.change == "more"]
    return min(_REGISTERS // threads // _UNIT * _UNIT, max(taken, default=_MOST))


def check_registers(function: Function) -> None:
    """Checks what groups give and take.

    Raises:
        VMValueError: a change the wrong way, or more registers than the block has.
    """
    start = starting_registers(function)
    if start is None:
        return
    walk = _Walk(start)
    states = walk.block(function.body, function.threads, _at_start(function))
    at_least = sum(min(counts) if _START not in counts else 0 for counts in states.values())
    at_least += start * sum(_START in counts for counts in states.values())
    if at_least > start * len(states):
        last = [change for change in walk.changes if change.change == "more"][-1]
        raise VMValueError(
            f"the groups take {at_least} registers in all for each of their threads, the block has "
            f"{start * len(states)}: somebody would wait forever",
            last.location,
            hint="let another group give some back: `change = less`",
        )


def _at_start(function: Function) -> States:
    groups = -(-function.num_threads // _THREADS)
    return {group: frozenset([_START]) for group in range(groups)}


@dataclass
class _Walk:
    """Follows the changes. `first` are those of groups that have what they started with; without
    a `start` nothing is checked."""

    start: int | None = None
    changes: list[SetRegisters] = field(default_factory=list)
    first: list[tuple[str, int]] = field(default_factory=list)
    with_changes: dict[Block, bool] = field(default_factory=dict)  # of loops: whether any are in it

    def block(self, block: Block, part: Part, states: States) -> States:
        """What the groups may have behind a block."""
        for statement in block:
            if isinstance(statement, Instruction) and not isinstance(statement, SetRegisters):
                continue
            match statement:
                case SetRegisters():
                    states = states | dict(self._change(statement, part, states))
                case Group():
                    states = self.block(statement.body, part.inside(statement), states)
                case If(then=then, orelse=orelse):
                    states = _joined(
                        self.block(then, part, states), self.block(orelse, part, states)
                    )
                case For(body=body) | While(body=body) if self._has_changes(body):
                    once = _joined(states, self.block(body, part, states))
                    states = _joined(once, self.block(body, part, once))
        return states

    def _has_changes(self, body: Block) -> bool:
        if body not in self.with_changes:
            found = any(isinstance(i, SetRegisters) for i in instructions(body))
            self.with_changes[body] = found
        return self.with_changes[body]

    def _change(
        self, change: SetRegisters, part: Part, states: States
    ) -> Iterator[tuple[int, frozenset[int]]]:
        self.changes.append(change)
        for group in range(part.first // _THREADS, (part.first + part.num_threads) // _THREADS):
            if group not in states:
                continue
            for count in sorted(states[group]):
                if count == _START:
                    self.first.append((change.change, change.count))
                self._check(change, group, count)
            yield group, frozenset([change.count])

    def _check(self, change: SetRegisters, group: int, count: int) -> None:
        if self.start is None:
            return
        has = self.start if count == _START else count
        right = change.count >= has if change.change == "more" else change.count <= has
        if not right:
            raise VMValueError(
                f"`set_registers`: `{change.change}` to {change.count}, but the threads of warps "
                f"{4 * group} to {4 * group + 4} {'start with' if count == _START else 'have'} "
                f"{has} registers",
                change.location,
                hint="`less` gives registers back, `more` takes some",
            )


def _joined(one: States, other: States) -> States:
    return {group: one[group] | other[group] for group in one}
