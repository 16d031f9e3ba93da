"""What lowering rules work on: the builder, the bindings of values, and the block's threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from tileloom.layouts import MemoryLayout, RegisterLayout
from tileloom.vm.diagnostics import ResourceError, VMError
from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import Expr
from tileloom.vm.instruction import Instruction
from tileloom.vm.instructions.bulk import CopyBulk
from tileloom.vm.instructions.tensor import CopyTensor
from tileloom.vm.ir import Function, Part, Statement, Value, instructions
from tileloom.vm.tensor_maps import TensorMap
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


_MAX_BARRIERS = 16  # of a block; the first is that of all its threads


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
    # The groups around the code, and their threads' numbers.
    parts: list[tuple[Part, Register]] = field(default_factory=list)
    barriers: dict[Part, int] = field(default_factory=dict)  # their numbers
    tensor_maps: dict[TensorMap, int] = field(default_factory=dict)  # their numbers

    @property
    def facts(self) -> FactTable:
        return self.scalars.facts

    @property
    def scratch(self) -> dict[Instruction, int]:
        """Byte offset of each instruction's scratch memory."""
        return self.shared_plan.scratch

    @property
    def part(self) -> Part:
        """The threads that run the code."""
        return self.parts[-1][0] if self.parts else self.function.threads

    @property
    def num_threads(self) -> int:
        """How many threads run the code."""
        return self.part.num_threads

    @property
    def cluster_size(self) -> int:
        """Blocks in a cluster; 1 without clusters."""
        return prod(self.function.cluster_extents)

    @cached_property
    def uses_engine(self) -> bool:
        """Whether the copy engine writes to shared memory."""
        loads = (CopyBulk, CopyTensor)
        return any(isinstance(i, loads) for i in instructions(self.function.body))

    @cached_property
    def remote_barriers(self) -> frozenset[Value]:
        """The barriers at which threads or copies of the cluster's other blocks arrive."""
        found = set()
        for instruction in instructions(self.function.body):
            ranks = (getattr(instruction, name, None) for name in ("rank", "ranks"))
            barrier = getattr(instruction, "barrier", None)
            if isinstance(barrier, Value) and any(rank is not None for rank in ranks):
                found.add(barrier)
        return frozenset(found)

    # Threads

    def thread(self) -> Register:
        """The thread's number in its group."""
        if self.parts:
            return self.parts[-1][1]
        register = self.builder.pure("mov.u32", RegisterKind.B32, special("tid.x"))
        self.facts.learn(register, Facts(0, self.num_threads - 1))
        return register

    def warp(self) -> Register:
        """The warp's number in its group, which the assembler sees to be the same for its lanes."""
        pure, around = self.builder.pure, self.part
        warp = pure(
            "shr.u32", RegisterKind.B32, pure("mov.u32", RegisterKind.B32, special("tid.x")), 5
        )
        warp = pure("shfl.sync.idx.b32", RegisterKind.B32, warp, 0, 31, 0xFFFFFFFF)
        if around.first:
            warp = pure("sub.s32", RegisterKind.B32, warp, around.first // 32)
        self.facts.learn(warp, Facts(0, around.num_threads // 32 - 1))
        return warp

    @contextmanager
    def within(self, part: Part) -> Iterator[None]:
        """Code that only a part of the block's threads reaches."""
        # Computed here: what is known of the number holds for the part only.
        compute = self.builder.compute
        if part.single:
            number = compute("mov.b32", RegisterKind.B32, 0)
        else:
            thread = self.builder.pure("mov.u32", RegisterKind.B32, special("tid.x"))
            number = compute("sub.s32", RegisterKind.B32, thread, part.first)
        self.facts.learn(number, Facts(0, part.num_threads - 1))
        self.parts.append((part, number))
        with self.builder.region():
            yield
        self.parts.pop()

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
        """All threads of the group meet."""
        part = self.part
        if part == self.function.threads:
            self.builder.emit("bar.sync", (), (0,))
        elif part.num_threads == 32:
            self.builder.emit("bar.warp.sync", (), (0xFFFFFFFF,))
        elif not part.single:
            self.builder.emit("bar.sync", (), (self._barrier_number(part), part.num_threads))

    def _barrier_number(self, part: Part) -> int:
        number = self.barriers.setdefault(part, len(self.barriers) + 1)
        if number >= _MAX_BARRIERS:
            raise ResourceError(
                f"more than {_MAX_BARRIERS - 1} groups of several warps meet",
                self.function.location,
                hint="a block has 16 barriers: let groups meet through `mbarrier`s",
            )
        return number

    def tensor_map(self, wanted: TensorMap) -> Register:
        """The generic address of a tensor map, a hidden parameter."""
        number = self.tensor_maps.setdefault(wanted, len(self.tensor_maps))
        pure = self.builder.pure
        address = pure("mov.b64", RegisterKind.B64, Symbol(f"tensor_map_{number}"))
        return pure("cvta.param.u64", RegisterKind.B64, address)

    def shared_base(self) -> Register:
        """The block's shared memory base as a 32-bit shared address."""
        return self.builder.pure("mov.u32", RegisterKind.B32, SHARED)


class LoweringError(VMError):
    """A program the compiler can't lower yet, with the place and what to write instead."""

    kind = "lowering error"
