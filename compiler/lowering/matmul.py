"""Lowering of matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tileloom.vm.diagnostics import LayoutMismatchError, TargetError
from tileloom.vm.instructions.elementwise import FusedMultiplyAdd
from tileloom.vm.instructions.matmul import Mma, SimtDot

from ..emit.context import Context
from ..emit.elements import is_half, pack_elements, to_tf32, unpack_elements
from ..emit.locals import select_locals
from ..emit.products import (
    ProductPlan,
    Step,
    default_accumulator,
    dot_operand,
    left_operand,
    plan_product,
    right_operand,
)
from ..emit.tiles import Tile, tile_type
from ..ptx import Register, Vector
from . import operations
from .registry import Demand, layout_default, layout_demand, lowering

if TYPE_CHECKING:
    from ..passes.inference import Inference

# dtype: (name in PTX, k of an instruction with four words of a)
_OPERANDS = {
    "f16": ("f16", 16), "bf16": ("bf16", 16), "tf32": ("tf32", 8),
    "i8": ("s8", 32), "u8": ("u8", 32),
}  # fmt: skip
_ACCUMULATORS = {"f32": "f32", "f16": "f16", "i32": "s32"}


@lowering(Mma)
def lower_mma(context: Context, instruction: Mma) -> None:
    acc, a, b = (context.tile(v) for v in (instruction.acc, instruction.a, instruction.b))
    plan = product_plan(acc, a, b)
    if plan.reason:
        raise mismatch(instruction, plan.reason)
    ptx_name, depth = _OPERANDS[a.type.dtype.name]
    if not context.target.has(f"mma.{ptx_name.replace('u8', 's8')}"):
        raise TargetError(
            f"`{context.target.name}` has no tensor core for `{ptx_name}`", instruction.location
        )
    total = _ACCUMULATORS[acc.type.dtype.name]
    with context.guarded(context.owns(acc.type.placed)):
        for step in plan.steps:
            k = depth if len(step.a) == 4 else depth // 2
            shape = f"mma.sync.aligned.m16n8k{k}.row.col"
            _emit_step(context, f"{shape}.{total}.{ptx_name}.{ptx_name}.{total}", step, acc, a, b)


def product_plan(acc: Tile, a: Tile, b: Tile) -> ProductPlan:
    """The tensor core instructions for these tiles, or why there are none."""
    per_word = 32 // a.bits
    return plan_product(acc.type.placed, a.type.placed, b.type.placed, per_word, acc.bits == 16)


def mismatch(instruction: Mma, reason: str) -> LayoutMismatchError:
    """The error for operands whose layouts are no fragments."""
    notes = []
    for role in ("acc", "a", "b"):
        value = getattr(instruction, role)
        layout = tile_type(value).layout
        notes.append((f"{role} `%{value.name}` has layout `{layout}`", value.location))
    return LayoutMismatchError(
        f"`mma`: the layouts are no fragments: {reason}",
        instruction.location,
        notes=notes,
        hint="start from `fragments.mma_a`, `mma_b` and `mma_c`, or leave the layouts away",
    )


def _emit_step(context: Context, opcode: str, step: Step, acc: Tile, a: Tile, b: Tile) -> None:
    numbers = step.acc if acc.bits == 32 else (step.acc[0] // 2, step.acc[2] // 2)
    sums = Vector(tuple(acc.registers[number] for number in numbers))
    srcs = (
        Vector(tuple(a.registers[number] for number in step.a)),
        Vector(tuple(b.registers[number] for number in step.b)),
        sums,
    )
    context.builder.emit(opcode, (sums,), srcs)


@lowering(SimtDot)
def lower_simt_dot(context: Context, instruction: SimtDot) -> None:
    acc, a, b = (context.tile(v) for v in (instruction.acc, instruction.a, instruction.b))
    rows = _dot_operands(acc, a, b)
    dot = _dot_of_pairs if is_half(acc.type.dtype) else _dot
    for target, source in zip(acc.registers, dot(context, acc, a, b, rows), strict=True):
        context.copy(target, source)


# For each local of acc the locals of a and b along k that it takes.
Rows = list[list[tuple[int, int]]]


def _dot(context: Context, acc: Tile, a: Tile, b: Tile, rows: Rows) -> list[Register]:
    emit = operations.element_operation(FusedMultiplyAdd, acc.type.dtype)
    totals = unpack_elements(context, acc, range(acc.num_locals))
    sums: list[Register] = []
    for total, numbers in zip(totals, rows, strict=True):
        xs = unpack_elements(context, a, [number for number, _ in numbers])
        ys = unpack_elements(context, b, [number for _, number in numbers])
        for x, y in zip(xs, ys, strict=True):
            total = emit(context, x, y, total)
            if acc.type.dtype.name == "tf32":
                total = to_tf32(context, total)
        sums.append(total)
    return pack_elements(context, acc.type, sums)


def _dot_of_pairs(context: Context, acc: Tile, a: Tile, b: Tile, rows: Rows) -> list[Register]:
    """Two elements of acc at once: each step rounds to the accumulator's type."""
    emit = operations.packed_operation(FusedMultiplyAdd, acc.type.dtype, context.target)
    assert emit is not None
    words = list(acc.registers)
    for step in zip(*rows, strict=True):
        xs = select_locals(context, a, tuple(number for number, _ in step))
        ys = select_locals(context, b, tuple(number for _, number in step))
        words = [emit(context, *each) for each in zip(xs, ys, words, strict=True)]
    return words


