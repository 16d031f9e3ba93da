"""Moves of matrix fragments between registers and shared memory by `ldmatrix` and `stmatrix`."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from tileloom.vm.instructions.matrices import LoadMatrix, StoreMatrix
from tileloom.vm.instructions.memory import Load
from tileloom.vm.packing import CONTIGUOUS
from tileloom.vm.types import RegType

from ..emit.addresses import Access, shared_address
from ..emit.chunks import plan_chunks
from ..emit.context import Context, SharedBinding
from ..emit.linear import Linear
from ..emit.matrices import MatrixPlan, group_matrices, plan_matrices
from ..emit.tiles import Tile
from ..ptx import Address, Register, RegisterKind, Vector

B32 = RegisterKind.B32
MatrixMove: TypeAlias = Load | LoadMatrix | StoreMatrix


def load_matrices(
    access: Access, binding: SharedBinding, instruction: Load | LoadMatrix, type_: RegType
) -> list[Register] | None:
    """The tile's words, loaded by `ldmatrix`; None where the tile or the target can't use it."""
    moves = _moves(access, binding, instruction, type_)
    condition = access.condition(None)
    if moves is None or condition is False:
        return None
    if isinstance(instruction, Load) and len(moves) >= _plain_accesses(access, type_):
        return None
    builder = access.context.builder
    predicate = condition if isinstance(condition, Register) else None
    registers = [builder.once(B32) for move in moves for _ in move.words]
    if predicate is not None:
        for register in registers:
            builder.emit("mov.b32", (register,), (0,))
    for move in moves:
        targets = Vector(tuple(registers[number] for number in move.words))
        builder.emit(f"ldmatrix.{move.form}", (targets,), (move.address,), predicate)
    return registers


def _plain_accesses(access: Access, type_: RegType) -> int:
    """How many instructions load the tile without `ldmatrix`."""
    alignment: dict[object, int] = {key: access.alignment(key) for key in access.bases}
    return len(plan_chunks(access.elements, type_.dtype.bits, alignment))


def store_matrices(
    access: Access, binding: SharedBinding, instruction: StoreMatrix, tile: Tile
) -> bool:
    """Stores a tile by `stmatrix`; False where the tile can't use it."""
    moves = _moves(access, binding, instruction, tile.type)
    condition = access.condition(None)
    if moves is None or condition is False:
        return False
    predicate = condition if isinstance(condition, Register) else None
    for move in moves:
        words = Vector(tuple(tile.registers[number] for number in move.words))
        opcode = f"stmatrix.{move.form}"
        access.context.builder.emit(opcode, (), (move.address, words), predicate)
    return True


class _Move(NamedTuple):
    """One instruction: its opcode behind the name, the words it moves, the lane's row."""

    form: str
    words: tuple[int, ...]
    address: Address


def _moves(
    access: Access, binding: SharedBinding, instruction: MatrixMove, type_: RegType
) -> list[_Move] | None:
    context = access.context
    plan = _plan(context, binding, instruction, type_)
    if plan is None or any(element.mask is not None for element in access.elements):
        return None
    start = _row_start(context, binding, instruction, type_, plan)
    if context.facts.divisor(start) % 16:
        return None
    suffix = ".trans.shared.b16" if plan.transposed else ".shared.b16"
    moves = []
    for group in group_matrices(plan.words):
        offsets = context.digit(8, 2) * group.second + context.digit(16, 2) * group.third
        address = shared_address(context, binding, start + offsets + group.place)
        form = f"sync.aligned.m8n8.x{len(group.words)}{suffix}"
        moves.append(_Move(form, group.words, address))
    return moves


def _plan(
    context: Context, binding: SharedBinding, instruction: MatrixMove, type_: RegType
) -> MatrixPlan | None:
    if not context.target.has("ldmatrix") or type_.packing != CONTIGUOUS:
        return None
    if type_.dtype.kind == "bool" or binding.layout.start:
        return None
    digits = [binding.layout.digits_of(dim) for dim in range(binding.layout.rank)]
    if any(len(each) > 1 for each in digits):
        return None
    strides = [each[0][2] if each else 0 for each in digits]
    chosen = tuple(strides[dim] for dim in _dims(instruction, type_))
    return plan_matrices(type_.placed, chosen, type_.dtype.bits)


def _dims(instruction: MatrixMove, type_: RegType) -> tuple[int, ...]:
    rank = len(instruction.offsets)
    return instruction.dims or tuple(range(rank - type_.rank, rank))


def _row_start(
    context: Context,
    binding: SharedBinding,
    instruction: MatrixMove,
    type_: RegType,
    plan: MatrixPlan,
) -> Linear:
    """The byte where the row begins whose address this lane gives, for the tile's first word."""
    thread = Linear.of(context.thread())
    row, warp = context.digit(1, 8), context.scalars.floor_divide(thread, 32) * 32
    holder = warp + (context.scalars.floor_divide(row, 2) if plan.transposed else row * 4)
    total = context.scalars.modulo(row, 2) * plan.row_step
    dims = _dims(instruction, type_)
    for memory_dim, offset in enumerate(instruction.offsets):
        digits = binding.layout.digits_of(memory_dim)
        stride = digits[0][2] if digits else 0
        index = context.scalars.integer(offset)
        if memory_dim in dims:
            dim = dims.index(memory_dim)
            index = index + context.spatial_index(type_.placed, dim, holder)
        total = total + index * (stride * type_.dtype.bits // 8)
    return total
