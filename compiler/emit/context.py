"""What lowering rules work on: the builder, the bindings of values, and the block's threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from tileloom.layouts import MemoryLayout, RegisterLayout
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import Expr
from tileloom.vm.instruction import Instruction
from tileloom.vm.ir import Function, Statement, Value
from tileloom.vm.types import RegType, ScalarType

from ..ptx import Builder, Register, RegisterKind, Symbol, special
from ..targets import Target
from .headlines import headline
from .linear import Facts, FactTable, Linear
from .scalars import Scalars
from .tiles import Tile, register_count, register_kind, tile_type

if TYPE_CHECKING:
    from ..passes.shared import SharedPlan

SHARED = Symbol("smem")


@dataclass(frozen=True, eq=False)
class GlobalBinding:
    """A view of global memory: pointer register and its alignment in bytes."""

    pointer: Register
    alignment: int
    dtype: Dtype
    shape: tuple[Linear, ...]
    strides: tuple[Linear, ...]


@dataclass(frozen=True, eq=False)
class SharedBinding:
    """A tile in shared memory, `offset` bytes after the block's shared base.

    `base` is the address of that shared base in another block of the cluster, if its tile is meant.
    """

    offset: int
    dtype: Dtype
    layout: MemoryLayout
    base: Register | None = None


@dataclass(eq=False)
class Context:
    """The state of one function's lowering."""

    function: Function
    target: Target
    builder: Builder
    scalars: Scalars
    mutated: frozenset[Value]
    shared_plan: SharedPlan
    tiles: dict[Value, Tile] = field(default_factory=dict)
    views: dict[Value, GlobalBinding] = field(default_factory=dict)
    shared: dict[Value, SharedBinding] = field(default_factory=dict)
    pointers: dict[Value, Register] = field(default_factory=dict)
    break_labels: list[str] = field(default_factory=list)

    @property
    def facts(self) -> FactTable:
        return self.scalars.facts

    @property
    def scratch(self) -> dict[Instruction, int]:
        """Byte offset of each instruction's scratch memory."""
        return self.shared_plan.scratch

    @property
    def num_threads(self) -> int:
        return self.function.num_threads

    @property
    def cluster_size(self) -> int:
        """Blocks in a cluster; 1 without clusters."""
        return prod(self.function.cluster_extents)

    # Threads

    def thread(self) -> Register:
        """The thread's number in the block."""
        register = self.builder.pure("mov.u32", RegisterKind.B32, special("tid.x"))
        self.facts.learn(register, Facts(0, self.num_threads - 1))
        return register

    def digit(self, step: int, extent: int, thread: Linear | None = None) -> Linear:
        """thread // step % extent as a linear form; the running thread if none is given."""
        thread = thread or Linear.of(self.thread())
        return self.scalars.modulo(self.scalars.floor_divide(thread, step), extent)

    def spatial_index(
        self, layout: RegisterLayout, dim: int, thread: Linear | None = None
    ) -> Linear:
        """The share of a thread (the running one if none is given) of index[dim]."""
        total = Linear({}, 0)
        for step, extent, stride in layout.spatial_modes_of(dim):
            outermost = step * extent >= layout.num_threads
            if outermost and layout.num_threads <= self.num_threads:
                # Surplus threads are predicated off, so the digit above needs no mask.
                extent = -(-self.num_threads // step)
            total = total + self.digit(step, extent, thread) * stride
        return total

    def owns(self, layout: RegisterLayout, single_replica: bool = False) -> Register | bool:
        """Whether the thread holds a part of the tile (and is the first replica, if asked)."""
        thread = Linear.of(self.thread())
        parts: list[Register | bool] = [
            self.scalars.compare("<", thread, Linear({}, layout.num_threads))
        ]
        if single_replica:
            for step, extent, _ in layout.spatial_modes_of(-1):
                digit = self.digit(step, extent)
                parts.append(self.scalars.compare("==", digit, Linear({}, 0)))
        return self.scalars.conjunction(*parts)

    # Tiles

    def tile(self, value: Value | Expr) -> Tile:
        """The registers of a tile operand."""
        assert isinstance(value, Value)
        return self.tiles[value]

    def define(self, value: Value) -> Tile:
        """Fresh registers for a tile result; a tile defined in a loop keeps its registers."""
        type_ = value.type
        assert isinstance(type_, RegType)
        kind = register_kind(type_)
        count = register_count(type_)
        if value in self.mutated:
            registers = self.builder.storages(count, kind)
        else:
            registers = [self.builder.once(kind) for _ in range(count)]
        tile = Tile(type_, registers)
        self.tiles[value] = tile
        return tile

    def bind(self, value: Value, registers: list[Register]) -> None:
        """Makes a result of existing registers: shared with their owners, or copied.

        A value that is mutated anywhere lives in storage of its own, so registers that are
        assigned once may be shared by any number of values, and storage by none.
        """
        type_ = tile_type(value)
        assert len(registers) == register_count(type_), f"{value} has {len(registers)} registers"
        if value not in self.mutated:
            fixed = [r if r.region is not None else self._copied(r) for r in registers]
            self.tiles[value] = Tile(type_, fixed)
            return
        tile = self.define(value)
        for target, register in zip(tile.registers, registers, strict=True):
            self.copy(target, register)

    def _copied(self, register: Register) -> Register:
        fresh = self.builder.once(register.kind)
        self.copy(fresh, register)
        return fresh

    def copy(self, target: Register, source: Register) -> None:
        """target = source"""
        self.builder.emit(f"mov.{target.kind.ptx_type}", (target,), (source,))

    def bind_scalar(self, value: Value, bound: Linear | Register) -> None:
        """Makes a scalar result of a register or a linear form."""
        assert isinstance(value.type, ScalarType)
        self.scalars.bindings[value] = bound

    @contextmanager
    def guarded(self, condition: Register | bool) -> Iterator[None]:
        """Code that only runs where the condition holds."""
        if condition is True:
            yield
            return
        assert isinstance(condition, Register), "code under a false condition"
        end = self.builder.fresh_label("skip")
        with self.builder.region():
            self.builder.branch(end, condition, negated=True)
            yield
            self.builder.place(end)

    def describe(self, statement: Statement) -> None:
        """Writes the statement above its code."""
        self.builder.comment(headline(statement), statement.location)

    def barrier(self) -> None:
        """All threads of the block meet."""
        self.builder.emit("bar.sync", (), (0,))

    def shared_base(self) -> Register:
        """The block's shared memory base as a 32-bit shared address."""
        return self.builder.pure("mov.u32", RegisterKind.B32, SHARED)


class LoweringError(VMError):
    """A program the compiler can't lower yet, with the place and what to write instead."""

    kind = "lowering error"
