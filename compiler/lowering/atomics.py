"""Lowering of atomic updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tileloom.vm.dtypes import Dtype
from tileloom.vm.instructions.atomics import Atomic, AtomicScalar
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType, ScalarType

from ..emit.addresses import build_access
from ..emit.context import Context, LoweringError
from ..emit.locals import select_locals
from ..ptx import Address, Register, RegisterKind, Vector
from .memory import memory_binding
from .registry import Demand, layout_demand, layout_rule, lowering, scratch
from .scalars import bind_loaded, scalar_access
from .sync import first_thread

if TYPE_CHECKING:
    from ..passes.inference import Inference

B16, B32, B64 = RegisterKind.B16, RegisterKind.B32, RegisterKind.B64
_OPERATIONS = {
    "add": "add", "min": "min", "max": "max",
    "and": "and", "or": "or", "xor": "xor", "exchange": "exch",
}  # fmt: skip


def _suffix(op: str, dtype: Dtype) -> str:
    """The PTX operation and type of an atomic update."""
    if dtype.name in ("f16", "bf16"):
        return f"add.noftz.{dtype.name}"
    if dtype.kind == "float":
        return f"add.{dtype.name}"
    if op == "add":
        return "add.u64" if dtype.bits == 64 else "add.u32"
    if op in ("min", "max"):
        return f"{op}.{'s' if dtype.kind == 'int' else 'u'}{dtype.bits}"
    return f"{_OPERATIONS[op]}.b{dtype.bits}"


@lowering(Atomic)
def lower_atomic(context: Context, instruction: Atomic) -> None:
    tile = context.tile(instruction.value)
    dtype = tile.type.dtype
    half = dtype.name in ("f16", "bf16")
    if dtype.bits not in (32, 64) and not half:
        raise LoweringError(
            f"`atomic`: memory has no atomics on `{dtype.name}`", instruction.location
        )
    if dtype.name == "bf16" and not context.target.has("atom.bf16x2"):
        raise LoweringError(
            f"`atomic`: `{context.target.name}` has no atomics on `bf16`", instruction.location
        )
    binding = memory_binding(context, instruction.target)
    access = build_access(context, binding, instruction.offsets, instruction.dims, tile.type, False)
    owns = context.owns(tile.type.placed, single_replica=instruction.result is None)
    access.common = context.scalars.conjunction(access.common, owns)
    suffix = f"{access.space}.{_suffix(instruction.op, dtype)}"
    name = "red" if instruction.result is None and instruction.op != "exchange" else "atom"
    registers = select_locals(context, tile, tuple(range(tile.num_locals)))
    olds: list[Register] = []
    for number, element in enumerate(access.elements):
        value = registers[number // 2 if half else number]
        if half:
            value = _half_of(context, value, number % 2)
        condition = access.condition(element.mask)
        address = access.address(element.key, element.bit // 8)  # type: ignore[arg-type]
        olds.append(_update(context, f"{name}.{suffix}", address, value, condition))
    if instruction.result is None:
        return
    if tile.type.placed.num_replicas > 1:
        raise LoweringError(
            "`atomic`: old values of a replicated tile",
            instruction.location,
            hint="use a layout in which each element has one thread",
        )
    assert isinstance(instruction.result.type, RegType)
    context.bind(instruction.result, _packed_olds(context, olds, half))


def _half_of(context: Context, word: Register, half: int) -> Register:
    low, high = context.builder.once(B16), context.builder.once(B16)
    context.builder.emit("mov.b32", (Vector((low, high)),), (word,))
    return (low, high)[half]


def _update(
    context: Context, opcode: str, address: Address, value: Register, condition: Register | bool
) -> Register:
    """One update; gives the register of the old value (unused for `red`)."""
    builder = context.builder
    predicate = condition if isinstance(condition, Register) else None
    if opcode.startswith("red"):
        if condition is not False:
            builder.emit(opcode, (), (address, value), predicate)
        return value
    old = builder.once(value.kind)
    if condition is not True:
        builder.emit(f"mov.{old.kind.ptx_type}", (old,), (0,))
    if condition is not False:
        builder.emit(opcode, (old,), (address, value), predicate)
    return old


def _packed_olds(context: Context, olds: list[Register], half: bool) -> list[Register]:
    if not half:
        return olds
    builder = context.builder
    words = []
    for number in range(0, len(olds), 2):
        high = olds[number + 1] if number + 1 < len(olds) else olds[number]
        words.append(builder.compute("mov.b32", B32, Vector((olds[number], high))))
    return words


@lowering(AtomicScalar)
def lower_atomic_scalar(context: Context, instruction: AtomicScalar) -> None:
    """All meet, thread 0 updates with acquire and release, all read what it found."""
    builder, result = context.builder, instruction.result
    access, address = scalar_access(context, instruction.target, instruction.offsets)
    value = context.scalars.in_register(context.scalars.integer(instruction.value))
    suffix = _suffix(instruction.op, access.binding.dtype)
    inside = access.condition(None)
    first = context.scalars.conjunction(first_thread(context), inside)
    slot = Address(context.shared_base(), context.scratch[instruction])
    context.barrier()
    if first is not False:
        with context.guarded(first):
            old = builder.once(B32)
            builder.emit("fence.acq_rel.gpu")
            builder.emit(f"atom.acq_rel.gpu.global.{suffix}", (old,), (address, value))
            builder.emit("fence.acq_rel.gpu")
            builder.emit("st.shared.b32", (), (slot, old))
    context.barrier()
    if result is None:
        return
    assert isinstance(result.type, ScalarType)
    seen = builder.once(B32)
    builder.emit("ld.shared.b32", (seen,), (slot,))
    if inside is not True:
        zeroed = builder.once(B32)
        if isinstance(inside, Register):
            builder.emit("selp.b32", (zeroed,), (seen, 0, inside))
        else:
            builder.emit("mov.b32", (zeroed,), (0,))
        seen = zeroed
    bind_loaded(context, result, seen)


@scratch(AtomicScalar)
def atomic_scalar_scratch(instruction: AtomicScalar, num_threads: int) -> int:
    """Bytes through which thread 0 tells the others what it found."""
    return 4


@layout_rule(Atomic)
def infer_atomic(inference: Inference, instruction: Atomic) -> None:
    inference.propose(instruction.result, inference.known(instruction.value))
    inference.propose(instruction.value, inference.known(instruction.result))


@layout_demand(Atomic)
def atomic_demand(instruction: Atomic, num_threads: int) -> Demand:
    value = instruction.value
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    return [("result", value.type.placed)] if instruction.result is not None else []
