"""Tiles that the copy engine brings and takes away, and tiles that warps pass on to themselves."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tileloom.layouts import MemoryLayout, RegisterLayout, replicate, row_major, spatial, swizzled
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.dtypes.storage import packed_bytes
from tileloom.vm.expr import Const, Expr
from tileloom.vm.instructions.bulk import BulkCommit, BulkWait, CopyBulk, Prefetch, StoreBulk
from tileloom.vm.instructions.mbarrier import AllocMbarrier, MbarrierExpect, MbarrierWait
from tileloom.vm.instructions.memory import Load, Store
from tileloom.vm.instructions.sync import Barrier, FenceProxyAsync, WarpBarrier
from tileloom.vm.instructions.tensor import CopyTensor, StoreTensor
from tileloom.vm.ir import Group, Value
from tileloom.vm.types import BarrierType, GlobalType, RegType, row_major_strides

from . import expressions
from .draft import Draft, Shared, Tile
from .inputs import at_head, draw_codes, packed
from .known import Known, Refusal
from .shapes import draw_layout, draw_run
from .staging import alloc, read

_ELEMENTS = ("u8", "i8", "f16", "bf16", "i16", "u16", "f32", "i32", "u32", "f64", "i64")
_MAX_RANK = 5  # of a view that the engine knows


def engine_layout(draft: Draft, shape: tuple[int, ...], bits: int, tensor: bool) -> MemoryLayout:
    """A layout of a shared tile that the engine can write: rows as they are, or swizzled."""
    if not tensor or len(shape) < 2 or draft.random.random() < 0.4:
        return row_major(*shape)
    return swizzled(shape, bits)


def _shape(draft: Draft, element: Dtype) -> tuple[int, ...]:
    random = draft.random
    unit = 128 // element.bits
    columns = unit * random.choice((1, 1, 2, 3, 4, 8, 16))
    lead = random.choice(((), (1,), (4,), (8,), (16,), (5,), (2, 4), (3, 8)))
    if prod(lead) * columns > 1024:
        raise Refusal("too large")
    return (*lead, columns)


def engine_load(draft: Draft) -> None:
    """A tile that one thread has the engine copy, and all wait for; once more in a second phase."""
    if len(draft.scopes) > 1:
        raise Refusal("barriers live until the end")
    random = draft.random
    element = dtype(random.choice(_ELEMENTS))
    shape = _shape(draft, element)
    tensor = random.random() < 0.6
    view, known, offsets = _source(draft, element, shape, tensor)
    layout = engine_layout(draft, shape, element.bits, tensor)
    shared = alloc(draft, element, shape, known, layout)
    barrier = draft.emit(AllocMbarrier, BarrierType((1,)), count=1)
    assert barrier is not None
    draft.scope.shared.append(shared)
    for phase in range(random.choice((1, 1, 2))):
        if phase:
            draft.emit(Barrier)  # all have read what is overwritten
        with draft.block() as scope:
            number = Const(prod(shape) * element.bits // 8)
            draft.emit(MbarrierExpect, barrier=barrier, index=(Const(0),), num_bytes=number)
            _bring(draft, shared, view, offsets, barrier, tensor)
        draft.append(Group(None, tuple(scope.statements)))
        draft.emit(MbarrierWait, barrier=barrier, index=(Const(0),), phase=Const(phase))
        read(draft, shared)


def _source(
    draft: Draft, element: Dtype, shape: tuple[int, ...], tensor: bool
) -> tuple[Value, Known, tuple[Expr, ...]]:
    """A view of an input, what is known of a tile of it, and where the tile begins. Tiles of
    tensors may leave the view."""
    random = draft.random
    unit = 128 // element.bits
    extents, offsets, ragged = [], [], False
    for dim, extent in enumerate(shape):
        last = dim == len(shape) - 1
        more = random.choice((0, 1, 2))
        low, high = 0, more
        if tensor and random.random() < 0.4:
            low, high, ragged = low - 2, high + 3, True
        step = unit if last else 1  # the engine begins at multiples of 16 bytes of a row
        extents.append(extent + more * step)
        offsets.append(expressions.within(draft, low, high, 1).expr * step)
    codes, known = draw_codes(draft, element, prod(extents))
    pointer = draft.pointer("x", element, packed(element, codes))
    sizes: tuple[Expr, ...] = tuple(map(Const, extents))
    if random.random() < 0.3:
        sizes = (draft.scalar_parameter(draft.name("n"), dtype("i32"), extents[0]).expr, *sizes[1:])
    strides = row_major_strides(tuple(map(Const, extents)))
    view = at_head(draft, pointer, GlobalType(element, sizes, strides))
    return view, known.with_zero() if ragged else known, tuple(offsets)


def _bring(
    draft: Draft,
    shared: Shared,
    view: Value,
    offsets: tuple[Expr, ...],
    barrier: Value,
    tensor: bool,
) -> None:
    shape = shared.type.shape
    zeros = (Const(0),) * len(shape)
    cache = draft.random.choice(("", "stream", "keep"))
    target: dict[str, Any] = {
        "target": shared.value,
        "source": view,
        "barrier": barrier,
        "index": (Const(0),),
    }
    if tensor:
        draft.emit(
            CopyTensor, target_offsets=zeros, source_offsets=offsets, shape=shape, cache=cache,
            **target,
        )  # fmt: skip
        return
    for place in np.ndindex(*shape[:-1]):
        lead = tuple(o + int(n) for o, n in zip(offsets, place, strict=False))
        if draft.random.random() < 0.2:
            draft.emit(
                Prefetch, source=view, offsets=(*lead, offsets[-1]), count=shape[-1], cache=cache
            )
        draft.emit(
            CopyBulk, target_offsets=(*(Const(int(n)) for n in place), Const(0)), cache=cache,
            source_offsets=(*lead, offsets[-1]), count=shape[-1], **target,
        )  # fmt: skip


def engine_store(draft: Draft) -> None:
    """A tile that goes to an output through shared memory and the engine."""
    random = draft.random
    tile = draft.choose("float", "int", "uint")
    shape, bits = tile.shape, tile.dtype.bits
    lead = [(draft.block_number(), draft.num_blocks), *draft.scope.places]
    if bits not in (8, 16, 32, 64) or shape[-1] * bits % 128:
        raise Refusal("no rows of 16 bytes")
    if len(lead) + len(shape) > _MAX_RANK or tile.type.packing is not None:
        raise Refusal("too many dimensions")
    tensor = random.random() < 0.6
    shared = alloc(draft, tile.dtype, shape, tile.known, engine_layout(draft, shape, bits, tensor))
    zeros = (Const(0),) * len(shape)
    draft.use(tile.value)
    draft.emit(Store, target=shared.value, offsets=zeros, value=tile.value)
    draft.emit(FenceProxyAsync)
    draft.emit(Barrier)
    view, offsets = _output(draft, tile, lead, random.choice((0, 0, 1)) if tensor else 0)
    with draft.block() as scope:
        if tensor:
            draft.emit(
                StoreTensor, target=view, target_offsets=offsets, source=shared.value,
                source_offsets=zeros, shape=shape,
            )  # fmt: skip
        else:
            _take(draft, shared, view, offsets)
        draft.emit(BulkCommit)
        draft.emit(BulkWait)
    draft.append(Group(None, tuple(scope.statements)))
    draft.emit(Barrier)
    for each in draft.shared():
        each.pending = False


def _output(
    draft: Draft, tile: Tile, lead: list[tuple[Expr, int]], over: int
) -> tuple[Value, tuple[Expr, ...]]:
    """A view of a new output, whose rows the tile may leave by `over`, and the tile's place."""
    shape = tile.shape
    first = max(1, shape[0] - over) if len(shape) > 1 else shape[0]
    extents = (*(count for _, count in lead), first, *shape[1:])
    size = packed_bytes(prod(extents), tile.dtype.bits)
    start = np.random.default_rng(draft.random.getrandbits(32)).integers(0, 256, size, np.uint8)
    pointer = draft.pointer("y", tile.dtype, start, tile.known)
    sizes: tuple[Expr, ...] = tuple(map(Const, extents))
    view = at_head(draft, pointer, GlobalType(tile.dtype, sizes, row_major_strides(sizes)))
    return view, (*(expr for expr, _ in lead), *(Const(0) for _ in shape))


