"""Changes of shape and place, reductions, scans and exchanges between lanes."""

from __future__ import annotations

from dataclasses import replace
from math import log2, prod
from random import Random

from tileloom.layouts import RegisterLayout, local
from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import Ref
from tileloom.vm.instructions.dims import Squeeze, Unsqueeze
from tileloom.vm.instructions.reduction import Reduce, Scan
from tileloom.vm.instructions.scalars import Item
from tileloom.vm.instructions.shuffle import Shuffle
from tileloom.vm.instructions.transform import (
    Broadcast,
    Concat,
    ConvertLayout,
    Reshape,
    Slice,
    Transpose,
)
from tileloom.vm.types import RegType, ScalarType

from .draft import Draft, Scalar, Tile
from .known import Known, Refusal, fits_exactly, join, of_integers, summed
from .memory import choose_layout, spread
from .shapes import draw_layout, prime_factors

_ARITHMETIC = (8, 16, 32, 64)
_MAX_ELEMENTS = 2048


def reshape(draft: Draft) -> None:
    """The same elements under another shape."""
    random = draft.random
    tile = draft.choose()
    shape = _other_shape(random, tile.shape)
    tile.used = True
    draft.tile(Reshape, tile.known, value=tile.value, shape=shape)


def _other_shape(random: Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Extents joined, split, or drawn anew."""
    choice = random.random()
    if len(shape) > 1 and choice < 0.4:
        at = random.randrange(len(shape) - 1)
        return (*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :])
    if len(shape) < 4 and choice < 0.8:
        at = random.randrange(len(shape))
        factors = prime_factors(shape[at], random)
        part = prod(factors[: random.randint(0, len(factors))])
        return (*shape[:at], shape[at] // part, part, *shape[at + 1 :])
    factors = prime_factors(prod(shape), random)
    cut = random.randint(0, len(factors))
    return (prod(factors[:cut]), prod(factors[cut:]))


def transpose(draft: Draft) -> None:
    """The dimensions in another order."""
    random = draft.random
    tile = draft.choose()
    order: tuple[int, ...] | None = tuple(random.sample(range(len(tile.shape)), len(tile.shape)))
    if len(tile.shape) >= 2 and random.random() < 0.4:
        order = None
    tile.used = True
    draft.tile(Transpose, tile.known, value=tile.value, order=order)


def dims(draft: Draft) -> None:
    """Dimensions of extent 1 inserted or dropped."""
    random = draft.random
    tile = draft.choose()
    ones = [d for d, extent in enumerate(tile.shape) if extent == 1]
    tile.used = True
    if ones and len(tile.shape) > len(ones) and random.random() < 0.6:
        draft.tile(Squeeze, tile.known, value=tile.value, dims=random.choice((None, (ones[0],))))
        return
    if len(tile.shape) > 3:
        raise Refusal("enough dimensions")
    at = (random.randint(0, len(tile.shape)),)
    draft.tile(Unsqueeze, tile.known, value=tile.value, dims=at)


def slice_(draft: Draft) -> None:
    """One or two boxes of a tile, along dimensions whose outer part is local."""
    random = draft.random
    tile = draft.choose()
    if tile.type.layout is None or random.random() < 0.5:
        # Whole inner digits of a layout whose outer digits are local: boxes exist.
        at = random.randrange(len(tile.shape))
        factors = prime_factors(tile.shape[at], random)
        parts = factors[0] if factors else 1
        shape = [e // parts if d == at else e for d, e in enumerate(tile.shape)]
        outer = [parts if d == at else 1 for d in range(len(tile.shape))]
        layout = local(*outer) * draw_layout(random, shape, draft.threads)
        annotation = replace(tile.type, layout=layout)
        tile.used = True
        tile = draft.tile(ConvertLayout, tile.known, annotation, value=tile.value)
        if parts > 2:
            shape[at] *= random.randint(1, parts - 1)
    else:
        shape = [random.choice((e, e, max(1, e // 2), 1)) for e in tile.shape]
    tile.used = True
    steps = list(zip(tile.shape, shape, strict=True))
    for _ in range(random.choice((1, 2))):
        offsets = tuple(random.randint(0, (e - s) // s) * s for e, s in steps)
        draft.tile(Slice, tile.known, value=tile.value, offsets=offsets, shape=tuple(shape))


def broadcast(draft: Draft) -> None:
    """Extents of 1 repeated."""
    random = draft.random
    tile = draft.choose()
    if 1 not in tile.shape:
        reduce(draft)
        tile = draft.scope.tiles[-1]
    shape = tuple(random.choice((1, 2, 3, 8, 16)) if e == 1 else e for e in tile.shape)
    if prod(shape) > _MAX_ELEMENTS:
        raise Refusal("too large")
    tile.used = True
    draft.tile(Broadcast, tile.known, value=tile.value, shape=shape)


def concat(draft: Draft) -> None:
    """Two tiles side by side."""
    random = draft.random
    lhs = draft.choose()
    dim = random.randrange(len(lhs.shape))
    fits = [
        t
        for t in draft.readable()
        if t.dtype == lhs.dtype and t.shape == lhs.shape and t.type.packing == lhs.type.packing
    ]
    rhs = random.choice(fits)
    if 2 * prod(lhs.shape) > _MAX_ELEMENTS:
        raise Refusal("too large")
    layout = lhs.type.layout or draw_layout(random, lhs.shape, draft.threads)
    sides = []
    for side in (lhs, rhs):
        side.used = True
        if side.type.layout != layout:
            annotation = replace(side.type, layout=layout)
            side = draft.tile(ConvertLayout, side.known, annotation, value=side.value)
            side.used = True
        sides.append(side)
    pair = _joined(draft, sides[0], sides[1], dim, layout)
    if 3 * prod(lhs.shape) <= _MAX_ELEMENTS and random.random() < 0.7:
        pair.used = True
        first, second = (pair, sides[0]) if random.random() < 0.5 else (sides[0], pair)
        _joined(draft, first, second, dim, layout)


def _joined(draft: Draft, lhs: Tile, rhs: Tile, dim: int, part: RegisterLayout) -> Tile:
    """Tiles made of equal parts joined, part after part in each thread."""
    parts = (lhs.shape[dim] + rhs.shape[dim]) // part.shape[dim]
    layout = local(*(parts if d == dim else 1 for d in range(part.rank))) * part
    return draft.tile(
        Concat, join(lhs.known, rhs.known), RegType(lhs.dtype, layout.shape, layout),
        lhs=lhs.value, rhs=rhs.value, dim=dim,
    )  # fmt: skip


def convert(draft: Draft) -> None:
    """The same tile in other threads and registers."""
    tile = draft.choose()
    layout = choose_layout(draft, tile.shape, tile.dtype.bits, 1.0)
    tile.used = True
    annotation = replace(tile.type, layout=layout)
    draft.tile(ConvertLayout, tile.known, annotation, value=tile.value)


def reduce(draft: Draft) -> None:
    """A tile combined along a dimension."""
    random = draft.random
    tile = draft.choose("float", "int", "uint", "bool")
    dim = random.randrange(len(tile.shape))
    element, known, count = tile.dtype, tile.known, tile.shape[dim]
    if element.kind == "bool":
        op = random.choice(("any", "all"))
        result = Known(0, 1, 0)
    else:
        op = random.choice(("sum", "sum", "max", "min", "argmax", "argmin", "prod"))
        result = _reduced(element, known, count, op)
    tile.used = True
    draft.tile(Reduce, result, value=tile.value, op=op, dim=dim)


def _reduced(element: Dtype, known: Known, count: int, op: str) -> Known:
    if op in ("argmax", "argmin"):
        if not known.exact:
            raise Refusal("the place of an uncertain value")
        return Known(0, count - 1, 0)
    if op in ("max", "min"):
        return replace(known, signed=known.signed and not (element.is_float and known.has_zero))
    if op == "sum":
        return summed(element, known, count)
    return _product(element, known, count)


def _product(element: Dtype, known: Known, count: int) -> Known:
    if not element.is_float:
        return of_integers(element)
    if known.special or count * log2(max(known.top, 1)) > min(element.bias + 1, 1023):
        raise Refusal("a product that may overflow")
    top = known.top**count if known.top > 1 else known.top
    grain = None if known.grain is None else known.grain * count
    total = Known(-top, top, grain, signed=False)
    if known.exact and not known.special and fits_exactly(element, total) and grain is not None:
        return total
    raise Refusal("a product of uncertain digits")


def scan(draft: Draft) -> None:
    """A running combination along a dimension."""
    random = draft.random
    tile = draft.choose("float", "int", "uint", "bool")
    dim = random.randrange(len(tile.shape))
    element, known, count = tile.dtype, tile.known, tile.shape[dim]
    exclusive = random.random() < 0.4
    if element.kind == "bool":
        op = random.choice(("and", "or", "xor"))
        result = Known(0, 1, 0)
    elif element.is_float:
        op = random.choice(("add", "add", "max", "min"))
        result = summed(element, known, count) if op == "add" else replace(known, signed=False)
        if exclusive and op != "add":
            raise Refusal("infinities")
    else:
        op = random.choice(("add", "max", "min", "and", "or", "xor", "mul"))
        result = of_integers(element)
    tile.used = True
    draft.tile(Scan, result, value=tile.value, op=op, dim=dim, exclusive=exclusive)


def shuffle(draft: Draft) -> None:
    """Elements exchanged between lanes."""
    random = draft.random
    tile = draft.choose()
    if tile.type.layout is None:
        layout = draw_layout(random, tile.shape, draft.threads)
        annotation = replace(tile.type, layout=layout)
        tile.used = True
        tile = draft.tile(ConvertLayout, tile.known, annotation, value=tile.value)
    width = random.choice((32, 32, 16, 8, 4, 2))
    mode, lane = random.choice(("xor", "up", "down", "index")), random.randrange(width)
    tile.used = True
    draft.tile(Shuffle, tile.known, value=tile.value, mode=mode, lane=lane, width=width)


def item(draft: Draft) -> None:
    """The single element that a tile is reduced to, as a scalar."""
    random = draft.random
    tile = draft.choose("int", "uint", "float", "bool")
    if not tile.known.exact or tile.known.special or tile.dtype.bits not in (1, *_ARITHMETIC):
        raise Refusal("an uncertain scalar")
    for dim, extent in enumerate(tile.shape):
        if extent == 1:
            continue
        op = random.choice(("max", "min")) if tile.dtype.kind != "bool" else "any"
        tile.used = True
        known = _reduced(tile.dtype, tile.known, extent, op) if op != "any" else tile.known
        tile = draft.tile(Reduce, known, value=tile.value, op=op, dim=dim)
    tile.used = True
    value = draft.emit(Item, value=tile.value)
    assert value is not None and isinstance(value.type, ScalarType)
    low, high = tile.known.low, tile.known.high
    draft.scope.scalars.append(Scalar(Ref(value), low, high, value.type.dtype))
    if value.type.dtype.kind in ("int", "uint") and random.random() < 0.7:
        spread(draft, draft.scope.scalars[-1])


def relabel(draft: Draft) -> None:
    """One of the productions that only give registers other names."""
    draft.random.choice((reshape, transpose, dims, slice_, broadcast, concat, convert))(draft)
