"""Lowering of copies of tiles by the copy engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from tileloom.vm.expr import Const, Expr, Special, children, references
from tileloom.vm.instructions.bulk import UNIT
from tileloom.vm.instructions.memory import GlobalView
from tileloom.vm.instructions.tensor import CopyTensor, StoreTensor
from tileloom.vm.ir import Value, instructions
from tileloom.vm.tensor_maps import TensorMap
from tileloom.vm.types import GlobalType

from ..emit.addresses import contribution
from ..emit.context import Context, GlobalBinding, LoweringError, SharedBinding
from ..emit.linear import Linear
from ..ptx import Address, Register, RegisterKind, TensorAddress
from ..tensor_boxes import BoxError, Boxes, plan_boxes
from .bulk import mask_operands, policy_operands
from .mbarrier import barrier_address, one_thread, require_hopper
from .memory import memory_binding
from .registry import lowering

B32, B64 = RegisterKind.B32, RegisterKind.B64
_ALIGNMENT = 128  # bytes: where boxes start in shared memory
_FARTHEST = 0x7FFF0000  # of coordinates: boxes from there on do not wrap


@dataclass(frozen=True, eq=False)
class _Copy:
    """A copy between a shared tile and a view, box by box."""

    context: Context
    instruction: CopyTensor | StoreTensor
    tile: Value
    tile_offsets: tuple[Expr, ...]
    view: Value
    view_offsets: tuple[Expr, ...]

    @property
    def shared(self) -> SharedBinding:
        binding = memory_binding(self.context, self.tile)
        assert isinstance(binding, SharedBinding)
        return binding

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimension of the view along which each of the tile runs."""
        rank, size = len(self.view_offsets), len(self.instruction.shape)
        return self.instruction.dims or tuple(range(rank - size, rank))

    def boxes(self) -> Iterator[tuple[Address, TensorAddress]]:
        """Where each box lies in shared memory, and in the tensor.

        Raises:
            LoweringError: the engine can't copy this tile.
        """
        try:
            plan = plan_boxes(self.shared.layout, self.shared.dtype.bits, self.instruction.shape)
        except BoxError as problem:
            text = f"the layout of `{self.tile.label}`: {problem}"
            raise self._error(text, _LAYOUT_HINT) from None
        order = self._order(plan)
        pointer = self.context.tensor_map(self._map(plan, order))
        scalars = self.context.scalars
        starts = [scalars.as_offset(scalars.integer(e)) for e in self.view_offsets]
        self._check_row(order[0], starts[order[0]])
        for steps in product(*map(range, plan.counts)):
            moved = [step * n for step, n in zip(steps, plan.extents, strict=True)]
            coordinates = list(starts)
            for dim, by in zip(self.dims, moved, strict=True):
                coordinates[dim] = coordinates[dim] + by
            registers = tuple(self._coordinate(coordinates[dim]) for dim in order)
            yield self._address(plan, moved), TensorAddress(pointer, registers)

    def _check_row(self, dim: int, start: Linear) -> None:
        """Elsewhere in a row the hardware takes the copy for an illegal instruction."""
        assert isinstance(self.view.type, GlobalType)
        unit = 8 * UNIT // self.view.type.dtype.bits
        if self.context.facts.divisor(start) % unit:
            raise self._error(
                f"index {dim} of `{self.view.label}` may be no multiple of {unit}",
                f"the copy engine begins at multiples of {UNIT} bytes of a row: `assume` that "
                f"{unit} divides it, or use `load` and `store`",
            )

    def _coordinate(self, form: Linear) -> Register | int:
        """A coordinate, which has 32 bits and a sign: what needs more lies outside every tensor."""
        scalars, pure = self.context.scalars, self.context.builder.pure
        if not scalars.has_large(form) and all(r.kind is B32 for r in form.terms):
            return scalars.narrow(form)
        whole = scalars.in_register(form, wide=True)
        below = pure("min.s64", B64, whole, _FARTHEST)
        return pure("cvt.u32.u64", B32, pure("max.s64", B64, below, -_FARTHEST))

    def _order(self, plan: Boxes) -> tuple[int, ...]:
        """The view's dimensions as the map has them."""
        own = [self.dims[dim] for dim in plan.order]
        order = (*own, *(d for d in range(len(self.view_offsets)) if d not in own))
        assert isinstance(self.view.type, GlobalType)
        strides = self.view.type.strides
        if not own or strides[order[0]] != Const(1):
            raise self._error(
                f"neighbours in `{self.tile.label}` are none in `{self.view.label}`",
                "give the shared tile a layout whose densest dimension is the view's, such as "
                "`column_major`",
            )
        return order

    def _map(self, plan: Boxes, order: tuple[int, ...]) -> TensorMap:
        context, view = self.context, self.view
        assert isinstance(view.type, GlobalType)
        known = set(context.function.params)
        for expr in (*view.type.shape, *view.type.strides):
            if _has_special(expr) or not set(references(expr)) <= known:
                raise self._error(
                    f"the extents and strides of `{view.label}` don't follow from parameters alone",
                    "a launch must know them",
                )
        binding = memory_binding(context, view)
        assert isinstance(binding, GlobalBinding)
        if binding.alignment % UNIT:
            raise self._error(
                f"`{view.label}` may start at no multiple of {UNIT} bytes",
                "give it its `alignment`",
            )
        of_tile = dict(zip(self.dims, plan.extents, strict=True))
        box = tuple(of_tile.get(dim, 1) for dim in order)
        return TensorMap(_number(context, view), order, box, view.type.dtype.bits, plan.swizzle)

    def _address(self, plan: Boxes, moved: list[int]) -> Address:
        context, shared = self.context, self.shared
        starts = [context.scalars.integer(e) for e in self.tile_offsets]
        first = len(starts) - len(moved)
        total = Linear({}, shared.layout.start)
        for dim, start in enumerate(starts):
            by = moved[dim - first] if dim >= first else 0
            if dim >= first:
                self._check_start(dim, start, plan.extents[dim - first])
            total = total + contribution(context, shared, dim, start, by)
        place = total * (shared.dtype.bits // 8) + shared.offset
        swizzle = shared.layout.swizzle
        unit = max(_ALIGNMENT, 0 if swizzle is None else swizzle.period)
        if context.facts.divisor(place) % unit:
            raise self._error(
                f"a box of `{self.tile.label}` may start at no multiple of {unit} bytes",
                "let stages take whole multiples, and start at their first element",
            )
        base = Linear.of(context.shared_base()) + place.without_const()
        return Address(context.scalars.in_register(base), place.const)

    def _check_start(self, dim: int, start: Linear, extent: int) -> None:
        """A box may not lie across two of the layout's."""
        digits = self.shared.layout.digits_of(dim)
        if len(digits) > 1 and self.context.facts.divisor(start) % extent:
            raise self._error(
                f"index {dim} of `{self.tile.label}` may be no multiple of {extent}",
                f"`assume` that {extent} divides it",
            )

    def _error(self, message: str, hint: str) -> LoweringError:
        text = f"`{self.instruction.name}`: {message}"
        return LoweringError(text, self.instruction.location, hint=hint)


_LAYOUT_HINT = "such as `swizzled` or `row_major`, with rows of at most 128 bytes where swizzled"


def _has_special(expr: Expr) -> bool:
    return isinstance(expr, Special) or any(map(_has_special, children(expr)))


def _number(context: Context, view: Value) -> int:
    views = [i.result for i in instructions(context.function.body) if isinstance(i, GlobalView)]
    return views.index(view)


@lowering(CopyTensor)
def lower_copy_tensor(context: Context, instruction: CopyTensor) -> None:
    require_hopper(context, instruction)
    target, source = instruction.target, instruction.source
    assert isinstance(target, Value) and isinstance(source, Value)
    copy = _Copy(
        context, instruction, target, instruction.target_offsets, source,
        instruction.source_offsets,
    )  # fmt: skip
    barrier = barrier_address(context, instruction.barrier, instruction.index)
    cast, mask = mask_operands(context, instruction.ranks)
    hint, policy = policy_operands(context, instruction.cache)
    opcode = (
        f"cp.async.bulk.tensor.{len(instruction.source_offsets)}d.shared::cluster.global.tile"
        f".mbarrier::complete_tx::bytes{cast}{hint}"
    )
    for into, place in copy.boxes():
        operands = (into, place, barrier, *mask, *policy)
        context.builder.emit(opcode, (), operands, one_thread(context))


@lowering(StoreTensor)
def lower_store_tensor(context: Context, instruction: StoreTensor) -> None:
    require_hopper(context, instruction)
    target, source = instruction.target, instruction.source
    assert isinstance(target, Value) and isinstance(source, Value)
    copy = _Copy(
        context, instruction, source, instruction.source_offsets, target,
        instruction.target_offsets,
    )  # fmt: skip
    hint, policy = policy_operands(context, instruction.cache)
    rank = len(instruction.target_offsets)
    opcode = f"cp.async.bulk.tensor.{rank}d.global.shared::cta.tile.bulk_group{hint}"
    for start, place in copy.boxes():
        context.builder.emit(opcode, (), (place, start, *policy), one_thread(context))
