"""Lowering of the instructions that change a tile's type, shape or placement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from tileloom.layouts import LayoutError, RegisterLayout, auto, local
from tileloom.vm.diagnostics import LayoutMismatchError
from tileloom.vm.instructions.transform import (
    Broadcast,
    Cast,
    Concat,
    Decode,
    Repack,
    Reshape,
    Slice,
    Transpose,
    View,
)
from tileloom.vm.ir import Value
from tileloom.vm.packing import CONTIGUOUS
from tileloom.vm.types import RegType

from ..emit.bits import Piece, assemble
from ..emit.casts import cast_tile, decode_tile
from ..emit.context import Context
from ..emit.locals import as_words, broadcast_source, from_words, matching_locals, select_locals
from ..emit.repacking import repacked
from ..emit.tiles import Tile, tile_type
from ..ptx import Register
from .registry import Demand, layout_default, layout_demand, layout_rule, lowering

if TYPE_CHECKING:
    from ..passes.inference import Inference


_MAX_KEPT = 4096


def _result(instruction: View | Cast | Decode | Broadcast | Reshape | Transpose) -> RegType:
    assert instruction.result is not None and isinstance(instruction.result.type, RegType)
    return instruction.result.type


@lowering(View)
def lower_view(context: Context, instruction: View) -> None:
    source = context.tile(instruction.value)
    assert instruction.result is not None and isinstance(instruction.value, Value)
    words = as_words(context, source)
    registers = from_words(context, _result(instruction), words)
    context.bind(instruction.result, registers)


@lowering(Cast)
def lower_cast(context: Context, instruction: Cast) -> None:
    assert instruction.result is not None and isinstance(instruction.value, Value)
    source, type_ = context.tile(instruction.value), _result(instruction)
    if source.type.dtype == type_.dtype and source.type.packing == CONTIGUOUS:
        context.bind(instruction.result, source.registers)
        return
    context.bind(instruction.result, cast_tile(context, source, type_))


@lowering(Decode)
def lower_decode(context: Context, instruction: Decode) -> None:
    assert instruction.result is not None
    source, type_ = context.tile(instruction.value), _result(instruction)
    context.bind(instruction.result, decode_tile(context, source, type_, instruction.form))


@lowering(Reshape, Transpose)
def lower_relabel(context: Context, instruction: Reshape | Transpose) -> None:
    assert instruction.result is not None and isinstance(instruction.value, Value)
    source = context.tile(instruction.value)
    context.bind(instruction.result, source.registers)


@lowering(Slice)
def lower_slice(context: Context, instruction: Slice) -> None:
    assert instruction.result is not None and isinstance(instruction.value, Value)
    source = context.tile(instruction.value)
    _, kept = _kept(instruction, source.type.placed)
    registers = select_locals(context, source, kept)
    context.bind(instruction.result, registers)


@lowering(Broadcast)
def lower_broadcast(context: Context, instruction: Broadcast) -> None:
    assert instruction.result is not None and isinstance(instruction.value, Value)
    source, type_ = context.tile(instruction.value), _result(instruction)
    numbers = matching_locals(type_.placed, source.type.placed, context.num_threads)
    assert numbers is not None, "inference left a broadcast between threads"
    registers = select_locals(context, source, numbers)
    context.bind(instruction.result, registers)


@lowering(Concat)
def lower_concat(context: Context, instruction: Concat) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    lhs, rhs = context.tile(instruction.lhs), context.tile(instruction.rhs)
    parts = (lhs.type.placed, rhs.type.placed)
    numbers = _concat_locals(result.type.placed, *parts, instruction.dim)
    assert numbers is not None, "inference left a join between threads"
    joined = _joined(context, lhs, rhs, numbers)
    context.bind(result, joined)


@lru_cache(maxsize=_MAX_KEPT)
def _concat_locals(
    layout: RegisterLayout, lhs: RegisterLayout, rhs: RegisterLayout, dim: int
) -> tuple[tuple[bool, int], ...] | None:
    """Per local of the joined tile: whether it is of rhs, and which local there; None where a
    thread would need another's."""
    table = layout.table()
    border = lhs.shape[dim]
    of_rhs = table[:, :, dim] >= border
    if not (of_rhs == of_rhs[0]).all():
        return None
    numbers: list[tuple[bool, int]] = []
    for number, second in enumerate(of_rhs[0].tolist()):
        part = rhs if second else lhs
        indices = table[:, number].copy()
        indices[:, dim] -= border if second else 0
        _, found = part.locate(indices)
        if part.num_threads != layout.num_threads or not (found == found[0]).all():
            return None
        if not np.array_equal(part.table()[:, int(found[0])], indices):
            return None
        numbers.append((second, int(found[0])))
    return tuple(numbers)


