"""Loads from inputs, and stores to outputs."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from tileloom.layouts import RegisterLayout
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.dtypes.storage import packed_bytes
from tileloom.vm.expr import Const, Expr, Ref, binary
from tileloom.vm.instructions.create import Arange, Full
from tileloom.vm.instructions.debug import Assume
from tileloom.vm.instructions.elementwise import Add
from tileloom.vm.instructions.gather import Gather, Scatter
from tileloom.vm.instructions.memory import Load, Store
from tileloom.vm.instructions.scalars import LoadScalar
from tileloom.vm.instructions.transform import ConvertLayout
from tileloom.vm.ir import Value
from tileloom.vm.types import GlobalType, RegType, ScalarType, row_major_strides

from . import expressions
from .draft import Draft, Scalar, Tile
from .inputs import at_head, draw_codes, draw_dtype, draw_view, extent_of, packed
from .known import Known, Refusal, of_integers
from .shapes import byte_run, draw_layout, draw_run, draw_shape


def choose_layout(
    draft: Draft, shape: tuple[int, ...], bits: int, chance: float = 0.65
) -> RegisterLayout | None:
    """A drawn layout, or none, so that one is inferred."""
    random = draft.random
    if random.random() > chance:
        return None
    run = draw_run(random, shape[-1], bits) if shape and random.random() < 0.7 else 1
    return draw_layout(random, shape, draft.threads, run)


def load(
    draft: Draft,
    element: Dtype,
    shape: tuple[int, ...],
    style: str = "",
    layout: RegisterLayout | None = None,
) -> Tile:
    """A tile loaded from a new input, at ragged offsets some of the time."""
    random = draft.random
    rank = len(shape)
    extra = 1 if rank < 3 and random.random() < 0.25 else 0
    extents = [random.randint(1, 3) for _ in range(extra)]
    offsets: list[Expr] = [expressions.within(draft, 0, e - 1).expr for e in extents]
    ragged = False
    for extent in shape:
        size, offset, cut = _place(draft, extent)
        extents.append(size)
        offsets.append(offset)
        ragged = ragged or cut
    dims = None
    if rank == 2 and not extra and random.random() < 0.2:
        dims = (1, 0)
        extents, offsets = extents[::-1], offsets[::-1]
    view, known = draw_view(draft, element, tuple(extents), style)
    annotation = RegType(element, shape, layout or choose_layout(draft, shape, element.bits))
    fields = {"dims": dims, "in_bounds": not ragged and random.random() < 0.3}
    cache = random.choice(("", "", "", "stream", "keep"))
    return draft.tile(
        Load, known.with_zero() if ragged else known, annotation,
        source=view, offsets=tuple(offsets), cache=cache, **fields,
    )  # fmt: skip


def _place(draft: Draft, extent: int) -> tuple[int, Expr, bool]:
    """An extent of memory, an offset there for a tile of `extent`, whether it may leave it."""
    random = draft.random
    if random.random() < 0.4:
        steps = random.choice((1, 1, 2, 3))
        scalar = expressions.within(draft, 0, steps - 1, 1)
        offset = scalar.expr * extent if steps > 1 else Const(0)
        return steps * extent, offset, False
    size = max(1, extent + random.choice((-3, -1, 0, 1, 2, 5, 8)))
    if random.random() < 0.3:
        size = -(-size // 8) * 8
    low, high = -random.choice((0, 0, 2, 5)), random.choice((0, 1, 3, 9))
    return size, expressions.within(draft, low, high).expr, True


def load_input(draft: Draft) -> None:
    """A tile of any dtype from a new input."""
    element = draw_dtype(draft)
    load(draft, element, draw_shape(draft.random))


def make_full(draft: Draft) -> None:
    """A tile filled with a constant, or counted up."""
    random = draft.random
    element = dtype(random.choice(("f32", "f16", "bf16", "i32", "u8", "i64", "u16", "i8", "f64")))
    shape = draw_shape(random)
    annotation = RegType(element, shape, choose_layout(draft, shape, element.bits))
    if random.random() < 0.5:
        number = random.choice((0, 1, 2, 3, 100))
        value = float(number) if element.is_float else number
        draft.tile(Full, Known(number, number, 0), annotation, fill=value)
        return
    dim = random.randrange(len(shape))
    start, step = random.choice((0, 0, 1, 5, -7)), random.choice((1, 1, 2, 3, -1))
    ends = (start, start + step * (shape[dim] - 1))
    known = Known(min(ends), max(ends), 0)
    if not element.is_float and not (
        element.min_finite <= known.low and known.high <= element.max_finite
    ):
        known = of_integers(element)
    draft.tile(Arange, known, annotation, dim=dim, start=start, step=step)


def load_scalar(draft: Draft) -> None:
    """One element of an input as a scalar."""
    random = draft.random
    element = dtype(random.choice(("i32", "u8", "i8", "i16", "u16", "f32", "f16", "i64", "u32")))
    extents = draw_shape(random)
    view, known = draw_view(draft, element, extents, "grid")
    offsets = tuple(expressions.within(draft, -1, e).expr for e in extents)
    value = draft.emit(LoadScalar, source=view, offsets=offsets)
    assert value is not None
    known = known.with_zero()
    add_scalar(draft, value, known)


def add_scalar(draft: Draft, value: Value, known: Known) -> None:
    """Makes a scalar visible whose value all executors agree on."""
    assert isinstance(value.type, ScalarType)
    if known.exact and not known.special:
        scalar = Scalar(Ref(value), known.low, known.high, value.type.dtype)
        draft.scope.scalars.append(scalar)
        if draft.random.random() < 0.7:
            spread(draft, scalar)


def spread(draft: Draft, scalar: Scalar) -> None:
    """A tile that holds a scalar, so that it will be seen."""
    element = scalar.dtype if scalar.dtype.bits in (32, 64) else dtype("i32")
    if scalar.dtype.is_float:
        element = dtype("f32")
    shape = (draft.random.choice((1, 4, 32)),)
    annotation = RegType(element, shape, choose_layout(draft, shape, element.bits))
    zero = draft.tile(Full, Known(0, 0, 0), annotation, fill=0.0 if element.is_float else 0)
    zero.used = True
    draft.tile(Add, Known(scalar.low, scalar.high), lhs=zero.value, rhs=scalar.expr)


def far(draft: Draft) -> None:
    """Elements near the start of memory, reached by way of products beyond 32 bits."""
    random = draft.random
    element = dtype(random.choice(("f32", "u8", "i16")))
    place, stride = random.randint(2100, 4000), 1 << 20
    codes, known = draw_codes(draft, element, place + 1, "grid")
    pointer = draft.pointer("x", element, packed(element, codes))
    long = draft.scalar_parameter(draft.name("n"), dtype("i32"), stride).expr
    at = draft.scalar_parameter(draft.name("n"), dtype("i32"), place).expr
    extents = (Const(place + 1), Const(place + 1))
    view = at_head(draft, pointer, GlobalType(element, extents, (long, 1 - long)), 1)
    draft.tile(
        Load, known, RegType(element, (1, 1), choose_layout(draft, (1, 1), element.bits)),
        source=view, offsets=(at, at),
    )  # fmt: skip


def at_the_edge(draft: Draft) -> None:
    """A tile that leaves memory by one element, at an offset whose bound is assumed tightly."""
    random = draft.random
    element = dtype(random.choice(("f32", "u8", "f16", "i32")))
    size, place = random.choice((4, 8, 16, 5)), random.choice((3, 8, 16, 1))
    over = random.choice((0, 1))
    view, known = draw_view(draft, element, (place + size - over,))
    offset = draft.scalar_parameter(draft.name("n"), dtype("i32"), place).expr
    draft.emit(Assume, condition=binary("<=", offset, place))
    draft.emit(Assume, condition=binary(">=", offset, random.choice((0, place))))
    layout = choose_layout(draft, (size,), element.bits)
    draft.tile(
        Load, known.with_zero(), RegType(element, (size,), layout), source=view, offsets=(offset,)
    )


def index_tile(draft: Draft, shape: tuple[int, ...], low: int, high: int) -> Tile:
    """Integers, mostly in a range, for `gather`."""
    random = draft.random
    element = dtype(random.choice(("i32", "i32", "u8", "i64", "i16", "u32")))
    shape = tuple(e if random.random() < 0.8 else 1 for e in shape)
    if element.kind == "uint":
        low = max(low, 0)
    numbers = np.random.default_rng(random.getrandbits(32)).integers(
        low, high, prod(shape), endpoint=True
    )
    pointer = draft.pointer("x", element, packed(element, element.encode(numbers)))
    extents: tuple[Expr, ...] = tuple(Const(e) for e in shape)
    view = at_head(draft, pointer, GlobalType(element, extents, row_major_strides(extents)))
    annotation = RegType(element, shape, choose_layout(draft, shape, element.bits, 0.4))
    zeros = (Const(0),) * len(shape)
    return draft.tile(Load, Known(low, high, 0), annotation, source=view, offsets=zeros)


def gather(draft: Draft) -> None:
    """A tile gathered from an input along one dimension."""
    random = draft.random
    shape = draw_shape(random, random.choice((1, 2, 2)))
    element = dtype(random.choice(("f32", "f16", "u8", "i32", "u4", "i64", "e4m3")))
    rank = random.choice((len(shape), len(shape), len(shape) + 1))
    extents = tuple(max(1, e + random.choice((-1, 0, 0, 3))) for e in (4, *shape)[-rank:])
    dim = random.randrange(rank)
    index = index_tile(draft, shape, -2, extents[dim] + 1)
    view, known = draw_view(draft, element, extents)
    offsets = tuple(expressions.within(draft, 0, 2, 1).expr for _ in extents)
    annotation = RegType(element, shape, choose_layout(draft, shape, element.bits))
    draft.tile(
        Gather, known.with_zero(), annotation,
        source=view, offsets=offsets, index=index.value, dim=dim,
    )  # fmt: skip


def output(
    draft: Draft, element: Dtype, extents: tuple[int, ...], known: Known
) -> tuple[Value, tuple[Expr, ...]]:
    """A view of a new output with a part of its own for each block and each turn of the loops
    around, and the offsets of that part."""
    lead = [(draft.block_number(), draft.num_blocks)] if draft.num_blocks > 1 else []
    lead += draft.scope.places
    counts = [count for _, count in lead]
    # Of elements that share bytes, rows must be known to begin at bytes.
    runtime = 0.3 if element.bits % 8 == 0 else 0.0
    shape = (*(Const(c) for c in counts), *(extent_of(draft, e, runtime) for e in extents))
    size = packed_bytes(prod(counts) * prod(extents), element.bits)
    start = np.random.default_rng(draft.random.getrandbits(32)).integers(0, 256, size, np.uint8)
    pointer = draft.pointer("y", element, start, known)
    view = at_head(draft, pointer, GlobalType(element, shape, row_major_strides(shape)))
    return view, tuple(expr for expr, _ in lead)


def store_tile(draft: Draft, tile: Tile) -> None:
    """Stores a tile to an output of its own, some of it beyond the output's extents."""
    random = draft.random
    tile = in_whole_bytes(draft, tile)
    shape = tile.shape
    extents, offsets = list(shape), [0] * len(shape)
    if tile.dtype.bits % 8 == 0:
        for dim in range(len(shape)):
            if random.random() < 0.25:
                extents[dim] = max(1, extents[dim] + random.choice((-2, -1, 1, 3)))
                offsets[dim] = random.choice((0, 0, 1, -1))
    dims = None
    view, lead = output(draft, tile.dtype, tuple(extents), tile.known)
    if len(shape) == 2 and shape[0] == shape[1] and extents == list(shape):
        first = len(lead)
        dims = random.choice((None, (first + 1, first)))
        dims = dims if tile.dtype.bits % 8 == 0 else None
    inside: tuple[Expr, ...] = tuple(Const(o) for o in offsets)
    tile.used = True
    draft.emit(Store, target=view, offsets=lead + inside, value=tile.value, dims=dims)


