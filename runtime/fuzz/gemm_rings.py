"""Products over a ring: the copy engine brings parts of both operands, a warp group multiplies
them from shared memory or registers.

The whole of it stands at the outermost level. What is stored are the sums, as they are or cast.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tileloom.layouts import MemoryLayout, fragments, matrix_operand, swizzled
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.expr import Const, Expr, Ref, binary
from tileloom.vm.instructions.bulk import BulkCommit, BulkWait
from tileloom.vm.instructions.create import Full
from tileloom.vm.instructions.matrices import StoreMatrix
from tileloom.vm.instructions.mbarrier import (
    AllocMbarrier,
    MbarrierArrive,
    MbarrierExpect,
    MbarrierWait,
)
from tileloom.vm.instructions.memory import AllocShared, Load, Store
from tileloom.vm.instructions.registers import SetRegisters
from tileloom.vm.instructions.sync import Barrier, FenceProxyAsync
from tileloom.vm.instructions.tensor import CopyTensor, StoreTensor
from tileloom.vm.instructions.transform import Cast
from tileloom.vm.instructions.wgmma import Wgmma, WgmmaCommit, WgmmaWait
from tileloom.vm.ir import For, Group, If, Value
from tileloom.vm.types import (
    BarrierType,
    GlobalType,
    RegType,
    ScalarType,
    SharedType,
    row_major_strides,
)

from .conversions import cast_known
from .draft import Draft
from .inputs import at_head, draw_codes, packed
from .known import Known, Refusal, multiplied, summed
from .rings import draw_changes
from .warp_groups import KINDS


@dataclass(frozen=True)
class _Operand:
    """A ring of parts of one operand, and the view they come from. `turned`: the view's rows run
    along k, the tile's columns do."""

    ring: Value
    view: Value
    part: tuple[int, int]
    turned: bool


@dataclass(frozen=True)
class _Product:
    """acc [m, n] += a [m, k] @ b [k, n] for each of `turns` parts of k."""

    a: _Operand
    b: _Operand
    total: Dtype
    known: Known
    stages: int
    turns: int
    full: Value
    empty: Value
    in_registers: bool
    num_bytes: int
    users: int  # warps that multiply
    element: Dtype  # of what is stored
    out: Value | None


def gemm_ring(draft: Draft) -> None:
    """A ring of operand tiles between a warp group and those who fetch for it."""
    if draft.num_warps <= 4 or len(draft.scopes) > 1:
        raise Refusal("no place for two groups")
    random = draft.random
    made = _draw(draft)
    fetching = draft.num_warps - made.users
    changes = draw_changes(draft, fetching == made.users, 160, 56)
    parts = [((0, made.users), _multiply), ((made.users, fetching), _fetch)]
    for warps, body in parts if random.random() < 0.5 else parts[::-1]:
        with draft.block(made.turns) as scope:
            if (warps[0] > 0) in changes:
                count, change = changes[warps[0] > 0]
                draft.emit(SetRegisters, count=count, change=change)
            body(draft, made)
        draft.append(Group(warps, tuple(scope.statements)))
    draft.emit(Barrier)
    for shared in draft.shared():
        shared.pending = False


