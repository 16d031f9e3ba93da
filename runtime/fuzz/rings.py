"""Rings between groups of threads: some fill stages by stores or the copy engine, others use them.

Each is a whole of its own at the outermost level: its shared tiles, barriers and views are nobody
else's. What is stored are the rows of an input, changed bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tileloom.layouts import MemoryLayout, row_major, swizzled
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.expr import Const, Expr, Ref, Special, Unary, as_expr, binary
from tileloom.vm.instructions.bulk import BulkCommit, BulkWait, CopyBulk, StoreBulk
from tileloom.vm.instructions.elementwise import Neg, Xor
from tileloom.vm.instructions.mbarrier import (
    AllocMbarrier,
    MbarrierArrive,
    MbarrierExpect,
    MbarrierTest,
    MbarrierWait,
)
from tileloom.vm.instructions.memory import AllocShared, GlobalView, Load, Store
from tileloom.vm.instructions.registers import SetRegisters
from tileloom.vm.instructions.scalars import Assign, Var
from tileloom.vm.instructions.sync import Barrier, FenceProxyAsync
from tileloom.vm.instructions.tensor import CopyTensor, StoreTensor
from tileloom.vm.ir import For, Group, If, Value, While
from tileloom.vm.types import (
    BarrierType,
    GlobalType,
    RegType,
    ScalarType,
    SharedType,
    row_major_strides,
)

from .draft import Draft
from .known import Known, Refusal, of_integers

_ELEMENTS = ("u8", "i8", "f16", "bf16", "i16", "u16", "f32", "i32", "u32", "f64", "i64")
Body = Callable[[Value], None]


@dataclass(frozen=True)
class _Ring:
    """A drawn ring: `turns` tiles of `shape`, from `x` to `y` [blocks, turns * rows, columns]."""

    element: Dtype
    shape: tuple[int, int]
    stages: int
    turns: int
    x: Value
    y: Value
    stage: Value
    out: Value | None
    full: Value
    empty: Value
    way_in: str
    way_out: str
    per: str
    fillers: int
    ranks: int  # blocks of the cluster that share what comes in
    spread: str

    @property
    def everyone(self) -> range | tuple[None]:
        """The ranks whose blocks a stage's users tell that they are done (None: their own)."""
        return range(self.ranks) if self.spread else (None,)

    @property
    def num_bytes(self) -> int:
        return self.shape[0] * self.shape[1] * self.element.bits // 8


def ring(draft: Draft) -> None:
    """A ring between two groups of warps."""
    if draft.num_warps < 2 or len(draft.scopes) > 1:
        raise Refusal("no place for two groups")
    random = draft.random
    users = random.randint(1, draft.num_warps - 1)
    if draft.num_warps == 8 and random.random() < 0.6:
        users = 4  # groups that may change their registers
    made = _draw(draft, users, draft.num_warps - users)
    if made.spread:
        draft.meet()  # the others' barriers are there
    first = random.random() < 0.5
    changes = draw_changes(draft, users == 4 and draft.num_warps == 8, 56, 128)
    parts = [((0, users), _use), ((users, draft.num_warps - users), _fill)]
    for warps, body in parts if first else parts[::-1]:
        with draft.block(made.turns) as scope:
            if (warps[0] > 0) in changes:
                count, change = changes[warps[0] > 0]
                draft.emit(SetRegisters, count=count, change=change)
            body(draft, made)
        draft.append(Group(warps, tuple(scope.statements)))
    if made.spread:
        draft.meet()  # nobody's memory is gone while others write there
    else:
        draft.emit(Barrier)


