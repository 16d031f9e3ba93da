"""Casts, decodes, views and packings."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tileloom.layouts import RegisterLayout
from tileloom.layouts.modes import REPLICATED, Mode
from tileloom.vm.decode import decode_form
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.instructions.transform import Cast, ConvertLayout, Decode, Repack, View
from tileloom.vm.packing import CONTIGUOUS, PAIRED, pairs

from .draft import Draft, Tile
from .inputs import draw_dtype
from .known import (
    INFINITY,
    Known,
    Refusal,
    anything,
    fits_exactly,
    least_exponent,
    of_integers,
    rounded,
)
from .memory import load
from .shapes import draw_layout, draw_shape

_NARROW = (
    "e4m3", "e5m2", "e2m1", "e3m2", "e2m3", "e3m0", "u4", "i4", "u2", "i3", "u5", "i6", "u7", "u1",
    "e3m4", "e1m2",
)  # fmt: skip
_WIDE = (
    "f32", "f16", "bf16", "f32", "f16", "bf16", "i32", "i8", "u8", "i16", "u16", "u32", "i64",
    "u64", "f64", "tf32", "bool",
)  # fmt: skip
_PAIRED_CODES = (
    "u4", "i4", "u2", "u1", "u3", "i5", "u6", "i6", "u6", "i7", "u8", "i8", "e2m1", "e3m2",
    "e2m3", "e4m3", "e5m2", "b2", "b4", "nf4", "i2", "e3m4",
)  # fmt: skip
_CODES = (
    "u4", "i4", "i4", "i2", "u3", "i2", "u1", "i5", "u6", "u7", "e2m1", "e3m2", "e4m3", "e5m2",
    "e2m3", "b1", "b3", "nf4", "i8", "e3m0", "e6m1", "e1m2", "e3m4", "u2",
)  # fmt: skip
_MOST_LOCALS = 128  # of a thread, in tiles that are repacked
_DESTINATIONS = ("f16", "bf16", "f32", "i8", "i8", "i32", "u8", "i16", "e4m3", "u4")


def cast(draft: Draft) -> None:
    """A tile cast to another dtype."""
    tile = draft.choose()
    names = _WIDE if draft.random.random() < 0.75 else _NARROW
    cast_to(draft, tile, dtype(draft.random.choice(names)))


def cast_to(draft: Draft, tile: Tile, element: Dtype) -> Tile:
    """The cast of a tile.

    Raises:
        Refusal: its values' meaning there is uncertain.
    """
    tile.used = True
    known = cast_known(tile.dtype, element, tile.known)
    return draft.tile(Cast, known, value=tile.value, dtype=element)


def cast_known(source: Dtype, dest: Dtype, known: Known) -> Known:
    """What a cast makes of what is known."""
    if dest.kind == "bool":
        if known.error:
            raise Refusal("uncertain values cast to bool")
        return Known(0, 1, 0)
    if not dest.is_float:
        if known.error:
            raise Refusal("uncertain values cast to integers")
        if known.special:
            return of_integers(dest)
        inside = dest.min_finite <= known.low and known.high <= dest.max_finite
        low, high = (known.low, known.high) if inside else (dest.min_finite, dest.max_finite)
        return Known(low, high, 0) if source.is_float or not inside else known
    if dest.bits <= 8:
        return _narrowed(source, dest, known)
    if known.special and source.bits <= 8:
        raise Refusal("codes that stand for infinities")
    return rounded(dest, known)


def _narrowed(source: Dtype, dest: Dtype, known: Known) -> Known:
    if known.special:
        if dest.specials != "none":
            raise Refusal("infinities in a narrow float")
        return anything(dest)
    top = float(dest.max_finite)
    low, high = max(known.low, -top), min(known.high, top)
    if fits_exactly(dest, known) and known.exact:
        return known
    if dest.name == "e5m2" and known.top > top:
        raise Refusal("beyond e5m2")
    step = 2 * top * 2.0 ** -(dest.mantissa_bits + 1)
    error = known.error + 2 * step if known.error else 0.0
    grain = least_exponent(dest)
    slack = step + 2.0**grain
    return Known(max(low - slack, -top), min(high + slack, top), grain, error, signed=known.signed)


def paired_codes(draft: Draft) -> None:
    """Codes in the paired packing, cast or decoded."""
    random = draft.random
    element = dtype(random.choice(_PAIRED_CODES))
    unit = 2 * pairs(element.bits)
    rows = random.choice((1, 2, 8, 16, 32))
    shape = (rows, unit * random.choice((1, 1, 2, 4)))
    while prod(shape) > 1024:
        rows //= 2
        shape = (rows, unit)
    spatial = draw_layout(random, (rows, 1), draft.threads)
    if spatial.num_locals * shape[1] > _MOST_LOCALS:
        raise Refusal("too many elements a thread")
    layout = spatial * RegisterLayout((1, shape[1]), (), (Mode(1, shape[1], 1),))
    tile = load(draft, element, shape, layout=layout)
    if random.random() < 0.75:
        annotation = replace(tile.type, packing=PAIRED)
        tile.used = True
        tile = draft.tile(Repack, tile.known, annotation, value=tile.value)
    if random.random() < 0.5:
        decode(draft, tile)
        return
    cast_to(draft, tile, dtype(random.choice(("f16", "bf16", "f32", "i8", "i32"))))


def decode(draft: Draft, tile: Tile) -> None:
    """The fast decode of a tile of codes."""
    dest = dtype(draft.random.choice(("f16", "bf16")))
    try:
        form = decode_form(tile.dtype, dest, tile.type.packing)
    except VMError as error:
        raise Refusal(str(error)) from None
    if tile.known.special:
        raise Refusal("codes that stand for infinities")
    scale = 2.0 ** max(form.exponents)
    constant = max(abs(c) for c in form.constants)
    top = tile.known.top * scale + constant
    grain = None
    if tile.known.grain is not None and not constant:
        grain = tile.known.grain + min(form.exponents)
    tile.used = True
    known = rounded(dest, Known(-top, top, grain))
    draft.tile(Decode, known, value=tile.value, dtype=dest)


def view(draft: Draft) -> None:
    """The bits of a tile read as another dtype."""
    random = draft.random
    tile = draft.choose()
    if tile.known.error or tile.known.special or not tile.known.signed:
        raise Refusal("uncertain bits")
    layout = tile.type.layout
    if layout is None:
        layout = draw_layout(random, tile.shape, draft.threads)
        annotation = replace(tile.type, layout=layout)
        tile.used = True
        tile = draft.tile(ConvertLayout, tile.known, annotation, value=tile.value)
    bits = tile.dtype.bits * layout.num_locals
    for _ in range(12):
        element = draw_dtype(draft)
        if bits % element.bits == 0 and element != tile.dtype and element.name != "bool":
            break
    else:
        raise Refusal("no dtype of that many bits")
    target = _flat_layout(layout, bits // element.bits)
    packing = CONTIGUOUS
    unit = 2 * pairs(element.bits) if element.bits <= 8 else 0
    if unit and target.num_locals % unit == 0 and random.random() < 0.3:
        packing = PAIRED
    tile.used = True
    annotation = replace(
        tile.type, dtype=element, shape=target.shape, layout=target, packing=packing
    )
    viewed = draft.tile(View, _any_bits(element), annotation, value=tile.value)
    if packing == PAIRED:
        draft.scope.tiles.remove(viewed)
        cast_to(draft, viewed, dtype(random.choice(("f32", "f16", "bf16", "i8"))))


def _any_bits(element: Dtype) -> Known:
    known = anything(element)
    if element.name == "tf32":
        raise Refusal("bits that tf32 hasn't got")
    if element.is_float and known.special:
        return Known(-INFINITY, INFINITY, None, special=True)
    return known


def _flat_layout(layout: RegisterLayout, count: int) -> RegisterLayout:
    """[threads that hold different elements, count], the same replicas."""
    stride, spatial = 1, []
    for mode in reversed(layout.spatial):
        if mode.dim == REPLICATED:
            spatial.append(mode)
        else:
            spatial.append(Mode(0, mode.extent, stride))
            stride *= mode.extent
    return RegisterLayout((stride, count), tuple(reversed(spatial)), (Mode(1, count, 1),))


def narrow_load(draft: Draft) -> None:
    """Codes of few bits, loaded and cast at once."""
    random = draft.random
    tile = load(draft, dtype(random.choice(_CODES)), draw_shape(random))
    cast_to(draft, tile, dtype(random.choice(_DESTINATIONS)))


def narrowing(draft: Draft) -> None:
    """Wide values, cast to where most of them don't fit."""
    random = draft.random
    source = dtype(random.choice(("f32", "f32", "f16", "bf16", "i32", "i16", "u32", "i64", "u16")))
    style = random.choice(("ties", "ties", "free", "codes")) if source.is_float else ""
    tile = load(draft, source, draw_shape(random), style)
    names = (
        _NARROW
        if random.random() < 0.5
        else ("i8", "u8", "i16", "u16", "tf32", "tf32", "f16", "bf16")
    )
    cast_to(draft, tile, dtype(random.choice(names)))
