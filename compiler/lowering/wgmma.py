"""Lowering of products of warp groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tileloom.layouts import LayoutError, RegisterLayout, fragments
from tileloom.vm.diagnostics import LayoutMismatchError, TargetError
from tileloom.vm.expr import Expr
from tileloom.vm.instruction import Instruction
from tileloom.vm.instructions.wgmma import Wgmma, WgmmaCommit, WgmmaWait
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType, SharedType

from ..emit.context import Context
from ..emit.linear import Linear
from ..emit.shared_operand import SharedOperand, legal_layout, shared_operand
from ..emit.tiles import Tile, tile_type
from ..emit.warp_groups import (
    ROWS,
    THREADS,
    Blocks,
    accumulator_blocks,
    default_accumulator,
    default_left,
    quotient,
)
from ..ptx import Comment, Operand, Register, RegisterKind, Vector
from ..ptx import Instruction as PtxInstruction
from .registry import Demand, layout_default, layout_demand, lowering

if TYPE_CHECKING:
    from ..passes.inference import Inference

_PTX_NAMES = {"i8": "s8", "i32": "s32"}


@lowering(Wgmma)
def lower_wgmma(context: Context, instruction: Wgmma) -> None:
    _check_target(context, instruction)
    product = _Product(context, instruction)
    keeps: Register | bool = True
    if instruction.accumulate is not None:
        assert isinstance(instruction.accumulate, Expr)
        keeps = context.scalars.predicate(instruction.accumulate)
    with context.guarded(context.owns(product.acc.type.placed)):
        pieces = list(product.pieces(keeps))
        if _needs_fence(context, product.registers()):
            context.builder.emit("wgmma.fence.sync.aligned")
        for sums, sources in pieces:
            context.builder.emit(product.opcode, (sums,), sources)


@lowering(WgmmaCommit)
def lower_commit(context: Context, instruction: WgmmaCommit) -> None:
    _check_target(context, instruction)
    context.builder.emit("wgmma.commit_group.sync.aligned")


@lowering(WgmmaWait)
def lower_wait(context: Context, instruction: WgmmaWait) -> None:
    _check_target(context, instruction)
    context.builder.emit("wgmma.wait_group.sync.aligned", (), (instruction.pending,))


def _check_target(context: Context, instruction: Instruction) -> None:
    if not context.target.has("wgmma"):
        raise TargetError(
            f"`{context.target.name}` has no products of warp groups",
            instruction.location,
            hint="`wgmma` needs sm_90a; `mma` runs everywhere",
        )
    part = context.part
    if part.single or part.first % THREADS or part.num_threads % THREADS:
        raise LayoutMismatchError(
            f"{part.label} are no whole warp groups of {THREADS} threads",
            instruction.location,
            hint="they are 4 warps in a row, the first with a number that 4 divides",
        )


def _needs_fence(context: Context, used: set[Register]) -> bool:
    """Whether registers of a product may have been accessed by others than products since the last
    fence."""
    for item in reversed(context.builder.recent()):
        if isinstance(item, Comment):
            continue
        if not isinstance(item, PtxInstruction):
            return True
        if item.opcode == "wgmma.fence.sync.aligned":
            return False
        if item.opcode.startswith("wgmma.mma_async"):
            continue
        if not (used.isdisjoint(item.defs) and used.isdisjoint(item.uses)):
            return True
    return True


class _Product:
    """One `wgmma`, as instructions that each warp group issues for its blocks."""

    def __init__(self, context: Context, instruction: Wgmma) -> None:
        self.context, self.instruction = context, instruction
        self.acc = context.tile(instruction.acc)
        assert isinstance(instruction.b, Value) and isinstance(instruction.b.type, SharedType)
        self.dtype = instruction.b.type.dtype.name
        self.step = fragments.wgmma_depth(self.dtype)
        group = context.scalars.floor_divide(Linear.of(context.thread()), THREADS)
        self.blocks, self.right = self._fitting(instruction.b, group)
        self.left: SharedOperand | Tile = self._left(group)
        self._numbers = self._left_numbers()

    @property
    def opcode(self) -> str:
        instruction = self.instruction
        assert isinstance(instruction.a, Value)
        assert isinstance(instruction.a.type, RegType | SharedType)
        names = (self.acc.type.dtype.name, instruction.a.type.dtype.name, self.dtype)
        types = ".".join(_PTX_NAMES.get(name, name) for name in names)
        shape = f"m{ROWS}n{self.blocks.width}k{self.step}"
        return f"wgmma.mma_async.sync.aligned.{shape}.{types}"

    def registers(self) -> set[Register]:
        """The accumulator's, and those of a left operand in registers."""
        left = self.left.registers if isinstance(self.left, Tile) else ()
        return {*self.acc.registers, *left}

    # What fits

    def _fitting(self, b: Value, group: Linear) -> tuple[Blocks, SharedOperand]:
        """The widest instruction for which both the accumulator and b have a legal layout."""
        candidates = accumulator_blocks(self.acc.type.placed, self.dtype)
        if not candidates:
            raise self._mismatch("acc", "is no `wgmma_d` of whole warp groups")
        problems = []
        for blocks in candidates:
            moved = self.context.spatial_index(blocks.outer, 1, group) * blocks.width
            try:
                return blocks, self._shared(b, False, blocks.width, moved)
            except LayoutError as problem:
                problems.append(problem)
        raise self._no_descriptor(b, False, problems[0])

    def _left(self, group: Linear) -> SharedOperand | Tile:
        a = self.instruction.a
        assert isinstance(a, Value)
        if isinstance(a.type, RegType):
            return self.context.tile(a)
        moved = self.context.spatial_index(self.blocks.outer, 0, group) * ROWS
        try:
            return self._shared(a, True, ROWS, moved)
        except LayoutError as problem:
            raise self._no_descriptor(a, True, problem) from None

    def _shared(self, value: Value, is_left: bool, size: int, moved: Linear) -> SharedOperand:
        instruction = self.instruction
        return shared_operand(
            self.context,
            value,
            instruction.a_offsets if is_left else instruction.b_offsets,
            is_left=is_left,
            size=size,
            step=self.step,
            moved=moved,
            location=instruction.location,
        )

    def _left_numbers(self) -> dict[tuple[int, int], int]:
        if not isinstance(self.left, Tile):
            return {}
        inner = fragments.wgmma_a(self.left.type.dtype.name)
        outer = quotient(self.left.type.placed, inner)
        numbers = None if outer is None else self.blocks.left_numbers(outer)
        if numbers is None:
            raise self._mismatch("a", "is no `wgmma_a` with the rows of its accumulator")
        return numbers

    # What is emitted

    def pieces(self, keeps: Register | bool) -> Iterator[tuple[Vector, tuple[Operand, ...]]]:
        """Accumulator registers and the other operands of each instruction: step by step of k, so
        that products into one accumulator are far apart."""
        always = self._constant(True)
        first = keeps if isinstance(keeps, Register) else self._constant(keeps)
        for step in range(self.instruction.k // self.step):
            for block in range(self.blocks.outer.num_locals):
                row, column = (int(i) for i in self.blocks.outer.local_table[block])
                left = self._left_operand(block, row, step)
                right = self.right.address(self.context, column, step)
                scale = first if step == 0 else always
                yield self._sums(block), (left, right, scale, *self._immediates())

    def _constant(self, value: bool) -> Register:
        opcode = "setp.eq.s32" if value else "setp.ne.s32"
        return self.context.builder.pure(opcode, RegisterKind.PRED, 0, 0)

    def _sums(self, block: int) -> Vector:
        count = self.blocks.width // 2 * self.acc.bits // 32
        return Vector(tuple(self.acc.registers[block * count : (block + 1) * count]))

    def _left_operand(self, block: int, row: int, step: int) -> Operand:
        if isinstance(self.left, SharedOperand):
            return self.left.address(self.context, row, step)
        number = 4 * self._numbers[block, step]
        return Vector(tuple(self.left.registers[number : number + 4]))

    def _immediates(self) -> tuple[int, ...]:
        """Signs of a and b; and of elements of 16 bits, whether a shared operand is mn-major."""
        if self.acc.type.dtype.name == "i32":
            return ()
        if self.dtype not in ("f16", "bf16"):
            return (1, 1)
        shared = [x for x in (self.left, self.right) if isinstance(x, SharedOperand)]
        return (1, 1, *(int(operand.descriptor.transposed) for operand in shared))

    # Errors

    def _mismatch(self, role: str, what: str) -> LayoutMismatchError:
        value = getattr(self.instruction, role)
        layout = tile_type(value).layout
        return LayoutMismatchError(
            f"the layout of {role} {what}",
            self.instruction.location,
            notes=[(f"{role} `{value.label}` has layout `{layout}`", value.location)],
            hint="start from `fragments.wgmma_d` and `wgmma_a`, or leave the layouts away",
        )

    def _no_descriptor(
        self, value: Value, is_left: bool, problem: LayoutError
    ) -> LayoutMismatchError:
        assert isinstance(value.type, SharedType)
        legal = legal_layout(value.type.shape, value.type.dtype.bits, is_left)
        return LayoutMismatchError(
            f"tensor cores can't read `{value.label}`: {problem}",
            self.instruction.location,
            notes=[(f"`{value.label}` is allocated here", value.location)],
            hint=f"leave its layout away, or write one like `{legal}`",
        )


@layout_default(Wgmma, phase=1)
def default_wgmma(inference: Inference, instruction: Wgmma) -> None:
    acc = tile_type(instruction.acc)
    if inference.known(instruction.acc) is None:
        inference.propose(instruction.acc, default_accumulator(acc.shape, inference.num_threads))
    layout = inference.known(instruction.acc)
    if layout is not None and _in_registers(instruction):
        inference.propose(instruction.a, _wanted_left(instruction, layout))


@layout_demand(Wgmma)
def wgmma_demand(instruction: Wgmma, num_threads: int) -> Demand:
    if not _in_registers(instruction):
        return []
    a, acc = tile_type(instruction.a), tile_type(instruction.acc)
    outer = quotient(a.placed, fragments.wgmma_a(a.dtype.name))
    for blocks in accumulator_blocks(acc.placed, a.dtype.name):
        if outer is not None and blocks.left_numbers(outer) is not None:
            return []
    wanted = _wanted_left(instruction, acc.placed)
    return [] if wanted is None else [("a", wanted)]  # lowering says what is wrong


def _in_registers(instruction: Wgmma) -> bool:
    return isinstance(instruction.a, Value) and isinstance(instruction.a.type, RegType)


def _wanted_left(instruction: Wgmma, acc: RegisterLayout) -> RegisterLayout | None:
    a = tile_type(instruction.a)
    found = accumulator_blocks(acc, a.dtype.name)
    return default_left(found[0], a.dtype.name, a.shape[1]) if found else None
