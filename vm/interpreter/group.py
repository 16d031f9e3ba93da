"""A running thread group: its values, and what semantics rules may ask of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..diagnostics import ExecutionError
from ..dtypes import Dtype
from ..expr import Const, Expr, Ref
from ..instruction import Instruction
from ..ir import Part, Value
from ..semantics.values import Mask, Tile, tile_of_numbers
from ..types import RegType, SharedType
from .barriers import BarrierArray
from .clocked import ClockedTile
from .clocks import Stream
from .engine import BulkStores
from .memory import Buffer, GlobalTensor
from .products import Products
from .scalars import Env, Evaluate, Poison, checked, compile_expr, normalize
from .shared import PendingCopy, SharedTile

if TYPE_CHECKING:
    from ..diagnostics import Location
    from .cluster import Cluster


@dataclass(frozen=True, slots=True)
class Blocked:
    """An instruction that can't go on until `ready()`; `reason` says what it waits for."""

    reason: str
    location: Location | None
    ready: Callable[[], bool]


@dataclass(eq=False)
class World:
    """What all blocks of a launch share."""

    checks: bool
    exact: bool = False  # `vm.ranges`
    random: Random = field(default_factory=Random)
    writes: int = 0  # stores to global memory: a spinning block waits for one
    _compiled: dict[int, tuple[Expr, Evaluate]] = field(default_factory=dict)
    _claims: dict[Buffer, NDArray[np.int32]] = field(default_factory=dict)
    _numbers: dict[tuple[int, ...], int] = field(default_factory=dict)  # of claiming blocks

    def evaluate(self, expr: Expr, env: Env) -> Any:
        """The value of a scalar expression, which may be poison."""
        if isinstance(expr, Const):
            return expr.value
        if isinstance(expr, Ref):
            return env[expr.value]
        compiled = self._compiled.get(id(expr))
        if compiled is None:
            # The expression is kept too, so that its id stays its own.
            compiled = self._compiled[id(expr)] = (expr, compile_expr(expr, self.exact)[0])
        return compiled[1](env)

    def claim(self, buffer: Buffer, touched: NDArray[np.int64], block: tuple[int, ...]) -> None:
        """Note the bytes in which a block stores elements smaller than a byte.

        Raises:
            ExecutionError: another block stores to one of them: each rewrites the whole byte.
        """
        claims = self._claims.get(buffer)
        if claims is None:
            claims = self._claims[buffer] = np.full(buffer.data.size, -1, np.int32)
        mine = self._numbers.setdefault(block, len(self._numbers))
        others = [n for n in np.unique(claims[touched]).tolist() if n not in (-1, mine)]
        if others:
            other = list(self._numbers)[others[0]]
            raise ExecutionError(
                f"blocks {list(other)} and {list(block)} both store to one byte of "
                f"`%{buffer.name}`",
                notes=["its elements are smaller than a byte, and a thread stores whole bytes"],
                hint="choose tiles that end at whole bytes",
            )
        claims[touched] = mine


