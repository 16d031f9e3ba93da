"""Lowering of reductions: in the thread, then between lanes, then between warps.

The order is fixed by the layout, so results repeat bit for bit. Halves are summed in f32 and
rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tileloom.layouts import RegisterLayout
from tileloom.vm.dtypes import Dtype
from tileloom.vm.instructions import elementwise as vm
from tileloom.vm.instructions.reduction import Reduce
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType

from ..emit.context import SHARED, Context
from ..emit.elements import pack_elements, unpack_elements
from ..emit.linear import Linear
from ..ptx import Address, Register, RegisterKind, Vector
from . import operations
from .registry import Demand, layout_demand, layout_rule, lowering, scratch

if TYPE_CHECKING:
    from ..passes.inference import Inference

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64
_OPERATIONS = {
    "sum": vm.Add, "prod": vm.Mul, "max": vm.Max, "min": vm.Min, "any": vm.Or, "all": vm.And,
}  # fmt: skip
_NO_INDEX = 0x7FFFFFFF


class _Reduction:
    """One reduction: how two elements combine, and how they travel."""

    def __init__(
        self,
        context: Context,
        op: str,
        dtype: Dtype,
        layout: RegisterLayout,
        dim: int,
        scratch: int,
    ) -> None:
        self.context = context
        self.layout = layout
        self.dim = dim
        self.scratch = scratch
        self.wide = dtype.bits == 64
        self.boolean = dtype.kind == "bool"
        self.emit = operations.element_operation(_OPERATIONS[op], dtype)

    def run(self, elements: Sequence[Register]) -> list[Register]:
        """The result's elements from all of the thread's."""
        partials = self.in_thread(elements)
        for step, extent, _ in reversed(self.layout.spatial_modes_of(self.dim)):
            for part_step, part_extent in _pieces(step, extent):
                if _crosses_shared(part_step, part_extent):
                    partials = self.through_shared(partials, part_step, part_extent)
                    continue
                mask = part_step
                while mask < part_step * part_extent:
                    partials = self.between_lanes(partials, mask)
                    mask *= 2
        return partials

    def targets(self) -> list[int]:
        """For each local the local of the reduced layout it goes to."""
        indices = self.layout.local_table.copy()
        indices[:, self.dim] = 0
        _, found = self.layout.reduce(self.dim, keepdims=True).locate(indices)
        return [int(number) for number in found]

    def combine(self, a: Register, b: Register) -> Register:
        return self.emit(self.context, a, b)

    def in_thread(self, elements: Sequence[Register]) -> list[Register]:
        """One partial for each local of the reduced layout."""
        reduced = self.layout.reduce(self.dim, keepdims=True)
        partials: list[Register | None] = [None] * reduced.num_locals
        for element, target in zip(elements, self.targets(), strict=True):
            known = partials[target]
            partials[target] = element if known is None else self.combine(known, element)
        return [partial for partial in partials if partial is not None]

    def between_lanes(self, partials: list[Register], mask: int) -> list[Register]:
        """Combines with the lane whose number differs by `mask`."""
        return [self.combine(p, self._exchanged(p, mask)) for p in partials]

    def _exchanged(self, value: Register, mask: int) -> Register:
        builder = self.context.builder
        if self.boolean:
            word = builder.compute("selp.b32", B32, 1, 0, value)
            return builder.compute("setp.ne.s32", PRED, self._shuffle(word, mask), 0)
        if self.wide:
            low, high = builder.once(B32), builder.once(B32)
            builder.emit("mov.b64", (Vector((low, high)),), (value,))
            halves = Vector((self._shuffle(low, mask), self._shuffle(high, mask)))
            return builder.compute("mov.b64", B64, halves)
        return self._shuffle(value, mask)

    def _shuffle(self, word: Register, mask: int) -> Register:
        return self.context.builder.compute("shfl.sync.bfly.b32", B32, word, mask, 31, 0xFFFFFFFF)

    def through_shared(self, partials: list[Register], step: int, extent: int) -> list[Register]:
        """Combines the partials of threads whose numbers differ in one digit, in its order."""
        context, builder, scalars = self.context, self.context.builder, self.context.scalars
        size = 8 if self.wide else 4
        thread = Linear.of(context.thread())
        inner = scalars.modulo(thread, step)
        outer = scalars.floor_divide(thread, step * extent)
        others = self.layout.num_threads // extent
        column = (outer * step + inner) * size
        row = context.digit(step, extent) * (len(partials) * others * size)
        base = Linear.of(builder.pure("mov.u32", B32, SHARED))
        owns = context.owns(self.layout)
        predicate = owns if isinstance(owns, Register) else None
        suffix = "b64" if self.wide else "b32"
        context.barrier()
        place = scalars.in_register(base + column + row)
        for number, partial in enumerate(partials):
            word = partial
            if self.boolean:
                word = builder.compute("selp.b32", B32, 1, 0, partial)
            address = Address(place, self.scratch + number * others * size)
            builder.emit(f"st.shared.{suffix}", (), (address, word), predicate)
        context.barrier()
        start = scalars.in_register(base + column)
        return [
            self._gather(start, predicate, number, len(partials), extent, others * size, suffix)
            for number in range(len(partials))
        ]

    def _gather(
        self,
        start: Register,
        predicate: Register | None,
        number: int,
        count: int,
        extent: int,
        stride: int,
        suffix: str,
    ) -> Register:
        builder = self.context.builder
        total: Register | None = None
        for digit in range(extent):
            word = builder.once(B64 if self.wide else B32)
            if predicate is not None:
                builder.emit(f"mov.{suffix}", (word,), (0,))
            address = Address(start, self.scratch + (digit * count + number) * stride)
            builder.emit(f"ld.shared.{suffix}", (word,), (address,), predicate)
            value = word
            if self.boolean:
                value = builder.compute("setp.ne.s32", PRED, word, 0)
            total = value if total is None else self.combine(total, value)
        assert total is not None
        return total


def _crosses_shared(step: int, extent: int) -> bool:
    """Whether a digit of the thread number reaches beyond a warp (or is no power of two)."""
    powers = step & (step - 1) == 0 and extent & (extent - 1) == 0
    return not powers or step * extent > 32


def _pieces(step: int, extent: int) -> list[tuple[int, int]]:
    """A digit as the part that lanes of a warp exchange and the part between others, if it has
    both."""
    if step & (step - 1) == 0 and step < 32:
        lanes = min(extent & -extent, 32 // step)
        if 1 < lanes < extent:
            return [(step, lanes), (step * lanes, extent // lanes)]
    return [(step, extent)]


@lowering(Reduce)
def lower_reduce(context: Context, instruction: Reduce) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    source, op, dim = context.tile(instruction.value), instruction.op, instruction.dim
    dtype, layout = source.type.dtype, source.type.placed
    scratch = context.scratch.get(instruction, 0)
    elements = unpack_elements(context, source, range(source.num_locals))
    reduction = _Reduction(context, op.removeprefix("arg"), dtype, layout, dim, scratch)
    partials = reduction.run(elements)
    if op.startswith("arg"):
        where = _Reduction(context, "min", result.type.dtype, layout, dim, scratch)
        partials = _first_places(where, dtype, elements, partials)
    context.bind(result, pack_elements(context, result.type, partials))


def _first_places(
    where: _Reduction, dtype: Dtype, elements: Sequence[Register], best: list[Register]
) -> list[Register]:
    """The lowest index at which an element equals the best one; 0 where all are NaN."""
    context, builder = where.context, where.context.builder
    equal = operations.element_operation(vm.Equal, dtype)
    base = context.spatial_index(where.layout, where.dim)
    found = []
    table = where.layout.local_table[:, where.dim].tolist()
    for element, target, offset in zip(elements, where.targets(), table, strict=True):
        index = context.scalars.register(base + offset)
        here = equal(context, element, best[target])
        found.append(builder.compute("selp.b32", B32, index, _NO_INDEX, here))
    places = where.run(found)
    if not dtype.is_float:
        return places
    nowhere = [builder.compute("setp.eq.s32", PRED, place, _NO_INDEX) for place in places]
    return [
        builder.compute("selp.b32", B32, 0, place, none)
        for place, none in zip(places, nowhere, strict=True)
    ]


@scratch(Reduce)
def reduce_scratch(instruction: Reduce, num_threads: int) -> int:
    """Bytes of shared memory a reduction needs."""
    value = instruction.value
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    layout = value.type.placed
    digits = layout.spatial_modes_of(instruction.dim)
    parts = [part for step, extent, _ in digits for part in _pieces(step, extent)]
    if not any(_crosses_shared(step, extent) for step, extent in parts):
        return 0
    locals_left = layout.reduce(instruction.dim, keepdims=True).num_locals
    return layout.num_threads * locals_left * (8 if value.type.dtype.bits == 64 else 4)


@layout_rule(Reduce)
def infer_reduce(inference: Inference, instruction: Reduce) -> None:
    source = inference.known(instruction.value)
    if source is not None:
        inference.propose(instruction.result, source.reduce(instruction.dim, keepdims=True))


@layout_demand(Reduce)
def reduce_demand(instruction: Reduce, num_threads: int) -> Demand:
    value = instruction.value
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    return [("result", value.type.placed.reduce(instruction.dim, keepdims=True))]