def in_whole_bytes(draft: Draft, tile: Tile) -> Tile:
    """The tile under a layout in which every thread holds whole bytes of neighbours.

    Raises:
        Refusal: its rows are no whole bytes.
    """
    bits, shape = tile.dtype.bits, tile.shape
    if bits % 8 == 0:
        return tile
    run = byte_run(shape[-1], bits)
    if run is None:
        raise Refusal("rows of part of a byte")
    layout = draw_layout(draft.random, shape, draft.threads, run)
    annotation = replace(tile.type, layout=layout)
    return draft.tile(ConvertLayout, tile.known, annotation, value=tile.value)


def scatter(draft: Draft) -> None:
    """Stores the rows of a tile in another order: those of a counted index."""
    random = draft.random
    tile = draft.choose()
    shape, element = tile.shape, tile.dtype
    if element.bits % 8:
        raise Refusal("part of a byte")
    dim = random.randrange(len(shape))
    kind = dtype(random.choice(("i32", "i64", "i16")))
    count = shape[dim]
    start, step = random.choice(((0, 1), (count - 1, -1), (1, 1), (-1, 1)))
    along = tuple(e if d == dim else 1 for d, e in enumerate(shape))
    places = RegType(kind, along, choose_layout(draft, along, kind.bits, 0.3))
    index = draft.tile(Arange, Known(-1, count, 0), places, dim=dim, start=start, step=step)
    view, lead = output(draft, element, shape, tile.known)
    tile.used = index.used = True
    inside: tuple[Expr, ...] = tuple(Const(0) for _ in shape)
    draft.emit(
        Scatter, target=view, offsets=lead + inside, index=index.value, value=tile.value,
        dim=len(lead) + dim,
    )  # fmt: skip


def store_any(draft: Draft) -> None:
    """Stores some visible tile."""
    store_tile(draft, draft.choose())


def store_leaves(draft: Draft, most: int) -> None:
    """Stores tiles of the current block that nothing has read yet."""
    leaves = [t for t in draft.scope.tiles if not t.used and t in draft.readable()]
    draft.random.shuffle(leaves)
    for tile in leaves[:most]:
        try:
            store_tile(draft, tile)
        except Refusal:
            continue
