"""A program that is being written: its statements, what is visible, its parameters.

Productions add statements through `emit`; what an instruction refuses (`VMError`) a production
gives up. A tile is known by bounds of its values (`Known`), a scalar by its own; both hold wherever
the value is visible, however often loops run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np

from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.expr import Const, Expr, Ref, Special
from tileloom.vm.instruction import Instruction
from tileloom.vm.instructions.cluster import ClusterBarrier
from tileloom.vm.instructions.sync import Barrier
from tileloom.vm.ir import Block, Function, Return, Statement, Value, walk
from tileloom.vm.types import PointerType, RegType, ScalarType, SharedType, Type
from tileloom.vm.verifier.types import check_type

from .known import Known, Refusal

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(eq=False)
class Tile:
    """A register tile. `budget` is set for one that loops add to: what they may still add."""

    value: Value
    known: Known
    budget: float | None = None
    used: bool = False

    @property
    def type(self) -> RegType:
        assert isinstance(self.value.type, RegType)
        return self.value.type

    @property
    def dtype(self) -> Dtype:
        return self.type.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape


@dataclass(frozen=True)
class Scalar:
    """A scalar expression with bounds of its value; `is_variable`: an instruction may write it."""

    expr: Expr
    low: float
    high: float
    dtype: Dtype
    is_variable: bool = False

    @property
    def value(self) -> Value:
        assert isinstance(self.expr, Ref)
        return self.expr.value


@dataclass(eq=False)
class Shared:
    """A shared tile. `pending`: threads may still access it since the last barrier."""

    value: Value
    known: Known
    pending: bool = False

    @property
    def type(self) -> SharedType:
        assert isinstance(self.value.type, SharedType)
        return self.value.type


@dataclass(eq=False)
class Parameter:
    """A parameter with its argument; `error` and `signed` as of what is stored there (an output),
    None for an input."""

    value: Value
    argument: Bytes | int | float | bool
    known: Known | None = None


@dataclass
class Scope:
    """What the statements of one block have defined. `trips` bounds how often it runs."""

    statements: list[Statement] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    scalars: list[Scalar] = field(default_factory=list)
    shared: list[Shared] = field(default_factory=list)
    places: list[tuple[Expr, int]] = field(default_factory=list)  # turn of the loop, turns at most
    trips: int = 1
    in_loop: bool = False


class Draft:
    """The state of one program. `free`: sums need not be exact."""

    def __init__(self, random: Random, free: bool) -> None:
        self.random = random
        self.free = free
        self.num_warps = random.choices((1, 2, 3, 4, 8), (4, 4, 2, 3, 1))[0]
        self.parameters: list[Parameter] = []
        self.scopes = [Scope()]
        self.grid: list[tuple[Expr, int]] = []
        self.cluster: tuple[int, ...] = ()
        self.more: tuple[Callable[..., None], ...] = ()  # productions that come more often
        self.families: tuple[int, ...] = ()  # how often inputs are of each family of dtypes
        self.few: set[int] = set()  # of 4 warps each: those that have given registers back
        self.has_products = False  # sums of warp groups that live on
        self.production = 0
        self.productions: dict[int, int] = {}  # by the statement's identity
        self._names: dict[str, int] = {}

    # Names, values, statements

    def name(self, stem: str) -> str:
        """A name not used before."""
        number = self._names.get(stem, 0)
        self._names[stem] = number + 1
        return f"{stem}{number}"

    @property
    def threads(self) -> int:
        return 32 * self.num_warps

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    @property
    def trips(self) -> int:
        """How often the current block runs, at most."""
        return self.scope.trips

    def append(self, statement: Statement) -> None:
        """Adds a statement to the current block."""
        self.productions[id(statement)] = self.production
        self.scope.statements.append(statement)

    def emit(
        self, cls: type[Instruction], annotation: Type | None = None, **fields: Any
    ) -> Value | None:
        """Adds an instruction; its result, if it has one.

        Raises:
            Refusal: the instruction doesn't take these operands.
        """
        wants = fields.pop("wants_result", cls.has_result)
        instruction = cls(**fields)
        try:
            type_ = instruction.result_type(annotation)
            if type_ is not None:
                check_type(type_, "", self.threads, None)
        except (VMError, ValueError) as error:
            raise Refusal(str(error)) from None
        if not wants:
            self.append(instruction)
            return None
        assert type_ is not None
        value = Value(self.name(cls.name[0]), type_)
        self.append(replace(instruction, result=value))
        return value

    def tile(
        self, cls: type[Instruction], known: Known, annotation: Type | None = None, **fields: Any
    ) -> Tile:
        """`emit` of an instruction that makes a tile, which is visible from now on."""
        self.accept(known)
        for operand in fields.values():
            if isinstance(operand, Value):
                self.use(operand)
        value = self.emit(cls, annotation, **fields)
        assert value is not None
        made = Tile(value, known)
        self.scope.tiles.append(made)
        return made

    def accept(self, known: Known) -> Known:
        """What is known of a result, which must be certain unless the program is free.

        Raises:
            Refusal: it isn't.
        """
        if known.error and not self.free:
            raise Refusal("an inexact sum")
        return known

    def use(self, value: Value) -> None:
        """Notes that a tile is read."""
        for each in self.tiles():
            if each.value is value:
                each.used = True

    def parameter(self, stem: str, type_: Type, argument: Any, known: Known | None = None) -> Value:
        """A new parameter of the function."""
        value = Value(self.name(stem), type_)
        self.parameters.append(Parameter(value, argument, known))
        return value

    def pointer(self, stem: str, element: Dtype, data: Bytes, known: Known | None = None) -> Value:
        """A new pointer to packed elements; `known` of what is stored there, for an output."""
        return self.parameter(stem, PointerType(element), data, known)

    def scalar_parameter(self, name: str, element: Dtype, number: Any) -> Scalar:
        """A new scalar parameter, of a known number."""
        value = self.parameter(name, ScalarType(element), number)
        scalar = Scalar(Ref(value), number, number, element)
        self.scopes[0].scalars.append(scalar)
        return scalar

    # What is visible

    def tiles(self) -> Iterator[Tile]:
        """Every visible tile."""
        for scope in self.scopes:
            yield from scope.tiles

    def readable(self) -> list[Tile]:
        """Tiles whose values are what `known` says here: all but those that loops add to."""
        in_loop = self.scope.in_loop
        return [t for t in self.tiles() if t.budget is None or not in_loop]

    def scalars(self) -> list[Scalar]:
        """Every visible scalar."""
        return [scalar for scope in self.scopes for scalar in scope.scalars]

    def shared(self) -> list[Shared]:
        """Every visible shared tile."""
        return [shared for scope in self.scopes for shared in scope.shared]

    def choose(self, *kinds: str, dtypes: tuple[str, ...] = (), rank: int = 0) -> Tile:
        """A visible tile of some kinds (or dtypes), recent and unread ones first.

        Raises:
            Refusal: there is none.
        """
        found = [
            t
            for t in self.readable()
            if (not kinds or t.dtype.kind in kinds)
            and (not dtypes or t.dtype.name in dtypes)
            and (not rank or len(t.shape) == rank)
        ]
        if not found:
            raise Refusal("no tile")
        weights = [(1 + number) * (1 if t.used else 4) for number, t in enumerate(found)]
        return self.random.choices(found, weights)[0]

    # Blocks

    @contextmanager
    def block(self, trips: int = 1, in_loop: bool | None = None) -> Iterator[Scope]:
        """A nested block that runs up to `trips` times for each time of the current one."""
        inherited = self.scope.in_loop if in_loop is None else in_loop or self.scope.in_loop
        inner = Scope(places=list(self.scope.places), trips=self.trips * trips, in_loop=inherited)
        before = {id(s): s.pending for s in self.shared()}
        if in_loop:
            for shared in self.shared():
                shared.pending = True
        self.scopes.append(inner)
        try:
            yield inner
        finally:
            self.scopes.pop()
        for shared in self.shared():
            shared.pending = shared.pending or before[id(shared)] or bool(in_loop)

    def barrier(self, *needing: Shared) -> None:
        """A barrier, unless all of `needing` can do without."""
        if needing and not any(shared.pending for shared in needing):
            return
        self.emit(Barrier)
        for shared in self.shared():
            shared.pending = False

    def head(self, statement: Statement) -> None:
        """Adds a statement before all others."""
        self.productions[id(statement)] = -1
        self.scopes[0].statements.insert(0, statement)

    def meet(self) -> None:
        """All blocks of the cluster meet."""
        self.emit(ClusterBarrier)
        for shared in self.shared():
            shared.pending = False

    @property
    def may_have_ended(self) -> bool:
        """Whether some blocks may have returned before this place."""
        return any(isinstance(s, Return) for s in walk(tuple(self.scopes[0].statements)))

    def function(self, name: str) -> Function:
        """The finished program."""
        assert len(self.scopes) == 1
        body: Block = tuple(self.scopes[0].statements)
        params = tuple(p.value for p in self.parameters)
        grid = tuple(extent for extent, _ in self.grid) or (Const(1),)
        return Function(name, params, self.num_warps, grid, body, cluster=self.cluster)

    # The block's place

    @property
    def num_blocks(self) -> int:
        return int(np.prod([count for _, count in self.grid], dtype=int))

    def block_number(self) -> Expr:
        """The block's number in the grid."""
        number: Expr = Const(0)
        for axis, (_, count) in reversed(list(zip("xyz", self.grid, strict=False))):
            number = Special(f"block.{axis}") + number * count
        return number


I32, BOOL = dtype("i32"), dtype("bool")
