"""Lowering of changes of layout: by own elements, lane exchanges or shared memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from tileloom.layouts import RegisterLayout
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.expr import Const
from tileloom.vm.instructions.transform import ConvertLayout
from tileloom.vm.packing import CONTIGUOUS
from tileloom.vm.types import RegType

from ..emit.addresses import Access, build_access, find_byte_bases
from ..emit.bits import Piece, assemble, split_at_words
from ..emit.chunks import Element
from ..emit.context import Context, SharedBinding
from ..emit.conversion import Conversion, container_bits, plan_conversion
from ..emit.exchange import shuffle_word
from ..emit.lane_exchange import Exchange, Own, carry_out
from ..emit.linear import Linear
from ..emit.locals import as_words, from_words, select_locals
from ..emit.packed import element_positions
from ..emit.repacking import bind_repacked, repacked
from ..emit.shared_exchange import SharedRoute
from ..emit.tiles import Tile, tile_type
from ..ptx import Register, RegisterKind
from .memory import load_tile, store_words
from .registry import lowering, scratch

B32 = RegisterKind.B32


def conversion_of(instruction: ConvertLayout) -> Conversion:
    """How a `convert_layout` is carried out."""
    before, after = tile_type(instruction.value), tile_type(instruction.result)
    return plan_conversion(before.placed, after.placed, before.dtype.bits)


@scratch(ConvertLayout)
def convert_scratch(instruction: ConvertLayout, num_threads: int) -> int:
    """Bytes of shared memory a conversion needs; 0 where it needs none."""
    return conversion_of(instruction).scratch_bytes


@lowering(ConvertLayout)
def lower_convert_layout(context: Context, instruction: ConvertLayout) -> None:
    result = instruction.result
    assert result is not None
    source, type_ = context.tile(instruction.value), tile_type(result)
    way = conversion_of(instruction)
    if way.kept is not None:
        registers = select_locals(context, source, way.kept)
    elif way.exchange is not None:
        registers = _by_lanes(context, way.exchange, source, type_)
    else:
        assert way.shared is not None
        offset = context.scratch[instruction]
        registers = _by_memory(context, way.shared, offset, source, type_.placed)
    bind_repacked(context, result, registers)


# By lane exchanges


class _Unit(NamedTuple):
    """Elements that travel together: bits of a register from `bit` on."""

    register: Register
    bit: int


def _by_lanes(
    context: Context, exchange: Exchange, source: Tile, wanted: RegType
) -> list[Register]:
    words = as_words(context, source)
    if source.type.packing != CONTIGUOUS:
        words = repacked(context, words, source, source.type.packing, CONTIGUOUS)
    bits, builder = exchange.unit_bits, context.builder
    count = source.num_locals * source.bits // bits
    units = []
    for number in range(count):
        cuts = list(split_at_words(number * bits, bits, 0))
        word, bit = cuts[0][:2]
        if len(cuts) == 1:
            units.append(_Unit(words[word], bit))
        else:
            pieces = [Piece(words[w], b, width, to) for w, b, width, _, to in cuts]
            units.append(_Unit(assemble(builder, pieces), 0))
    threads = wanted.placed.num_threads
    landed = carry_out(exchange, units, threads, _Lanes(context, bits, threads))
    pieces_of: list[list[Piece]] = [[] for _ in range(-(-len(landed) * bits // 32))]
    for number, unit in enumerate(landed):
        for _, start, width, to, to_bit in split_at_words(unit.bit, bits, number * bits):
            pieces_of[to].append(Piece(unit.register, start, width, to_bit))
    packed = [assemble(builder, pieces) for pieces in pieces_of]
    return from_words(context, replace(wanted, packing=CONTIGUOUS), packed)


@dataclass
class _Lanes:
    """Carries exchanges out in PTX."""

    context: Context
    unit_bits: int
    threads: int
    _selected: dict[tuple[Any, ...], Register] = field(default_factory=dict)

    def select(self, own: Own, value: int, then: _Unit, otherwise: _Unit) -> _Unit:
        if then == otherwise:
            return then
        builder = self.context.builder
        if then.bit != otherwise.bit:
            then, otherwise = self._low(then), self._low(otherwise)
        key = (own, value, then.register, otherwise.register)
        if key not in self._selected:
            digit = self.context.digit(*own)
            condition = self.context.scalars.compare("==", digit, Linear({}, value))
            assert isinstance(condition, Register), "a digit that does not vary"
            choice = (then.register, otherwise.register, condition)
            self._selected[key] = builder.compute("selp.b32", B32, *choice)
        return _Unit(self._selected[key], then.bit)

    def _low(self, unit: _Unit) -> _Unit:
        if not unit.bit:
            return unit
        key = ("low", unit)
        if key not in self._selected:
            shifted = self.context.builder.compute("shr.u32", B32, unit.register, unit.bit)
            self._selected[key] = shifted
        return _Unit(self._selected[key], 0)

    def move(self, exchange: Exchange, index: tuple[int, ...], units: list[_Unit]) -> list[_Unit]:
        bits = self.unit_bits
        pieces = [Piece(u.register, u.bit, bits, i * bits) for i, u in enumerate(units)]
        if len(units) == 1:
            word, first = units[0]  # as it lies: no one reads the other bits
        else:
            word, first = assemble(self.context.builder, pieces), 0
        moved = self._shuffled(exchange, index, word)
        return [_Unit(moved, first + i * bits) for i in range(len(units))]

    def _shuffled(self, exchange: Exchange, index: tuple[int, ...], word: Register) -> Register:
        own = np.arange(self.threads)
        sources = exchange.sources(index, self.threads)
        flips = own ^ sources
        if (flips == flips[0]).all():
            return shuffle_word(self.context, "bfly", word, int(flips[0]))
        lane = self._lane(exchange, index)
        return shuffle_word(self.context, "idx", word, self.context.scalars.register(lane))

    def _lane(self, exchange: Exchange, index: tuple[int, ...]) -> Linear:
        """The lane that a thread reads from in a round."""
        total = Linear({}, 0)
        for step, extent, own, sign, axis in exchange.terms:
            turn = index[axis] if axis is not None else 0
            if own is None:
                total = total + turn * step
                continue
            digit = self.context.digit(*own)
            if axis is not None and extent == 2:
                digit = digit if turn == 0 else Linear({}, 1) - digit
            elif axis is not None:
                around = digit * sign + (turn + extent)
                digit = self.context.scalars.modulo(around, extent)
            total = total + digit * step
        return total


# Through shared memory


def _by_memory(
    context: Context, route: SharedRoute, offset: int, source: Tile, layout: RegisterLayout
) -> list[Register]:
    """Everybody has left the scratch before it is written again. Elements that fill no bytes
    travel in wider ones."""
    wide, own = source, source.type.dtype
    if source.bits % 8:
        wide = _at_width(context, source, dtype(f"u{container_bits(source.bits)}"))
    binding = SharedBinding(offset, wide.type.dtype, route.memory)
    context.barrier()
    writes = _access(context, binding, route, wide.type, after=False)
    store_words(writes, wide)
    context.barrier()
    landed = replace(wide.type, layout=layout, packing=CONTIGUOUS)
    registers = load_tile(_access(context, binding, route, landed, after=True), landed, "ld.shared")
    if landed.dtype != own:
        registers = _at_width(context, Tile(landed, registers), own).registers
    return registers


def _access(
    context: Context, binding: SharedBinding, route: SharedRoute, type_: RegType, after: bool
) -> Access:
    """A tile's elements in the scratch memory."""
    bits, layout = type_.dtype.bits, type_.placed
    if route.strides is None:
        access = build_access(context, binding, (Const(0),) * type_.rank, None, type_, True)
    else:
        threads, places = route.place(after)
        base = Linear({}, 0)
        for (step, extent), stride in _joined(threads):
            base = base + context.digit(step, extent) * stride
        positions = element_positions(type_.packing, bits, layout.num_locals)
        elements = [
            Element((), None, place * bits, position)
            for place, position in zip(places, positions, strict=True)
        ]
        access = Access(context, binding, elements, {(): base}, {})
        find_byte_bases(access, bits)
    access.common = context.owns(layout)
    return access


