"""Lowering of scalar variables and of single elements read from memory or tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tileloom.layouts import local
from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import Expr
from tileloom.vm.instructions.scalars import Assign, Item, LoadScalar, Var
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType, ScalarType

from ..emit.addresses import Access, build_access
from ..emit.context import Context
from ..emit.elements import extended
from ..emit.linear import Facts
from ..emit.repacking import repacked
from ..emit.tiles import Tile
from ..ptx import Address, Operand, Register, RegisterKind
from .memory import memory_binding
from .registry import Demand, layout_demand, layout_rule, lowering, scratch

if TYPE_CHECKING:
    from ..passes.inference import Inference

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64


def scalar_register_kind(dtype: Dtype) -> RegisterKind:
    """The kind of register a scalar lives in."""
    if dtype.kind == "bool":
        return PRED
    return B64 if dtype.bits == 64 else B32


def scalar_value(context: Context, expr: Expr, dtype: Dtype) -> Operand:
    """A scalar expression as an operand of its dtype's register kind."""
    if dtype.kind == "bool":
        predicate = context.scalars.predicate(expr)
        if isinstance(predicate, bool):
            return context.builder.pure("setp.ne.s32", PRED, int(predicate), 0)
        return predicate
    if dtype.kind == "float":
        value = context.scalars.floating(expr, double=dtype.bits == 64)
        if dtype.name in ("f16", "bf16"):
            return context.builder.pure(f"cvt.rn.{dtype.name}x2.f32", B32, value, value)
        return value
    if dtype.bits == 64:
        return context.scalars.extended(expr)
    return extended(context, context.scalars.narrow(context.scalars.integer(expr)), dtype)


def write_scalar(context: Context, target: Register, value: Operand) -> None:
    """target = value"""
    context.builder.emit(f"mov.{target.kind.ptx_type}", (target,), (value,))


@lowering(Var)
def lower_var(context: Context, instruction: Var) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, ScalarType)
    kind = scalar_register_kind(result.type.dtype)
    # One that nothing is assigned to is a value: what is computed from it is computed once.
    is_value = result not in context.mutated
    register = context.builder.once(kind) if is_value else context.builder.storage(kind)
    write_scalar(context, register, scalar_value(context, instruction.value, result.type.dtype))
    context.bind_scalar(result, register)


@lowering(Assign)
def lower_assign(context: Context, instruction: Assign) -> None:
    target, value = instruction.target, instruction.value
    if isinstance(target.type, ScalarType):
        register = context.scalars.bindings[target]
        assert isinstance(register, Register) and isinstance(value, Expr)
        write_scalar(context, register, scalar_value(context, value, target.type.dtype))
        return
    source, tile = context.tile(value), context.tile(target)
    packings = source.type.packing, tile.type.packing
    words = repacked(context, source.registers, source, *packings)
    for to, origin in zip(tile.registers, words, strict=True):
        context.copy(to, origin)


def scalar_access(
    context: Context, operand: Value | Expr, offsets: tuple[Expr, ...], checked: bool = True
) -> tuple[Access, Address]:
    """The access of one element of memory, the same for every thread; not `checked`, it is known
    to be inside."""
    binding = memory_binding(context, operand)
    type_ = RegType(binding.dtype, (), local())
    access = build_access(context, binding, offsets, (), type_, not checked)
    element = access.elements[0]
    return access, access.address(element.key, element.bit // 8)  # type: ignore[arg-type]


@lowering(LoadScalar)
def lower_load_scalar(context: Context, instruction: LoadScalar) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, ScalarType)
    access, address = scalar_access(context, instruction.source, instruction.offsets)
    register = load_scalar(context, access, address, result.type.dtype)
    bind_loaded(context, result, register)


def bind_loaded(context: Context, result: Value, register: Register) -> None:
    """Binds a scalar to the register its code was loaded into."""
    assert isinstance(result.type, ScalarType)
    dtype = result.type.dtype
    if dtype.kind == "bool":
        register = context.builder.pure("setp.ne.s32", PRED, register, 0)
    elif dtype.kind == "uint" and dtype.bits <= 32:
        context.facts.learn(register, Facts(0, (1 << dtype.bits) - 1))
    context.bind_scalar(result, register)


def load_scalar(context: Context, access: Access, address: Address, dtype: Dtype) -> Register:
    """Loads one element, extended to its register; zero outside the extents."""
    builder = context.builder
    register = builder.once(B64 if dtype.bits == 64 else B32)
    condition = access.condition(None)
    if condition is not True:
        builder.emit(f"mov.{register.kind.ptx_type}", (register,), (0,))
    if condition is not False:
        sign = "s" if dtype.kind == "int" and dtype.bits < 32 else "u"
        kind = f"{sign}{dtype.bits}" if dtype.bits < 32 else f"b{dtype.bits}"
        predicate = condition if isinstance(condition, Register) else None
        builder.emit(f"ld.{access.space}.{kind}", (register,), (address,), predicate)
    return register


@lowering(Item)
def lower_item(context: Context, instruction: Item) -> None:
    result, value = instruction.result, instruction.value
    assert result is not None and isinstance(result.type, ScalarType)
    tile = context.tile(value)
    register = tile.registers[0]
    if not held_by_all(tile, context.num_threads):
        register = _shared_by_owner(context, instruction, tile)
    elif register.region is None or register.kind is PRED:
        fresh = context.builder.once(register.kind)
        context.copy(fresh, register)
        register = fresh
    dtype = result.type.dtype
    if dtype.kind in ("int", "uint") and dtype.bits < 32:
        opcode = f"bfe.{'s' if dtype.kind == 'int' else 'u'}32"
        register = context.builder.compute(opcode, B32, register, 0, dtype.bits)
    context.bind_scalar(result, register)


def held_by_all(tile: Tile, num_threads: int) -> bool:
    """Whether every thread of the block holds a one-element tile."""
    return tile.type.placed.num_threads == num_threads


def _shared_by_owner(context: Context, instruction: Item, tile: Tile) -> Register:
    """Thread 0 always owns the element: it writes it for all."""
    builder = context.builder
    register = tile.registers[0]
    if register.kind is PRED:
        register = builder.compute("selp.b32", B32, 1, 0, register)
    first = builder.pure("setp.eq.s32", PRED, context.thread(), 0)
    address = Address(context.shared_base(), context.scratch[instruction])
    kind = "b64" if register.kind is B64 else "b32"
    context.barrier()
    builder.emit(f"st.shared.{kind}", (), (address, register), first)
    context.barrier()
    result = builder.once(register.kind)
    builder.emit(f"ld.shared.{kind}", (result,), (address,))
    if tile.registers[0].kind is PRED:
        return builder.compute("setp.ne.s32", PRED, result, 0)
    return result


@scratch(Item)
def item_scratch(instruction: Item, num_threads: int) -> int:
    """Bytes of shared memory an `item` needs."""
    value = instruction.value
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    return 0 if value.type.placed.num_threads == num_threads else 8


@layout_rule(Assign)
def infer_assign(inference: Inference, instruction: Assign) -> None:
    inference.propose(instruction.target, inference.known(instruction.value))
    inference.propose(instruction.value, inference.known(instruction.target))


@layout_demand(Assign)
def assign_demand(instruction: Assign, num_threads: int) -> Demand:
    type_ = instruction.target.type
    return [("value", type_.placed)] if isinstance(type_, RegType) else []
