"""Register tiles as the interpreter holds them, and the three forms of their elements.

    data      what a tile stores: the dtype's numpy type where there is one, else codes
    codes     unsigned integers, the bits of each element
    numbers   what arithmetic runs on: data where numpy has the type, float32 for bf16 and tf32,
              else the codec's values

Arrays are never changed once they are in a tile, so tiles may share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..dtypes import Dtype

Array: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Tile:
    """The elements of a register tile; `poison` marks those without a value (None: none)."""

    dtype: Dtype
    data: Array
    poison: Mask | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def codes(self) -> Array:
        return to_codes(self.dtype, self.data)

    @property
    def numbers(self) -> Array:
        return to_numbers(self.dtype, self.data)


def tile_of_numbers(dtype: Dtype, numbers: Array, poison: Mask | None = None) -> Tile:
    """The tile of the nearest values."""
    return Tile(dtype, from_numbers(dtype, numbers), poison)


def tile_of_codes(dtype: Dtype, codes: Array, poison: Mask | None = None) -> Tile:
    """The tile with these bits."""
    return Tile(dtype, from_codes(dtype, codes), poison)


def storage(dtype: Dtype) -> np.dtype[Any]:
    """The numpy type of a tile's data."""
    return dtype.numpy or dtype.code_dtype


def to_codes(dtype: Dtype, data: Array) -> Array:
    """The bits of each element, as unsigned integers."""
    return data if dtype.numpy is None else data.view(dtype.code_dtype)


def from_codes(dtype: Dtype, codes: Array) -> Array:
    """Data with these bits; codes must be in range."""
    plain = np.ascontiguousarray(codes.astype(dtype.code_dtype, copy=False))
    return (plain if dtype.numpy is None else plain.view(dtype.numpy)).reshape(codes.shape)


def to_numbers(dtype: Dtype, data: Array) -> Array:
    """The exact values, in the type that arithmetic uses."""
    if dtype.numpy is not None:
        return data
    if dtype.name == "bf16":
        return (data.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype.name == "tf32":
        return data.view(np.float32)
    if dtype.bits <= 8:
        return np.asarray(dtype.table[data])
    return dtype.decode(data)


def from_numbers(dtype: Dtype, numbers: Array) -> Array:
    """Data with the nearest values (`Dtype.encode`); free where the type is already right."""
    native = dtype.numpy  # never compare None: numpy takes it for float64
    if native is not None and (native == numbers.dtype or dtype.kind == "float"):
        return numbers.astype(native, copy=False)
    return from_codes(dtype, dtype.encode(numbers))


def convert(source: Dtype, dest: Dtype, data: Array) -> Array:
    """The data of a tile cast from one dtype to another."""
    if source == dest:
        return data
    if source.bits <= 8:
        return np.asarray(cast_table(source, dest)[to_codes(source, data)])
    return from_numbers(dest, to_numbers(source, data))


@lru_cache(maxsize=512)
def cast_table(source: Dtype, dest: Dtype) -> Array:
    """The cast of every code of a dtype of at most 8 bits; read-only."""
    table = from_numbers(dest, dest.limit(source.table) if dest.is_float else source.table)
    table = table.copy() if table.flags.writeable else table
    table.flags.writeable = False
    return table


def python_number(dtype: Dtype, number: Any) -> int | float | bool:
    """An element's value as a Python number."""
    if dtype.kind == "bool":
        return bool(number)
    return float(number) if dtype.is_float else int(number)


def any_poison(*masks: Mask | None) -> Mask | None:
    """Elements that are poison in one of the (broadcast) masks."""
    result: Mask | None = None
    for mask in masks:
        if mask is not None:
            result = mask if result is None else result | mask
    return result


def drop_clean(mask: Mask | None) -> Mask | None:
    """None for a mask that marks nothing."""
    return mask if mask is not None and mask.any() else None