def _take(draft: Draft, shared: Shared, view: Value, offsets: tuple[Expr, ...]) -> None:
    shape = shared.type.shape
    outer = offsets[: len(offsets) - len(shape)]
    for place in np.ndindex(*shape[:-1]):
        inside = (*(Const(int(n)) for n in place), Const(0))
        draft.emit(
            StoreBulk, target=view, target_offsets=(*outer, *inside), source=shared.value,
            source_offsets=inside, count=shape[-1],
        )  # fmt: skip


def within_warps(draft: Draft) -> None:
    """Rows that each warp stores and reads again by itself, in other layouts, with no more than
    `warp_barrier` in between."""
    random = draft.random
    element = dtype(random.choice(_ELEMENTS))
    columns = random.choice((4, 8, 12, 16, 32, 64))
    shape = (draft.num_warps * random.choice((1, 1, 2)), columns)
    codes, known = draw_codes(draft, element, prod(shape))
    pointer = draft.pointer("x", element, packed(element, codes))
    sizes: tuple[Expr, ...] = tuple(map(Const, shape))
    view = at_head(draft, pointer, GlobalType(element, sizes, row_major_strides(sizes)))
    zeros = (Const(0), Const(0))
    shared = alloc(draft, element, shape, known)
    first = RegType(element, shape, _by_warps(draft, shape, element.bits))
    tile = draft.tile(Load, known, first, source=view, offsets=zeros)
    tile.used = True
    for turn in range(random.choice((1, 1, 2))):
        if turn:
            draft.emit(WarpBarrier)
        draft.emit(Store, target=shared.value, offsets=zeros, value=tile.value)
        draft.emit(WarpBarrier)
        annotation = RegType(element, shape, _by_warps(draft, shape, element.bits))
        tile = draft.tile(Load, known, annotation, source=shared.value, offsets=zeros)
    shared.pending = True
    draft.scope.shared.append(shared)
    draft.barrier(shared)


def _by_warps(draft: Draft, shape: tuple[int, int], bits: int) -> RegisterLayout:
    """A layout in which each warp holds rows of its own, the same ones in all such layouts."""
    random, rows = draft.random, shape[0] // draft.num_warps
    run = draw_run(random, shape[1], bits)
    for _ in range(20):
        inner = draw_layout(random, (rows, shape[1]), 32, run)
        if 32 % inner.num_threads == 0:
            copies = replicate(32 // inner.num_threads) if inner.num_threads < 32 else None
            return spatial(draft.num_warps, 1) * (copies * inner if copies else inner)
    raise Refusal("no whole warps")