def _joined(
    context: Context, lhs: Tile, rhs: Tile, numbers: Sequence[tuple[bool, int]]
) -> list[Register]:
    bits = lhs.bits
    if bits in (32, 64) or lhs.type.dtype.kind == "bool":
        return [(rhs if second else lhs).registers[number] for second, number in numbers]
    pieces: list[list[Piece]] = [[] for _ in range(-(-len(numbers) * bits // 32))]
    places = [side.type.packing.positions(bits, side.num_locals).tolist() for side in (lhs, rhs)]
    for target, (second, number) in enumerate(numbers):
        registers = (rhs if second else lhs).registers
        for bit, place in enumerate(places[second][number], target * bits):
            pieces[bit // 32].append(Piece(registers[place // 32], place % 32, 1, bit % 32))
    return [assemble(context.builder, parts) for parts in pieces]


@lowering(Repack)
def lower_repack(context: Context, instruction: Repack) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    source = context.tile(instruction.value)
    packings = (source.type.packing, result.type.packing)
    context.bind(result, repacked(context, source.registers, source, *packings))


@layout_rule(Cast, Decode, Repack)
def infer_same(inference: Inference, instruction: Cast | Decode | Repack) -> None:
    inference.propose(instruction.result, inference.known(instruction.value))
    inference.propose(instruction.value, inference.known(instruction.result))


@layout_demand(Cast, Decode, Repack)
def same_demand(instruction: Cast | Decode | Repack, num_threads: int) -> Demand:
    return [("result", _placed(instruction.value))]


def _placed(value: object) -> RegisterLayout:
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    return value.type.placed


def _shape(value: object) -> tuple[int, ...]:
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    return value.type.shape


@layout_rule(Reshape)
def infer_reshape(inference: Inference, instruction: Reshape) -> None:
    source, result = inference.known(instruction.value), inference.known(instruction.result)
    if source is not None:
        inference.propose(instruction.result, _reshaped(source, instruction.shape))
    if result is not None:
        inference.propose(instruction.value, _reshaped(result, _shape(instruction.value)))


def _reshaped(layout: RegisterLayout, shape: tuple[int, ...]) -> RegisterLayout | None:
    try:
        return layout.reshape(shape)
    except LayoutError:
        return None


@layout_demand(Reshape)
def reshape_demand(instruction: Reshape, num_threads: int) -> Demand:
    own = _reshaped(_placed(instruction.value), instruction.shape)
    if own is not None:
        return [("result", own)]
    wanted = _reshaped(_placed(instruction.result), _shape(instruction.value))
    if wanted is not None:
        return [("value", wanted)]
    raise LayoutMismatchError(
        f"`reshape`: `{_placed(instruction.value)}` has no form {list(instruction.shape)}",
        instruction.location,
        notes=[f"the result has layout `{_placed(instruction.result)}`"],
        hint="annotate the operand with a layout that splits along the new dimensions",
    )


@layout_rule(Transpose)
def infer_transpose(inference: Inference, instruction: Transpose) -> None:
    source, result = inference.known(instruction.value), inference.known(instruction.result)
    order = instruction.permutation(len(_shape(instruction.value)))
    if source is not None:
        inference.propose(instruction.result, source.permute(order))
    if result is not None:
        back = tuple(order.index(dim) for dim in range(len(order)))
        inference.propose(instruction.value, result.permute(back))


@layout_demand(Transpose)
def transpose_demand(instruction: Transpose, num_threads: int) -> Demand:
    layout = _placed(instruction.value)
    return [("result", layout.permute(instruction.permutation(layout.rank)))]


@layout_rule(Slice)
def infer_slice(inference: Inference, instruction: Slice) -> None:
    source = inference.known(instruction.value)
    if source is not None and _falls_on_registers(instruction, source):
        inference.propose(instruction.result, _sliced(instruction, source))


def _sliced(instruction: Slice, source: RegisterLayout) -> RegisterLayout:
    return _kept(instruction, source)[0]


def _falls_on_registers(instruction: Slice, source: RegisterLayout) -> bool:
    try:
        for dim, (start, size) in enumerate(
            zip(instruction.offsets, instruction.shape, strict=True)
        ):
            source, _ = source.sub_layout(dim, start, size)
    except LayoutError:
        return False
    return True


_KEPT: dict[Any, tuple[RegisterLayout, tuple[int, ...]]] = {}


def _kept(instruction: Slice, source: RegisterLayout) -> tuple[RegisterLayout, tuple[int, ...]]:
    """`Slice.kept` under a layout, remembered: inference and lowering both ask."""
    key = (source, instruction.offsets, instruction.shape)
    if key not in _KEPT:
        if len(_KEPT) >= _MAX_KEPT:
            _KEPT.clear()
        assert isinstance(instruction.value, Value)
        _KEPT[key] = instruction.kept(replace(tile_type(instruction.value), layout=source))
    return _KEPT[key]


@layout_default(Slice, phase=3)
def default_slice(inference: Inference, instruction: Slice) -> None:
    if inference.known(instruction.value) is not None:
        source = _source_to_slice(instruction, inference.num_threads)
        inference.propose(instruction.result, _sliced(instruction, source))


@layout_demand(Slice)
def slice_demand(instruction: Slice, num_threads: int) -> Demand:
    source = _placed(instruction.value)
    if not _falls_on_registers(instruction, source):
        source = _source_to_slice(instruction, num_threads)
    return [("value", source), ("result", _sliced(instruction, source))]


def _source_to_slice(instruction: Slice, num_threads: int) -> RegisterLayout:
    shape = _shape(instruction.value)
    cuts = zip(instruction.offsets, instruction.shape, shape, strict=True)
    return _cut_between_registers(num_threads, shape, [gcd(*cut) for cut in cuts])


def _cut_between_registers(
    num_threads: int, shape: Sequence[int], runs: Sequence[int]
) -> RegisterLayout:
    """A layout whose threads hold the same part of each run of so many indices of a dimension."""
    outer = local(*(extent // run for extent, run in zip(shape, runs, strict=True)))
    return outer * auto(num_threads, *runs)


@layout_rule(Broadcast)
def infer_broadcast(inference: Inference, instruction: Broadcast) -> None:
    result = inference.known(instruction.result)
    if result is not None:
        shape = _shape(instruction.value)
        inference.propose(instruction.value, broadcast_source(result, shape))


@layout_default(Broadcast, phase=3)
def default_broadcast(inference: Inference, instruction: Broadcast) -> None:
    source = inference.known(instruction.value)
    if source is not None:
        inference.propose(instruction.result, source.expand(instruction.shape))


@layout_demand(Broadcast)
def broadcast_demand(instruction: Broadcast, num_threads: int) -> Demand:
    source, result = _placed(instruction.value), _placed(instruction.result)
    if matching_locals(result, source, num_threads) is not None:
        return []
    return [("value", broadcast_source(result, source.shape))]


@layout_rule(Concat)
def infer_concat(inference: Inference, instruction: Concat) -> None:
    lhs, rhs = inference.known(instruction.lhs), inference.known(instruction.rhs)
    inference.propose(instruction.lhs, rhs)
    inference.propose(instruction.rhs, lhs)
    if lhs is not None and lhs == rhs:
        outer = tuple(2 if dim == instruction.dim else 1 for dim in range(lhs.rank))
        inference.propose(instruction.result, local(outer) * lhs)


@layout_demand(Concat)
def concat_demand(instruction: Concat, num_threads: int) -> Demand:
    lhs, rhs, dim = _placed(instruction.lhs), _placed(instruction.rhs), instruction.dim
    if _concat_locals(_placed(instruction.result), lhs, rhs, dim) is not None:
        return []
    runs = list(lhs.shape)
    runs[dim] = gcd(lhs.shape[dim], rhs.shape[dim])
    shapes = {"lhs": lhs.shape, "rhs": rhs.shape, "result": _shape(instruction.result)}
    return [
        (name, _cut_between_registers(num_threads, shape, runs)) for name, shape in shapes.items()
    ]