def _joined(threads: dict[Own, int]) -> list[tuple[Own, int]]:
    """Neighbouring digits of the thread whose strides go on are one digit."""
    joined: list[tuple[Own, int]] = []
    for (step, extent), stride in sorted(threads.items()):
        if joined:
            (last, before), last_stride = joined[-1]
            if last * before == step and last_stride * before == stride:
                joined[-1] = ((last, before * extent), last_stride)
                continue
        joined.append(((step, extent), stride))
    return joined


def _at_width(context: Context, tile: Tile, dtype: Dtype) -> Tile:
    """The elements' codes at another width (upper bits of wider ones are unspecified)."""
    positions = element_positions(tile.type.packing, tile.bits, tile.num_locals)
    width = min(tile.bits, dtype.bits)
    type_ = RegType(dtype, tile.type.shape, tile.type.placed)
    pieces: list[list[Piece]] = [[] for _ in range(-(-tile.num_locals * dtype.bits // 32))]
    words = as_words(context, tile)
    for number, position in enumerate(positions):
        cuts = split_at_words(position, width, number * dtype.bits)
        for word, bit, part, to, to_bit in cuts:
            pieces[to].append(Piece(words[word], bit, part, to_bit))
    assembled = [assemble(context.builder, parts) for parts in pieces]
    return Tile(type_, from_words(context, type_, assembled))