@dataclass(eq=False)
class ThreadGroup:
    """The threads that run one instruction stream: all of a block, or a part of them.

    `env` maps values to tiles, numbers, tensors and buffers, and `block.x` ... to integers.
    """

    world: World
    env: Env
    block: tuple[int, ...]
    stream: Stream
    shared: list[SharedTile] = field(default_factory=list)
    barriers: list[BarrierArray] = field(default_factory=list)
    mutations: int = 0  # writes to mutable registers: a loop without any is spinning
    copies: list[PendingCopy] = field(default_factory=list)  # not yet committed
    copy_groups: deque[list[PendingCopy]] = field(default_factory=deque)
    products: Products = field(default_factory=Products)
    cluster: Cluster | None = None  # None: a cluster of one block
    rank: int = 0  # in the cluster
    is_clocked: bool = False  # clocks order accesses, not barriers of the block alone
    stores: dict[tuple[int, bool], BulkStores] = field(default_factory=dict)  # by thread
    streams: dict[Part, Stream] = field(default_factory=dict)  # of the parts of the block

    @property
    def cluster_size(self) -> int:
        """Blocks of the cluster."""
        return 1 if self.cluster is None else len(self.cluster.groups)

    @property
    def bulk(self) -> BulkStores:
        """The bulk stores of the thread that starts them for the group."""
        return self.stores.setdefault((self.part.first, self.part.single), BulkStores())

    @property
    def part(self) -> Part:
        """Its threads."""
        return self.stream.part

    @property
    def num_threads(self) -> int:
        """How many threads it has."""
        return self.stream.part.num_threads

    def start(self, part: Part) -> ThreadGroup:
        """A part of the threads begins to run what stands in a group."""
        stream = self.streams.get(part)
        if stream is None:
            stream = self.streams[part] = Stream(self.stream.clocks, self.rank, part)
        self.stream.start(stream)
        inner = replace(self, env=dict(self.env), stream=stream, mutations=0)
        inner.copies, inner.copy_groups, inner.products = [], deque(), Products()
        return inner

    @property
    def checks(self) -> bool:
        return self.world.checks

    # Scalars

    def scalar(self, expr: Expr) -> Any:
        """The value of an expression; raises `PoisonError` if it has none."""
        return checked(self.world.evaluate(expr, self.env))

    def maybe_scalar(self, operand: Value | Expr) -> Any:
        """The value of a scalar, which may be poison."""
        expr = Ref(operand) if isinstance(operand, Value) else operand
        return self.world.evaluate(expr, self.env)

    def indices(self, exprs: Iterable[Expr]) -> tuple[int, ...]:
        """The values of an index list."""
        evaluate, env = self.world.evaluate, self.env
        return tuple(int(evaluate(expr, env)) for expr in exprs)

    # Tiles

    def tile(self, operand: Value | Expr) -> Tile:
        """A register tile."""
        assert isinstance(operand, Value)
        if self.products:
            self.products.check_read(operand)
        found = self.env[operand]
        assert isinstance(found, Tile), f"%{operand.name}"
        return found

    def operand(self, operand: Value | Expr, dtype: Dtype) -> Tile:
        """A register tile, or a scalar as a tile of rank 0 of that dtype."""
        if isinstance(operand, Value) and isinstance(operand.type, RegType):
            return self.tile(operand)
        number = self.maybe_scalar(operand)
        if isinstance(number, Poison):
            return tile_of_numbers(dtype, np.zeros(()), np.ones((), np.bool_))
        return tile_of_numbers(dtype, np.asarray(normalize(dtype, number)))

    def mutate(self, target: Value, tile: Tile) -> None:
        """Give a mutated register tile its new elements."""
        if self.products:
            self.products.check_write(target)
        self.env[target] = tile
        self.mutations += 1

    def assign(self, target: Value, element: Dtype, value: Any) -> None:
        """Give a mutable scalar its new value."""
        new, old = normalize(element, value), self.env[target]
        if isinstance(new, Poison) or isinstance(old, Poison) or new != old:
            self.mutations += 1
        self.env[target] = new

    # Memory

    def memory(self, operand: Value | Expr) -> GlobalTensor | SharedTile:
        """A global tensor or shared tile."""
        assert isinstance(operand, Value)
        found = self.env[operand]
        assert isinstance(found, GlobalTensor | SharedTile), f"%{operand.name}"
        return found

    def new_tile(self, name: str, type_: SharedType, location: Location | None) -> SharedTile:
        """A shared tile without values."""
        if self.is_clocked:
            return ClockedTile(name, type_, location, clocks=self.stream.clocks)
        return SharedTile(name, type_, location)

    def own(self, value: Value, tile: SharedTile) -> None:
        """Take a new shared tile of the block, in the place of one from an earlier turn."""
        if self.cluster is not None and self.checks:
            old = self.env.get(value)
            if isinstance(old, SharedTile) and not old.freed and old.blocks is not None:
                old.blocks.end(f"`%{old.name}` is allocated anew")
            self.cluster.shadow(tile, self.rank)
        self.shared.append(tile)

    def leave(self) -> None:
        """The block ends. Raises ExecutionError if another one may still access its memory."""
        for stores in self.stores.values():
            stores.end()
        for barrier in (each for array in self.barriers for each in array.barriers):
            barrier.end()
        if self.cluster is not None:
            self.cluster.leave(self.rank)

    def meet(self) -> None:
        """All threads of the block meet (a barrier)."""
        self.stream.meet()
        for tile in self.shared:
            tile.barrier()

    def meet_in_warps(self) -> None:
        """The threads of each warp meet."""
        for tile in self.shared:
            tile.warp_barrier()

    # Errors

    def refuse_poison(
        self, instruction: Instruction, operand: Value | Expr, poison: Mask | None, what: str
    ) -> None:
        """Raise ExecutionError if an element of a used tile has no value."""
        if poison is None or not self.checks or not poison.any():
            return
        at = [int(i) for i in np.argwhere(poison)[0]]
        notes: Sequence[tuple[str, Location | None]] = []
        if isinstance(operand, Value):
            notes = [(f"element {at} of `%{operand.name}` was never given a value", None)]
        raise ExecutionError(
            f"`{instruction.name}`: an uninitialised value {what}",
            instruction.location,
            notes=notes,
            hint="write every element (`full`, a `store` to shared memory) before it is used",
        )