def draw_changes(
    draft: Draft, possible: bool, first: int, second: int
) -> dict[int, tuple[int, str]]:
    """The registers to which two groups of 4 warps change: one gives some back, and the other, if
    at all, takes some of them. Who has few and is to have many does.

    Not where sums of warp groups live on: their registers must then be among those that stay, and
    the assembler serialises products, which a build refuses, where it finds too few of those.
    """
    needs = first > second and 0 in draft.few
    if not possible or draft.has_products or (draft.random.random() < 0.4 and not needs):
        return {}
    changes = {0: (first, "less"), 1: (second, "more")}
    if first > second:
        changes = {0: (first, "more"), 1: (second, "less")}
    if not needs and draft.random.random() < 0.3:
        changes = {g: each for g, each in changes.items() if each[1] == "less"}
    draft.few -= set(changes)
    draft.few |= {g for g, each in changes.items() if each[1] == "less"}
    return changes


def _draw(draft: Draft, users: int, fillers: int) -> _Ring:
    random = draft.random
    element = dtype(random.choice(_ELEMENTS))
    unit = 128 // element.bits
    shape = (random.choice((1, 2, 8, 16)), unit * random.choice((1, 2, 3, 4, 8, 16)))
    stages, turns = random.randint(1, 4), random.randint(1, 6)
    way_in = random.choice(("stores", "bulk", "tensor", "tensor"))
    if way_in == "tensor" and shape[0] * shape[1] * element.bits % 1024:
        shape = (8, shape[1])  # stages begin at multiples of 128 bytes
    way_out = random.choice(("plain", "bulk", "tensor"))
    per = random.choice(("thread", "warp"))
    ranks, spread = _spread(draft, way_in, element, shape)
    tensors = "bulk" not in (way_in, way_out)
    ragged = random.choice((0, 0, min(1, shape[0] - 1), shape[0] - 1)) if tensors else 0
    rows = turns * shape[0] - ragged
    x = _view(draft, "x", element, (1 if spread else draft.num_blocks, rows, shape[1]))
    y = _view(draft, "y", element, (draft.num_blocks, rows, shape[1]))
    parts = ranks if spread == "parts" else 1
    layout = _layout(draft, (stages, *shape), element, way_in, parts)
    stage = draft.emit(AllocShared, SharedType(element, (stages, *shape), layout))
    out = None
    if way_out != "plain":
        out = draft.emit(
            AllocShared, SharedType(element, shape, _layout(draft, shape, element, way_out))
        )
    arrivals = 32 * fillers if per == "thread" else fillers
    full = draft.emit(
        AllocMbarrier, BarrierType((stages,)), count=arrivals if way_in == "stores" else 1
    )
    done = (32 * users if per == "thread" else users) * (ranks if spread else 1)
    empty = draft.emit(AllocMbarrier, BarrierType((stages,)), count=done)
    assert stage is not None and full is not None and empty is not None
    return _Ring(
        element, shape, stages, turns, x, y, stage, out, full, empty, way_in, way_out, per,
        fillers, ranks, spread,
    )  # fmt: skip


def _spread(draft: Draft, way_in: str, element: Dtype, shape: tuple[int, int]) -> tuple[int, str]:
    """The blocks of the cluster, and which of them copies what to whom; "": each for itself."""
    ranks = prod(draft.cluster)
    if ranks == 1 or way_in == "stores" or draft.may_have_ended or draft.random.random() < 0.3:
        return ranks, ""
    box = shape[0] * shape[1] * element.bits // 8 // ranks
    fits = shape[0] % ranks == 0 and (way_in == "bulk" or box % 128 == 0)
    ways = ["first", "next"] + (["parts"] * 2 if fits else [])
    return ranks, draft.random.choice(ways)


def _view(draft: Draft, name: str, element: Dtype, extents: tuple[int, ...]) -> Value:
    size = int(np.prod(extents)) * element.bits // 8
    data = np.frombuffer(draft.random.randbytes(size), np.uint8).copy()
    known = None
    if name == "y":
        special = Known(-1, 1, special=True)
        known = special if element.is_float else of_integers(element)
        data[:] = 0
    pointer = draft.pointer(name, element, data, known)
    shape: tuple[Expr, ...] = tuple(map(Const, extents))
    view = draft.emit(
        GlobalView, GlobalType(element, shape, row_major_strides(shape)), pointer=pointer
    )
    assert view is not None
    return view


