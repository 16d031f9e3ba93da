"""The IR: values, statements and functions. Its whole grammar:

    Function  := name params num_warps grid Block
    Block     := Statement*
    Statement := Instruction | For(index, lower, upper, step, Block) | While(condition, Block)
               | If(condition, Block, Block) | Break | Return
               | Group(warps, Block)

Tiles and `var` scalars are mutable registers, not SSA values: an instruction may write a `Mutated`
operand in place, and statements run in order. Everything here is immutable; a pass builds a new
function (`rewrite`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from .expr import Expr, references, substitute
from .instruction import Instruction

if TYPE_CHECKING:
    from tileloom.layouts import MemoryLayout, RegisterLayout

    from .diagnostics import Location
    from .types import Type


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """A named thing of a program: two values are the same only if they are the same object."""

    name: str
    type: Type
    location: Location | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """The name in the user's words: `%x` in a text, `x` in Python."""
        in_python = self.location is not None and self.location.text is None
        return self.name if in_python else f"%{self.name}"


@dataclass(frozen=True, eq=False)
class For:
    """`for %index in lower to upper step step`; the bounds are read once, before the first turn.

    `unroll` asks for that many copies of the body a turn (1: none; 0: all of it).
    """

    index: Value
    lower: Expr
    upper: Expr
    step: Expr
    body: Block
    unroll: int = 1
    location: Location | None = None


@dataclass(frozen=True, eq=False)
class While:
    """Runs the body as long as the condition, read before each turn, holds."""

    condition: Expr
    body: Block
    location: Location | None = None


@dataclass(frozen=True, eq=False)
class If:
    condition: Expr
    then: Block
    orelse: Block = ()
    location: Location | None = None


@dataclass(frozen=True, eq=False)
class Break:
    """Leaves the innermost loop."""

    location: Location | None = None


@dataclass(frozen=True, eq=False)
class Return:
    """Ends the block's work."""

    location: Location | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """What a part of the threads around it runs by itself; the others go on behind it.

    `warps` are its first warp and their number, the first counted among the warps around it; None
    means one thread of the first warp, the hardware says which. Groups that directly follow each
    other and have no thread in common run at the same time.
    """

    warps: tuple[int, int] | None
    body: Block
    location: Location | None = None


Statement: TypeAlias = Instruction | For | While | If | Break | Return | Group
Block: TypeAlias = tuple[Statement, ...]


@dataclass(frozen=True, eq=False)
class Function:
    """A VM program: what one thread block does, and the grid of blocks it runs on.

    `grid` holds 1 to 3 extents over the parameters; `num_warps` is the block's size. `cluster` is
    the extent, in blocks, of the clusters the grid is made of (empty: none). `min_blocks` (blocks
    resident on a multiprocessor) is a hint to the assembler.
    `layout_names` are the names the text form gives to layouts; they mean nothing to a pass.
    """

    name: str
    params: tuple[Value, ...]
    num_warps: int
    grid: tuple[Expr, ...]
    body: Block
    min_blocks: int = 0
    cluster: tuple[int, ...] = ()
    location: Location | None = None
    layout_names: tuple[tuple[str, RegisterLayout | MemoryLayout], ...] = ()

    @property
    def num_threads(self) -> int:
        return 32 * self.num_warps

    @property
    def threads(self) -> Part:
        """All threads of a block."""
        return Part(0, self.num_threads)

    @property
    def cluster_extents(self) -> tuple[int, int, int]:
        """Blocks of a cluster along x, y and z; 1 each without clusters."""
        x, y, z = (*self.cluster, 1, 1, 1)[:3]
        return x, y, z

    def text(self) -> str:
        """The program as text; `parse` reads it back."""
        from .text import print_function

        return print_function(self)


def blocks_of(statement: Statement) -> tuple[Block, ...]:
    """The blocks nested directly in a statement."""
    if isinstance(statement, Instruction):
        return ()
    if isinstance(statement, For | While | Group):
        return (statement.body,)
    return (statement.then, statement.orelse) if isinstance(statement, If) else ()


def walk(block: Block) -> Iterator[Statement]:
    """Every statement of a block, nested ones after the one that holds them."""
    for statement in block:
        yield statement
        if not isinstance(statement, Instruction):
            for inner in blocks_of(statement):
                yield from walk(inner)


