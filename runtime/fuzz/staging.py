"""Shared memory: tiles written and read in other layouts, asynchronous copies, matrix moves."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tileloom.layouts import (
    MemoryLayout,
    RegisterLayout,
    fragments,
    local,
    spatial,
    strided,
    swizzled,
)
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.expr import Const, Expr, Ref, Special
from tileloom.vm.instructions.cluster import LoadRemote, StoreRemote
from tileloom.vm.instructions.elementwise import Add
from tileloom.vm.instructions.matrices import LoadMatrix, StoreMatrix
from tileloom.vm.instructions.memory import (
    AllocShared,
    CopyAsync,
    CopyAsyncCommit,
    CopyAsyncWait,
    FreeShared,
    Load,
    Store,
)
from tileloom.vm.instructions.scalars import Assign, LoadScalar
from tileloom.vm.instructions.transform import ConvertLayout
from tileloom.vm.ir import For, Value
from tileloom.vm.types import RegType, ScalarType, SharedType

from . import expressions
from .draft import I32, Draft, Shared, Tile
from .inputs import draw_view
from .known import Known, Refusal, added, join, rounded
from .memory import add_scalar, choose_layout, in_whole_bytes, load
from .shapes import byte_run, draw_layout, draw_memory_layout, draw_shape


def alloc(
    draft: Draft,
    element: Dtype,
    shape: tuple[int, ...],
    known: Known,
    layout: MemoryLayout | None = None,
) -> Shared:
    """A new shared tile; visible once it has been written whole."""
    layout = layout or draw_memory_layout(draft.random, shape, element.bits)
    value = draft.emit(AllocShared, SharedType(element, shape, layout))
    assert value is not None
    return Shared(value, known)


def round_trip(draft: Draft) -> None:
    """A tile through shared memory: written whole, read back in other layouts."""
    random = draft.random
    tile = in_whole_bytes(draft, draft.choose())
    if tile.dtype.bits not in (1, 2, 4) and tile.dtype.bits % 8:
        raise Refusal("elements across words")
    shared = alloc(draft, tile.dtype, tile.shape, tile.known)
    zeros = (Const(0),) * len(tile.shape)
    tile.used = True
    draft.emit(Store, target=shared.value, offsets=zeros, value=tile.value)
    shared.pending = True
    draft.barrier(shared)
    draft.scope.shared.append(shared)
    for _ in range(random.choice((1, 1, 2))):
        read(draft, shared)
    if random.random() < 0.3:
        rewrite(draft, shared)
    if random.random() < 0.6:
        free_one(draft)


def free_one(draft: Draft) -> None:
    """Ends the life of a shared tile of the current block, not always the last one's."""
    if not draft.scope.shared:
        raise Refusal("no shared tile")
    shared = draft.random.choice(draft.scope.shared)
    draft.emit(FreeShared, tile=shared.value)
    draft.scope.shared.remove(shared)


def read(draft: Draft, shared: Shared) -> Tile:
    """A tile, or a part of it, from a shared tile that no one is writing."""
    random = draft.random
    type_ = shared.type
    dims = None
    shape = type_.shape
    if len(shape) == 2 and random.random() < 0.3 and type_.dtype.bits % 8 == 0:
        dims = (1, 0)
    bits = type_.dtype.bits
    size, offsets, known = list(shape), [], shared.known
    for dim, extent in enumerate(shape):
        offset: Expr = Const(0)
        if bits % 8 == 0 and random.random() < 0.25:
            size[dim] = random.randint(1, extent + 1)
            low = random.choice((0, 0, -2))
            offset = expressions.within(draft, low, max(low, extent - size[dim] + 1), 1).expr
            known = known.with_zero()
        offsets.append(offset)
    wanted = tuple(size[d] for d in dims) if dims else tuple(size)
    layout = choose_layout(draft, wanted, bits)
    if bits % 8:
        run = byte_run(wanted[-1], bits)
        layout = draw_layout(random, wanted, draft.threads, run or 1)
    fields = {"source": shared.value, "offsets": tuple(offsets), "dims": dims}
    tile = draft.tile(Load, known, RegType(type_.dtype, wanted, layout), **fields)
    shared.pending = True
    return tile


def rewrite(draft: Draft, shared: Shared) -> None:
    """Other values in a shared tile, between barriers."""
    found = [
        t
        for t in draft.readable()
        if (t.dtype, t.shape) == (shared.type.dtype, shared.type.shape)
        and shared.known.contains(t.known)
    ]
    if not found or shared.type.dtype.bits % 8:
        return
    tile = draft.random.choice(found)
    draft.barrier(shared)
    zeros = (Const(0),) * len(tile.shape)
    tile.used = True
    draft.emit(Store, target=shared.value, offsets=zeros, value=tile.value)
    shared.pending = True
    draft.barrier(shared)
    read(draft, shared)