def _layout(
    draft: Draft, shape: tuple[int, ...], element: Dtype, way: str, parts: int = 1
) -> MemoryLayout | None:
    """A layout that the way of copying can write, a part of a stage at a time."""
    if way == "bulk" or draft.random.random() < 0.3:
        return None
    layout = swizzled(shape, element.bits)
    box = shape[-2] * shape[-1] * element.bits // 8 // parts
    if draft.random.random() < 0.3 or (layout.swizzle and box % layout.swizzle.period):
        return row_major(*shape)
    return layout


# ---- the two sides


def _turns(draft: Draft, made: _Ring, body: Body) -> None:
    """A loop over the ring's turns."""
    index = Value(draft.name("i"), ScalarType(dtype("i32")))
    with draft.block(made.turns, in_loop=True) as scope:
        body(index)
    bounds = (Const(0), Const(made.turns), Const(1))
    unroll = draft.random.choice((1, 1, 2, 0))
    draft.append(For(index, *bounds, tuple(scope.statements), unroll))


def _place(made: _Ring, turn: Value) -> tuple[Expr, Expr]:
    """The stage of a turn, and its phase."""
    return Ref(turn) % made.stages, Ref(turn) // made.stages


def _fill(draft: Draft, made: _Ring) -> None:
    is_single = made.way_in != "stores" and draft.random.random() < 0.6
    asks = (is_single or made.fillers == 1) and draft.random.random() < 0.3
    remote, expect = draft.random.random() < 0.5, Const(made.num_bytes)

    def body(turn: Value) -> None:
        stage, phase = _place(made, turn)
        if asks:
            _ask(draft, made.empty, stage, phase + 1)
        draft.emit(MbarrierWait, barrier=made.empty, index=(stage,), phase=phase + 1)
        if made.way_in == "stores":
            tile = _load(draft, made, made.x, _rows(draft, made, turn), dims=(1, 2))
            _store(draft, made.stage, (stage, Const(0), Const(0)), tile, dims=(1, 2))
            draft.emit(MbarrierArrive, barrier=made.full, index=(stage,), per=made.per)
            return
        if made.spread != "next" or not remote:
            draft.emit(MbarrierExpect, barrier=made.full, index=(stage,), num_bytes=expect)
        if made.spread == "first":
            with draft.block() as scope:
                _copy_in(draft, made, turn, stage)
            is_first = binary("==", Special("cluster_rank"), 0)
            draft.append(If(is_first, tuple(scope.statements)))
            return
        if made.spread == "next" and remote:
            following = (Special("cluster_rank") + 1) % made.ranks
            draft.emit(
                MbarrierExpect, barrier=made.full, index=(stage,), num_bytes=expect, rank=following
            )
        _copy_in(draft, made, turn, stage)

    if not is_single:
        _turns(draft, made, body)
        return
    with draft.block() as scope:
        _turns(draft, made, body)
    draft.append(Group(None, tuple(scope.statements)))


def _ask(draft: Draft, barriers: Value, stage: Expr, phase: Expr) -> None:
    """Tests until the phase is over, in a single thread or warp."""
    over = draft.emit(Var, ScalarType(dtype("bool")), value=Const(False))
    assert over is not None
    with draft.block() as scope:
        found = draft.emit(MbarrierTest, barrier=barriers, index=(stage,), phase=phase)
        assert found is not None
        draft.emit(Assign, target=over, value=Ref(found))
    draft.append(While(Unary("not", Ref(over)), tuple(scope.statements)))