def _draw(draft: Draft) -> _Product:
    random = draft.random
    left, right, total = map(dtype, random.choice(KINDS))
    stages, turns = random.randint(1, 3), random.randint(1, 4)
    depth = fragments.wgmma_depth(left.name) * random.choice((1, 2))
    n = 8 * random.choice((1, 2, 4, 8))
    in_registers = random.random() < 0.4
    users = 8 if draft.num_warps > 8 else 4
    m = 64 * random.choice((1, users // 4))
    a, known_a = _operand(draft, left, (m, depth), (stages, turns), False)
    b, known_b = _operand(draft, right, (depth, n), (stages, turns), True)
    known = summed(total, multiplied(known_a, known_b), depth * turns, Known(0, 0, 0))
    draft.accept(known)
    element = total
    if total.name == "f32" and random.random() < 0.6:
        element = dtype(random.choice(("f16", "bf16")))
        known = draft.accept(cast_known(total, element, known))
    out = None
    if random.random() < 0.5:
        layout = swizzled((m, n), element.bits)
        out = draft.emit(AllocShared, SharedType(element, (m, n), layout))
    full = draft.emit(AllocMbarrier, BarrierType((stages,)), count=1)
    empty = draft.emit(AllocMbarrier, BarrierType((stages,)), count=users)
    assert full is not None and empty is not None
    size = (prod(a.part) * left.bits + prod(b.part) * right.bits) // 8
    return _Product(
        a, b, total, known, stages, turns, full, empty, in_registers, size, users, element, out
    )


def _operand(
    draft: Draft, element: Dtype, part: tuple[int, int], counts: tuple[int, int], is_right: bool
) -> tuple[_Operand, Known]:
    """One operand: k is the last dimension of a left one, the first of a right one."""
    random = draft.random
    stages, turns = counts
    k, other = part if is_right else part[::-1]
    along_k = not (element.bits == 16 and random.random() < 0.5)
    turned = along_k == is_right
    rows, columns = (other, k * turns) if along_k else (k * turns, other)
    if not along_k and other % 8:
        raise Refusal("rows of part of 16 bytes")
    layout = _layout(stages, k, other, element, along_k)
    if is_right:
        layout = layout.permute(0, 2, 1)
    ring = draft.emit(AllocShared, SharedType(element, (stages, *part), layout))
    codes, known = _numbers(draft, element, rows * columns)
    pointer = draft.pointer("x", element, packed(element, codes))
    sizes = (Const(rows), Const(columns))
    view = at_head(draft, pointer, GlobalType(element, sizes, row_major_strides(sizes)))
    assert ring is not None
    return _Operand(ring, view, part, turned), known


def _layout(stages: int, k: int, other: int, element: Dtype, along_k: bool) -> MemoryLayout:
    """Stages of [other, k], in rows along k or along the other dimension."""
    if along_k:
        matrix_operand(other, k, element.bits)
        layout = swizzled((stages, other, k), element.bits)
    else:
        matrix_operand(other, k, element.bits, mn_major=True)
        layout = swizzled((stages, k, other), element.bits).permute(0, 2, 1)
    box = other * k * element.bits // 8
    if layout.swizzle is not None and box % layout.swizzle.period:
        raise Refusal("stages within a swizzle's rows")
    return layout


def _numbers(draft: Draft, element: Dtype, count: int) -> tuple[Any, Known]:
    """Operands whose sums are exact: 8-bit floats keep few digits of them."""
    if element.bits == 8 and element.is_float:
        source = np.random.default_rng(draft.random.getrandbits(32))
        return element.encode(source.integers(-3, 3, count, endpoint=True)), Known(-3, 3, 0)
    return draw_codes(draft, element, count, "grid")


# ---- the two sides


def _turns(draft: Draft, made: _Product, body: Any) -> None:
    index = Value(draft.name("i"), ScalarType(dtype("i32")))
    with draft.block(made.turns, in_loop=True) as scope:
        body(index)
    bounds = (Const(0), Const(made.turns), Const(1))
    draft.append(For(index, *bounds, tuple(scope.statements), draft.random.choice((1, 1, 2))))


def _fetch(draft: Draft, made: _Product) -> None:
    def body(turn: Value) -> None:
        stage, phase = Ref(turn) % made.stages, Ref(turn) // made.stages
        draft.emit(MbarrierWait, barrier=made.empty, index=(stage,), phase=phase + 1)
        draft.emit(
            MbarrierExpect, barrier=made.full, index=(stage,), num_bytes=Const(made.num_bytes)
        )
        for operand, dim in ((made.a, 1), (made.b, 0)):
            places: list[Expr] = [Const(0), Const(0)]
            places[dim] = Ref(turn) * operand.part[dim]
            draft.emit(
                CopyTensor, target=operand.ring, target_offsets=(stage, Const(0), Const(0)),
                source=operand.view, barrier=made.full, index=(stage,), shape=operand.part,
                source_offsets=tuple(places[::-1] if operand.turned else places),
                dims=(1, 0) if operand.turned else None,
                cache=draft.random.choice(("", "stream", "keep")),
            )  # fmt: skip

    with draft.block() as scope:
        _turns(draft, made, body)
    draft.append(Group(None, tuple(scope.statements)))


def _multiply(draft: Draft, made: _Product) -> None:
    random = draft.random
    m, n = made.a.part[0], made.b.part[1]
    fill = 0.0 if made.total.is_float else 0
    acc = draft.emit(Full, RegType(made.total, (m, n)), fill=fill)
    assert acc is not None
    late = not made.in_registers and made.stages > 1 and random.random() < 0.5

    def body(turn: Value) -> None:
        stage, phase = Ref(turn) % made.stages, Ref(turn) // made.stages
        zeros = (stage, Const(0), Const(0))
        draft.emit(MbarrierWait, barrier=made.full, index=(stage,), phase=phase)
        fields: dict[str, Any] = {"a": made.a.ring, "a_offsets": zeros}
        if made.in_registers:
            tile = RegType(_element(made.a.ring), made.a.part)
            fields = {"a": draft.emit(Load, tile, source=made.a.ring, offsets=zeros, dims=(1, 2))}
        draft.emit(Wgmma, acc=acc, b=made.b.ring, b_offsets=zeros, **fields)
        draft.emit(WgmmaCommit)
        if not late:
            draft.emit(WgmmaWait)
            draft.emit(MbarrierArrive, barrier=made.empty, index=(stage,), per="warp")
            return
        # The stage of the turn before is free once only this turn's product is in flight.
        draft.emit(WgmmaWait, pending=1)
        with draft.block() as scope:
            before = ((Ref(turn) - 1) % made.stages,)
            draft.emit(MbarrierArrive, barrier=made.empty, index=before, per="warp")
        draft.append(If(binary(">", Ref(turn), 0), tuple(scope.statements)))

    _turns(draft, made, body)
    draft.emit(WgmmaWait)
    _store(draft, made, acc)


def _element(tile: Value) -> Dtype:
    assert isinstance(tile.type, SharedType)
    return tile.type.dtype


def _store(draft: Draft, made: _Product, acc: Value) -> None:
    """The sums to an output of the block's own, through the engine or not."""
    element = made.element
    if element != made.total:
        value = draft.emit(Cast, value=acc, dtype=element)
        assert value is not None
        acc = value
    assert isinstance(acc.type, RegType)
    shape = acc.type.shape
    data = np.zeros(draft.num_blocks * prod(shape) * element.bits // 8, np.uint8)
    pointer = draft.pointer("y", element, data, made.known)
    sizes = (Const(draft.num_blocks), *map(Const, shape))
    view = at_head(draft, pointer, GlobalType(element, sizes, row_major_strides(sizes)))
    place = (draft.block_number(), Const(0), Const(0))
    if made.out is None:
        draft.emit(Store, target=view, offsets=place, value=acc, dims=(1, 2))
        return
    zeros = (Const(0), Const(0))
    put = StoreMatrix if element.bits == 16 and draft.random.random() < 0.7 else Store
    draft.emit(put, target=made.out, offsets=zeros, value=acc)
    draft.emit(FenceProxyAsync)
    draft.emit(Barrier)
    with draft.block() as scope:
        draft.emit(
            StoreTensor, target=view, target_offsets=place, source=made.out, source_offsets=zeros,
            shape=shape, dims=(1, 2),
        )  # fmt: skip
        draft.emit(BulkCommit)
        draft.emit(BulkWait)
    draft.append(Group(None, tuple(scope.statements)))