def instructions(block: Block) -> Iterator[Instruction]:
    """Every instruction of a block and the blocks in it, in the order of the text."""
    found: list[Instruction] = []
    _collect(block, found)
    return iter(found)


def _collect(block: Block, found: list[Instruction]) -> None:
    for statement in block:
        if isinstance(statement, Instruction):
            found.append(statement)
        else:
            for inner in blocks_of(statement):
                _collect(inner, found)


@dataclass(frozen=True)
class Part:
    """Threads of a block: the first one's number and how many. `single`: one of a warp's."""

    first: int
    num_threads: int
    single: bool = False

    @property
    def label(self) -> str:
        """The threads in words."""
        if self.single:
            return f"a thread of warp {self.first // 32}"
        return f"warps {self.first // 32} to {(self.first + self.num_threads) // 32}"

    def meets(self, other: Part) -> bool:
        """Whether the two may have a thread in common."""
        ends = [p.first + (32 if p.single else p.num_threads) for p in (self, other)]
        return max(self.first, other.first) < min(ends)

    def covers(self, other: Part) -> bool:
        """Whether all of the other's threads are among these."""
        end = other.first + (32 if other.single else other.num_threads)
        within = self.first <= other.first and end <= self.first + self.num_threads
        return self == other or within

    def inside(self, group: Group) -> Part:
        """The threads of a group that stands in code of this part."""
        if group.warps is None:
            return Part(self.first, 1, True)
        first, count = group.warps
        return Part(self.first + 32 * first, 32 * count)


def instructions_by_part(block: Block, part: Part) -> Iterator[tuple[Instruction, Part]]:
    """Every instruction in the order of the text, with the threads that run it."""
    for statement in block:
        if isinstance(statement, Instruction):
            yield statement, part
            continue
        own = part.inside(statement) if isinstance(statement, Group) else part
        for inner in blocks_of(statement):
            yield from instructions_by_part(inner, own)


def expressions_of(statement: Statement) -> Iterator[Expr]:
    """The scalar expressions a statement reads itself (nested blocks excluded)."""
    match statement:
        case Instruction():
            yield from statement.expressions()
        case For(lower=lower, upper=upper, step=step):
            yield from (lower, upper, step)
        case While(condition=condition) | If(condition=condition):
            yield condition


def reads(statement: Statement) -> Iterator[Value]:
    """The values a statement reads itself, scalars in expressions included."""
    if isinstance(statement, Instruction):
        for operand in statement.operands():
            if isinstance(operand, Value):
                yield operand
    for expr in expressions_of(statement):
        yield from references(expr)


def map_values(block: Block, mapping: Callable[[Value], Value]) -> Block:
    """The block with every value replaced."""
    return tuple(_map_statement(statement, mapping) for statement in block)


def _map_statement(statement: Statement, mapping: Callable[[Value], Value]) -> Statement:
    def expr(e: Expr) -> Expr:
        return substitute(e, mapping)

    match statement:
        case Instruction():
            return statement.with_values(mapping)
        case For():
            return replace(
                statement,
                index=mapping(statement.index),
                lower=expr(statement.lower),
                upper=expr(statement.upper),
                step=expr(statement.step),
                body=map_values(statement.body, mapping),
            )
        case While():
            condition = expr(statement.condition)
            return replace(statement, condition=condition, body=map_values(statement.body, mapping))
        case If():
            return replace(
                statement,
                condition=expr(statement.condition),
                then=map_values(statement.then, mapping),
                orelse=map_values(statement.orelse, mapping),
            )
        case Group():
            return replace(statement, body=map_values(statement.body, mapping))
    return statement


def rewrite(block: Block, rule: Callable[[Statement], Iterable[Statement]]) -> Block:
    """The block with each statement replaced by what `rule` gives, innermost blocks first."""
    out: list[Statement] = []
    for statement in block:
        match statement:
            case For() | While() | Group():
                statement = replace(statement, body=rewrite(statement.body, rule))
            case If():
                then, orelse = rewrite(statement.then, rule), rewrite(statement.orelse, rule)
                statement = replace(statement, then=then, orelse=orelse)
        out.extend(rule(statement))
    return tuple(out)