def _copy_in(draft: Draft, made: _Ring, turn: Value, stage: Expr) -> None:
    _, row, column = _rows(draft, made, turn)
    block = Const(0) if made.spread else draft.block_number()
    rank, size, first = Special("cluster_rank"), made.shape[0], as_expr(0)
    common: dict[str, Any] = {"target": made.stage, "source": made.x, "barrier": made.full}
    common |= {"index": (stage,), "cache": draft.random.choice(("", "stream", "keep"))}
    if made.spread in ("first", "parts"):
        common["ranks"] = Const((1 << made.ranks) - 1)
    if made.spread == "next":
        common["ranks"] = binary("<<", Const(1), (rank + 1) % made.ranks)
    if made.spread == "parts":
        size //= made.ranks
        first = rank * size
    if made.way_in == "tensor":
        draft.emit(
            CopyTensor, target_offsets=(stage, first, Const(0)), shape=(size, made.shape[1]),
            source_offsets=(block, row + first, column), dims=(1, 2), **common,
        )  # fmt: skip
        return
    for number in range(size):
        draft.emit(
            CopyBulk, target_offsets=(stage, first + number, Const(0)), count=made.shape[1],
            source_offsets=(block, row + first + number, column), **common,
        )  # fmt: skip


def _use(draft: Draft, made: _Ring) -> None:
    def body(turn: Value) -> None:
        stage, phase = _place(made, turn)
        draft.emit(MbarrierWait, barrier=made.full, index=(stage,), phase=phase)
        tile = _load(draft, made, made.stage, (stage, Const(0), Const(0)), dims=(1, 2))
        for rank in made.everyone:
            place = None if rank is None else Const(rank)
            draft.emit(MbarrierArrive, barrier=made.empty, index=(stage,), per=made.per, rank=place)
        changed = _changed(draft, made, tile)
        rows = _rows(draft, made, turn)
        if made.out is None:
            _store(draft, made.y, rows, changed, dims=(1, 2))
            return
        draft.emit(BulkWait, read=draft.random.random() < 0.7)
        draft.emit(Barrier)
        _store(draft, made.out, (Const(0), Const(0)), changed)
        draft.emit(FenceProxyAsync)
        draft.emit(Barrier)
        _copy_out(draft, made, rows)
        draft.emit(BulkCommit)

    _turns(draft, made, body)
    if made.out is not None:
        draft.emit(BulkWait)


def _copy_out(draft: Draft, made: _Ring, rows: tuple[Expr, Expr, Expr]) -> None:
    block, row, column = rows
    cache = draft.random.choice(("", "stream"))
    if made.way_out == "tensor":
        draft.emit(
            StoreTensor, target=made.y, target_offsets=rows, source=made.out, cache=cache,
            source_offsets=(Const(0), Const(0)), shape=made.shape, dims=(1, 2),
        )  # fmt: skip
        return
    for number in range(made.shape[0]):
        draft.emit(
            StoreBulk, target=made.y, target_offsets=(block, row + number, column), cache=cache,
            source=made.out, source_offsets=(Const(number), Const(0)), count=made.shape[1],
        )  # fmt: skip


def _rows(draft: Draft, made: _Ring, turn: Value) -> tuple[Expr, Expr, Expr]:
    return draft.block_number(), Ref(turn) * made.shape[0], Const(0)


def _load(
    draft: Draft, made: _Ring, source: Value, offsets: tuple[Expr, ...], **more: Any
) -> Value:
    annotation = RegType(made.element, made.shape)
    tile = draft.emit(Load, annotation, source=source, offsets=offsets, **more)
    assert tile is not None
    return tile


def _store(
    draft: Draft, target: Value, offsets: tuple[Expr, ...], tile: Value, **more: Any
) -> None:
    draft.emit(Store, target=target, offsets=offsets, value=tile, **more)


def _changed(draft: Draft, made: _Ring, tile: Value) -> Value:
    """Other bits, the same on every executor."""
    if made.element.is_float:
        found = draft.emit(Neg, value=tile)
    else:
        found = draft.emit(Xor, lhs=tile, rhs=Const(draft.random.randint(1, 100)))
    assert found is not None
    return found
