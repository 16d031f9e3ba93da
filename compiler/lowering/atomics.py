"""Lowering of atomic updates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tileloom.layouts import RegisterLayout
from tileloom.layouts.modes import REPLICATED
from tileloom.vm.dtypes import Dtype
from tileloom.vm.instructions.atomics import Atomic, AtomicScalar
from tileloom.vm.types import ScalarType

from ..emit.addresses import Access, build_access
from ..emit.bounds import Condition
from ..emit.chunks import Element
from ..emit.context import Context, LoweringError
from ..emit.locals import select_locals
from ..emit.tiles import tile_type
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
    "and": "and", "or": "or", "xor": "xor", "exchange": "exch", "cas": "cas",
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
    _check_target(context, instruction, dtype)
    binding = memory_binding(context, instruction.target)
    access = build_access(context, binding, instruction.offsets, instruction.dims, tile.type, False)
    owns = context.owns(tile.type.placed, single_replica=instruction.result is None)
    access.common = context.scalars.conjunction(access.common, owns)
    plain = instruction.result is None and instruction.op not in ("exchange", "cas")
    opcode = f"{'red' if plain else 'atom'}.{access.space}.{_suffix(instruction.op, dtype)}"
    operands = [instruction.value]
    if instruction.compare is not None:
        operands.insert(0, instruction.compare)
    columns = [
        select_locals(context, context.tile(operand), tuple(range(tile.num_locals)))
        for operand in operands
    ]
    updates = Updates(access)
    if dtype.name in ("f16", "bf16"):
        olds = _update_halves(updates, opcode, columns[0])
    else:
        olds = []
        for element, values in zip(access.elements, zip(*columns, strict=True), strict=True):
            olds.append(updates.make(opcode, element, values))
    updates.emit_reductions()
    if instruction.result is not None:
        context.bind(instruction.result, olds)


def _check_target(context: Context, instruction: Atomic, dtype: Dtype) -> None:
    if dtype.bits not in (32, 64) and dtype.name not in ("f16", "bf16"):
        raise LoweringError(
            f"`atomic`: memory has no atomics on `{dtype.name}`", instruction.location
        )
    if dtype.name == "bf16" and not context.target.has("atom.bf16x2"):
        raise LoweringError(
            f"`atomic`: `{context.target.name}` has no atomics on `bf16`", instruction.location
        )


def _update_halves(updates: Updates, opcode: str, words: list[Register]) -> list[Register]:
    """Two elements at once where they lie side by side in an aligned word, else one by one."""
    access = updates.access
    builder, elements = access.context.builder, access.elements
    olds = []
    for number, word in enumerate(words):
        pair = elements[2 * number : 2 * number + 2]
        if _share_a_word(access, pair):
            olds.append(updates.make(f"{opcode}x2", pair[0], (word,)))
            continue
        halves = (builder.once(B16), builder.once(B16))
        builder.emit("mov.b32", (Vector(halves),), (word,))
        old = [updates.make(opcode, e, (h,)) for e, h in zip(pair, halves, strict=False)]
        olds.append(builder.compute("mov.b32", B32, Vector((old[0], old[-1]))))
    return olds


def _share_a_word(access: Access, pair: list[Element]) -> bool:
    if len(pair) == 1 or pair[0].key != pair[1].key or pair[0].mask != pair[1].mask:
        return False
    aligned = access.alignment(pair[0].key) % 4 == 0 and pair[0].bit % 32 == 0  # type: ignore[arg-type]
    return aligned and pair[1].bit == pair[0].bit + 16


@dataclass
class Updates:
    """The updates of a tile's elements. Those that give no old values wait until all are known:
    neighbours in memory are updated by one instruction where the target has vectors of them."""

    access: Access
    waiting: list[tuple[str, Element, Register]] = field(default_factory=list)

    def make(self, opcode: str, element: Element, values: tuple[Register, ...]) -> Register:
        """One update; gives the register of the old value (unused for `red`)."""
        builder = self.access.context.builder
        if opcode.startswith("red"):
            self.waiting.append((opcode, element, values[-1]))
            return values[-1]
        condition = self.access.condition(element.mask)
        old = builder.once(values[-1].kind)
        if condition is not True:
            builder.emit(f"mov.{old.kind.ptx_type}", (old,), (0,))
        if condition is not False:
            address = self.access.address(element.key, element.bit // 8)  # type: ignore[arg-type]
            builder.emit(opcode, (old,), (address, *values), _predicate(condition))
        return old

    def emit_reductions(self) -> None:
        """Emits those that wait."""
        start = 0
        while start < len(self.waiting):
            size = next(n for n in (4, 2, 1) if self._are_neighbours(start, n))
            opcode, first, _ = self.waiting[start]
            values = tuple(value for _, _, value in self.waiting[start : start + size])
            start += size
            condition = self.access.condition(first.mask)
            if condition is False:
                continue
            address = self.access.address(first.key, first.bit // 8)  # type: ignore[arg-type]
            builder, predicate = self.access.context.builder, _predicate(condition)
            if size == 1:
                builder.emit(opcode, (), (address, *values), predicate)
            else:
                head, _, kind = opcode.rpartition(".")
                builder.emit(f"{head}.v{size}.{kind}", (), (address, Vector(values)), predicate)

    def _are_neighbours(self, start: int, size: int) -> bool:
        """Whether so many updates of words are one of a vector."""
        opcode, first, _ = self.waiting[start]
        some = self.waiting[start : start + size]
        if size == 1:
            return True
        if len(some) < size or not opcode.startswith("red.global.add."):
            return False
        has_vectors = self.access.context.target.has("red.v2")
        if not has_vectors or not opcode.endswith((".f32", "x2")):
            return False
        aligned = self.access.alignment(first.key) % (4 * size) == 0  # type: ignore[arg-type]
        return (
            aligned
            and all(
                (name, other.key, other.mask, other.bit)
                == (opcode, first.key, first.mask, first.bit + 32 * number)
                for number, (name, other, _) in enumerate(some)
            )
            and first.bit % (32 * size) == 0
        )


def _predicate(condition: Condition) -> Register | None:
    return condition if isinstance(condition, Register) else None


@lowering(AtomicScalar)
def lower_atomic_scalar(context: Context, instruction: AtomicScalar) -> None:
    """All meet, thread 0 updates with acquire and release, all read what it found."""
    builder, result = context.builder, instruction.result
    access, address = scalar_access(context, instruction.target, instruction.offsets)
    values = [instruction.value]
    if instruction.compare is not None:
        values.insert(0, instruction.compare)
    scalars = context.scalars
    operands = [scalars.narrow_register(scalars.integer(value)) for value in values]
    suffix = _suffix(instruction.op, access.binding.dtype)
    inside = access.condition(None)
    first = context.scalars.conjunction(first_thread(context), inside)
    slot = Address(context.shared_base(), context.scratch[instruction])
    context.barrier()
    if first is not False:
        with context.guarded(first):
            old = builder.once(B32)
            builder.emit("fence.acq_rel.gpu")
            builder.emit(f"atom.acq_rel.gpu.global.{suffix}", (old,), (address, *operands))
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


def _layout(instruction: Atomic, layout: RegisterLayout) -> RegisterLayout:
    """Where old values are wanted each element has one thread."""
    if instruction.result is None or layout.num_replicas == 1:
        return layout
    spatial = tuple(mode for mode in layout.spatial if mode.dim != REPLICATED)
    return RegisterLayout(layout.shape, spatial, layout.local)


@layout_rule(Atomic)
def infer_atomic(inference: Inference, instruction: Atomic) -> None:
    operands = (instruction.value, instruction.compare, instruction.result)
    known = [layout for layout in map(inference.known, operands) if layout is not None]
    if known:
        layout = _layout(instruction, known[0])
        for operand in operands:
            inference.propose(operand, layout)


@layout_demand(Atomic)
def atomic_demand(instruction: Atomic, num_threads: int) -> Demand:
    layout = _layout(instruction, tile_type(instruction.value).placed)
    demands: Demand = [("value", layout)]
    if instruction.compare is not None:
        demands.append(("compare", layout))
    if instruction.result is not None:
        demands.append(("result", layout))
    return demands