def _dot_operands(acc: Tile, a: Tile, b: Tile) -> Rows:
    """The factors along k, which each thread itself holds."""
    depth = np.arange(a.type.shape[-1])
    found = []
    for index in acc.type.placed.local_table:
        a_index = np.broadcast_to(index, (len(depth), acc.type.rank)).copy()
        b_index = a_index.copy()
        a_index[:, -1], b_index[:, -2] = depth, depth
        numbers = (a.type.placed.locate(a_index)[1], b.type.placed.locate(b_index)[1])
        found.append(list(zip(*(n.tolist() for n in numbers), strict=True)))
    return found


@layout_demand(SimtDot)
def simt_dot_demand(instruction: SimtDot, num_threads: int) -> Demand:
    """Each thread holds all of k for its rows and columns."""
    acc, a = tile_type(instruction.acc), tile_type(instruction.a)
    return [(side, dot_operand(acc.placed, a.shape[-1], side == "a")) for side in ("a", "b")]


@layout_default(SimtDot, phase=1)
def default_simt_dot(inference: Inference, instruction: SimtDot) -> None:
    layout = inference.known(instruction.acc)
    if layout is not None:
        depth = tile_type(instruction.a).shape[-1]
        inference.propose(instruction.a, dot_operand(layout, depth, True))
        inference.propose(instruction.b, dot_operand(layout, depth, False))


@layout_default(Mma, phase=1)
def default_mma(inference: Inference, instruction: Mma) -> None:
    acc, a = tile_type(instruction.acc), tile_type(instruction.a)
    if inference.known(instruction.acc) is None:
        inference.propose(instruction.acc, default_accumulator(acc.shape, inference.num_threads))
    layout = inference.known(instruction.acc)
    if layout is None:
        return
    per_word = 32 // a.dtype.bits
    inference.propose(instruction.a, left_operand(layout, a.shape[-1], per_word))
    inference.propose(instruction.b, right_operand(layout, a.shape[-1], per_word))


@layout_demand(Mma)
def mma_demand(instruction: Mma, num_threads: int) -> Demand:
    acc, a, b = (tile_type(v) for v in (instruction.acc, instruction.a, instruction.b))
    per_word, paired = 32 // a.dtype.bits, acc.dtype.bits == 16
    if not plan_product(acc.placed, a.placed, b.placed, per_word, paired).reason:
        return []
    left = left_operand(acc.placed, a.shape[-1], per_word)
    right = right_operand(acc.placed, a.shape[-1], per_word)
    if left is None or right is None:
        return []  # lowering says what is wrong
    if plan_product(acc.placed, left, right, per_word, paired).reason:
        return []
    return [("a", left), ("b", right)]
