"""Changing a register tile's type, shape or placement."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tileloom.layouts import RegisterLayout

from ..decode import decode_form
from ..diagnostics import ExecutionError
from ..dtypes import Dtype
from ..instruction import Instruction, Operand
from ..instructions.transform import (
    Broadcast,
    Cast,
    Concat,
    ConvertLayout,
    Decode,
    Repack,
    Reshape,
    Slice,
    Transpose,
    View,
)
from ..interpreter.owners import all_indices
from ..ir import Value
from ..packing import Packing
from ..types import RegType
from .bit_views import view_codes, view_poison
from .create import result_type
from .registry import semantics
from .values import (
    Array,
    Mask,
    Tile,
    any_poison,
    convert,
    drop_clean,
    from_numbers,
    tile_of_codes,
    to_codes,
)

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


def placed_source(instruction: Instruction, operand: Operand) -> RegType:
    """The type of an operand whose layout is known. Raises ExecutionError without one."""
    assert isinstance(operand, Value)
    assert isinstance(operand.type, RegType)
    if operand.type.layout is None:
        raise ExecutionError(
            f"`{instruction.name}` reads bits by their place in threads, but `%{operand.name}` "
            "has no layout",
            instruction.location,
            hint="write its layout in its type, or run the layout inference first",
        )
    return operand.type


@semantics(View)
def view(group: ThreadGroup, instruction: View) -> Tile:
    tile, target = group.tile(instruction.value), result_type(instruction)
    source = placed_source(instruction, instruction.value)
    codes = view_codes(source, target, tile.codes)
    poison = None if tile.poison is None else view_poison(source, target, tile.poison)
    return tile_of_codes(target.dtype, codes, poison)


@semantics(Cast)
def cast(group: ThreadGroup, instruction: Cast) -> Tile:
    tile = group.tile(instruction.value)
    return Tile(instruction.dtype, convert(tile.dtype, instruction.dtype, tile.data), tile.poison)


@semantics(Decode)
def decode(group: ThreadGroup, instruction: Decode) -> Tile:
    tile, source = group.tile(instruction.value), placed_source(instruction, instruction.value)
    place, table = _decode_table(
        source.dtype, instruction.dtype, source.packing, source.placed, instruction.form
    )
    codes = to_codes(source.dtype, tile.data)
    poison = any_poison(tile.poison, without_value(source.dtype, codes))
    return Tile(instruction.dtype, table[place + codes], poison)


def without_value(dtype: Dtype, codes: Array) -> Mask | None:
    """The elements that are infinite or not a number: decodes promise nothing for them."""
    return None if dtype.specials == "none" else drop_clean(~np.isfinite(dtype.table[codes]))


@lru_cache(maxsize=256)
def _decode_table(
    source: Dtype, dest: Dtype, packing: Packing, layout: RegisterLayout, name: str
) -> tuple[Array, Array]:
    """For each element where its pair's row starts in the table of [pair, code] values."""
    form = decode_form(source, dest, packing, name)
    stored = np.arange(1 << source.bits, dtype=source.code_dtype)
    values = source.decode(stored ^ source.code_dtype.type(form.code_xor))
    rows = [
        # Adding minus zero keeps the sign of every zero.
        np.ldexp(values.astype(np.float64), exponent) + (constant or -0.0)
        for exponent, constant in zip(form.exponents, form.constants, strict=True)
    ]
    _, local = layout.locate(all_indices(layout.shape))
    pair = local // 2 % len(rows)
    return pair << source.bits, from_numbers(dest, dest.limit(np.concatenate(rows)))


@semantics(Repack, ConvertLayout)
def move(group: ThreadGroup, instruction: Repack | ConvertLayout) -> Tile:
    """The elements stay what they are; only their places change."""
    return group.tile(instruction.value)


@semantics(Broadcast)
def broadcast(group: ThreadGroup, instruction: Broadcast) -> Tile:
    shape = instruction.shape
    return _map(group.tile(instruction.value), lambda array: np.broadcast_to(array, shape).copy())


@semantics(Reshape)
def reshape(group: ThreadGroup, instruction: Reshape) -> Tile:
    return _map(group.tile(instruction.value), lambda array: array.reshape(instruction.shape))


@semantics(Transpose)
def transpose(group: ThreadGroup, instruction: Transpose) -> Tile:
    tile = group.tile(instruction.value)
    order = instruction.permutation(len(tile.shape))
    return _map(tile, lambda array: np.ascontiguousarray(array.transpose(order)))


@semantics(Slice)
def slice_(group: ThreadGroup, instruction: Slice) -> Tile:
    bounds = zip(instruction.offsets, instruction.shape, strict=True)
    box = tuple(slice(start, start + size) for start, size in bounds)
    return _map(group.tile(instruction.value), lambda array: np.ascontiguousarray(array[box]))


@semantics(Concat)
def concat(group: ThreadGroup, instruction: Concat) -> Tile:
    lhs, rhs = group.tile(instruction.lhs), group.tile(instruction.rhs)
    data = np.concatenate([lhs.data, rhs.data], axis=instruction.dim)
    if lhs.poison is None and rhs.poison is None:
        return Tile(lhs.dtype, data)
    masks = [
        tile.poison if tile.poison is not None else np.zeros(tile.shape, np.bool_)
        for tile in (lhs, rhs)
    ]
    return Tile(lhs.dtype, data, np.concatenate(masks, axis=instruction.dim))


def _map(tile: Tile, change: Callable[[Array], Array]) -> Tile:
    poison = None if tile.poison is None else change(tile.poison)
    return Tile(tile.dtype, change(tile.data), poison)