def touch(draft: Draft) -> None:
    """Reads a shared tile again, or writes it, or reads one element."""
    known = draft.shared()
    if not known:
        raise Refusal("no shared tile")
    shared = draft.random.choice(known)
    choice = draft.random.random()
    if choice < 0.5:
        read(draft, shared)
    elif choice < 0.8:
        rewrite(draft, shared)
    elif shared.type.dtype.bits in (8, 16, 32, 64) and shared.known.exact:
        offsets = tuple(expressions.within(draft, 0, e, 1).expr for e in shared.type.shape)
        value = draft.emit(LoadScalar, source=shared.value, offsets=offsets)
        shared.pending = True
        if value is not None and not shared.known.special:
            add_scalar(draft, value, shared.known.with_zero())


def async_copies(draft: Draft) -> None:
    """One to three asynchronous copies in groups, each waited for in its turn."""
    random = draft.random
    element = dtype(random.choice(("f16", "f32", "u8", "i32", "bf16", "i64", "u4", "i8")))
    shape = draw_shape(random, random.choice((1, 2, 2)))
    if element.bits % 8 and byte_run(shape[-1], element.bits) is None:
        raise Refusal("rows of part of a byte")
    count = random.choice((1, 1, 2, 3))
    tiles = [_start_copy(draft, element, shape) for _ in range(count)]
    for number, shared in enumerate(tiles):
        draft.emit(CopyAsyncWait, pending=count - 1 - number)
        shared.pending = True
        draft.barrier(shared)
        draft.scope.shared.append(shared)
        read(draft, shared)


def _start_copy(draft: Draft, element: Dtype, shape: tuple[int, ...]) -> Shared:
    random = draft.random
    extents, offsets, ragged = [], [], False
    for dim, extent in enumerate(shape):
        whole = element.bits % 8 != 0 and dim == len(shape) - 1
        cut = not whole and random.random() < 0.4
        extents.append(max(1, extent + random.choice((-3, 1, 4))) if cut else extent)
        low = random.choice((0, -1)) if cut else 0
        top = random.choice((0, 1, 3)) if cut else 0
        offsets.append(expressions.within(draft, low, top, 1).expr if cut else Const(0))
        ragged = ragged or cut
    if random.random() < 0.5 and element.bits % 8 == 0:
        extents[-1] = -(-extents[-1] // 8) * 8
    view, known = draw_view(draft, element, tuple(extents))
    shared = alloc(draft, element, shape, known.with_zero())
    zeros = (Const(0),) * len(shape)
    draft.emit(
        CopyAsync, target=shared.value, target_offsets=zeros, source=view,
        source_offsets=tuple(offsets), shape=shape,
    )  # fmt: skip
    draft.emit(CopyAsyncCommit)
    return shared


def pipeline(draft: Draft) -> None:
    """A loop that copies the next part of an input while it adds up the current one."""
    random = draft.random
    if draft.trips > 4:
        raise Refusal("too deep")
    element = dtype(random.choice(("f32", "i32", "i32", "f16")))
    shape, turns = draw_shape(random, 2), random.randint(1, 4)
    view, known = draw_view(draft, element, (turns, *shape), "grid")
    total = rounded(element, added(known, known))
    for _ in range(turns):
        total = join(total, rounded(element, added(total, known)))
    shared = alloc(draft, element, (2, *shape), known)
    first = draft.tile(
        Load, known, RegType(element, shape, choose_layout(draft, shape, element.bits)),
        source=view, offsets=(Const(0), Const(0), Const(0)),
    )  # fmt: skip
    first.budget = 0.0

    def copy(turn: Expr) -> None:
        draft.emit(
            CopyAsync, target=shared.value, target_offsets=(turn % 2, Const(0), Const(0)),
            source=view, source_offsets=(turn, Const(0), Const(0)), shape=shape, dims=(1, 2),
        )  # fmt: skip
        draft.emit(CopyAsyncCommit)

    copy(Const(0))
    index = Value(draft.name("k"), ScalarType(I32))
    with draft.block(turns, in_loop=True) as scope:
        copy(Ref(index) + 1)
        draft.emit(CopyAsyncWait, pending=1)
        draft.barrier()
        annotation = RegType(element, shape, choose_layout(draft, shape, element.bits))
        offsets = (Ref(index) % 2, Const(0), Const(0))
        part = draft.tile(Load, known, annotation, source=shared.value, offsets=offsets)
        grown = draft.tile(Add, total, None, lhs=first.value, rhs=part.value)
        draft.emit(Assign, target=first.value, value=grown.value)
        part.used = grown.used = True
        draft.barrier()
    upper = draft.scalar_parameter(draft.name("n"), I32, turns).expr
    draft.append(For(index, Const(0), upper, Const(1), tuple(scope.statements)))
    draft.emit(CopyAsyncWait, pending=0)
    first.known = total
    first.budget, first.used = None, False


def matrix_moves(draft: Draft) -> None:
    """A tile of whole 8 x 16-byte matrices through shared memory, by `ldmatrix` and `stmatrix`."""
    random = draft.random
    element = dtype(random.choice(("f16", "bf16", "f16", "u8", "i8", "f32")))
    columns = 128 // element.bits
    rows_of = random.choice((1, 2, 2, 4))
    shape = (8 * rows_of, columns * random.choice((1, 2, 4)))
    transposed = element.bits == 16 and random.random() < 0.4
    each = fragments.matrix(element.bits, transposed)
    outer = (shape[0] // each.shape[0], shape[1] // each.shape[1])
    layout = _over_warps(draft, outer) * each
    tile = load(draft, element, shape, layout=layout)
    pad = 128 // element.bits * random.choice((0, 1, 1))
    memory = random.choice((swizzled(shape, element.bits), strided(shape, (shape[1] + pad, 1))))
    shared = alloc(draft, element, shape, tile.known, memory)
    zeros = (Const(0), Const(0))
    tile.used = True
    store = StoreMatrix if random.random() < 0.5 and not transposed else Store
    draft.emit(store, target=shared.value, offsets=zeros, value=tile.value)
    shared.pending = True
    draft.barrier(shared)
    draft.scope.shared.append(shared)
    offsets: tuple[Expr, ...] = zeros
    wanted = each
    if random.random() < 0.4 and shape[0] > 8:
        row = expressions.within(draft, 0, shape[0] // 8 - 1, 1)
        offsets = (row.expr * 8, Const(0))
        result = RegType(element, each.shape, _over_warps(draft, (1, 1)) * wanted)
    else:
        result = RegType(element, shape, _over_warps(draft, outer) * wanted)
    loader = random.choice((LoadMatrix, Load)) if not transposed else Load
    draft.tile(loader, tile.known, result, source=shared.value, offsets=offsets)
    shared.pending = True


def _over_warps(draft: Draft, outer: tuple[int, int]) -> RegisterLayout:
    """Matrices spread over warps and registers."""
    warps = [w for w in (1, 2, 4) if draft.num_warps % w == 0 and outer[0] % w == 0]
    count = draft.random.choice(warps)
    rest = (outer[0] // count, outer[1])
    inner = local(*rest) if draft.random.random() < 0.5 else local(rest[0], 1) * local(1, rest[1])
    return spatial(count, 1) * inner


def bare_accesses(draft: Draft) -> None:
    """The same tile stored with a layout that only part of the block's threads hold."""
    tile = draft.choose("int", "uint", "float")
    if tile.dtype.bits % 8:
        raise Refusal("part of a byte")
    layout = draw_layout(draft.random, tile.shape, 32)
    shared = alloc(draft, tile.dtype, tile.shape, tile.known)
    moved = draft.tile(
        ConvertLayout, tile.known, replace(tile.type, layout=layout), value=tile.value
    )
    zeros = (Const(0),) * len(tile.shape)
    moved.used = True
    draft.emit(Store, target=shared.value, offsets=zeros, value=moved.value)
    shared.pending = True
    draft.barrier(shared)
    draft.scope.shared.append(shared)
    read(draft, shared)


def through_other_block(draft: Draft) -> None:
    """A tile read from, or written to, the shared memory of another block of the cluster.

    Only where all blocks come: outside loops and branches.
    """
    random = draft.random
    if len(draft.scopes) > 1 or draft.may_have_ended:
        raise Refusal("not all blocks come here")
    tile = draft.choose("float", "int", "uint")
    if tile.dtype.bits % 8:
        raise Refusal("part of a byte")
    size = prod(draft.cluster)
    rank = (Special("cluster_rank") + random.choice((0, 1, 1))) % size
    shared = alloc(draft, tile.dtype, tile.shape, tile.known)
    zeros = (Const(0),) * len(tile.shape)
    tile.used = True
    layout = choose_layout(draft, tile.shape, tile.dtype.bits)
    result = RegType(tile.dtype, tile.shape, layout)
    if random.random() < 0.5:
        draft.emit(Store, target=shared.value, offsets=zeros, value=tile.value)
        draft.meet()
        draft.tile(LoadRemote, tile.known, result, source=shared.value, offsets=zeros, rank=rank)
    else:
        draft.meet()
        draft.emit(StoreRemote, target=shared.value, offsets=zeros, value=tile.value, rank=rank)
        draft.meet()
        draft.tile(Load, tile.known, result, source=shared.value, offsets=zeros)
    draft.meet()
