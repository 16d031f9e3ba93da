"""`view`: where each bit of the new elements comes from.

Per thread, both types lay their elements into one string of bits. For each local element of the
new type the bits are grouped into *runs*: neighbouring bits that come from neighbouring bits of
one old element. A 3-bit code in a word is one run, one that straddles two words two, a byte of a
16-bit element one. As all threads share the pattern, an element of the result is

    sum over its runs of ((old[index] >> shift) & mask) << place

with index, shift, mask and place from tables over the whole tile, made once a pair of types.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tileloom.layouts import RegisterLayout

from ..dtypes import Dtype
from ..interpreter.owners import all_indices
from ..packing import Packing
from ..types import RegType
from .values import Array, Mask


class _Run(NamedTuple):
    """`width` bits from bit `shift` of old local element `source` to bit `place` of the new one."""

    source: int
    shift: int
    place: int
    width: int


@dataclass(frozen=True, eq=False, slots=True)
class RunTable:
    """One run of every element: flat index of the old element; shift, mask, place (maybe uniform,
    then of rank 0)."""

    index: NDArray[np.int64]
    shift: Array
    mask: Array
    place: Array


def view_codes(source: RegType, target: RegType, codes: Array) -> Array:
    """The new elements' codes from the old ones'. Both types have layouts."""
    tables = _tables(*_key(source), *_key(target))
    work = np.dtype(np.uint64 if 64 in _widths(source.dtype, target.dtype) else np.uint32)
    flat = codes.reshape(-1)
    result: Array | None = None
    for table in tables:
        part = flat[table.index].astype(work, copy=False)
        part = ((part >> table.shift.astype(work)) & table.mask.astype(work)) << (
            table.place.astype(work)
        )
        result = part if result is None else result | part
    assert result is not None
    return result.astype(target.dtype.code_dtype).reshape(target.shape)


def view_poison(source: RegType, target: RegType, poison: Mask) -> Mask:
    """Elements with a bit from an element without a value."""
    flat = poison.reshape(-1)
    result: Any = np.zeros(1, np.bool_)
    for table in _tables(*_key(source), *_key(target)):
        result = result | (flat[table.index] & (table.mask != 0))
    return np.asarray(result).reshape(target.shape)


def _widths(*dtypes: Dtype) -> set[int]:
    return {64 if dtype.bits > 32 else 32 for dtype in dtypes}


def _key(type_: RegType) -> tuple[int, RegisterLayout, Packing]:
    return type_.dtype.bits, type_.placed, type_.packing


@lru_cache(maxsize=256)
def _tables(
    old_bits: int,
    old: RegisterLayout,
    old_packing: Packing,
    new_bits: int,
    new: RegisterLayout,
    new_packing: Packing,
) -> tuple[RunTable, ...]:
    runs = _runs(
        old_packing.positions(old_bits, old.num_locals),
        new_packing.positions(new_bits, new.num_locals),
    )
    thread, local = (part.reshape(-1) for part in new.locate(all_indices(new.shape)))
    flat_old = np.ravel_multi_index(tuple(np.moveaxis(old.table(), -1, 0)), old.shape)
    tables = []
    for number in range(max(map(len, runs))):
        rows = [row[number] if number < len(row) else _Run(0, 0, 0, 0) for row in runs]
        columns = np.array(rows, np.uint64)[local]
        tables.append(
            RunTable(
                flat_old[thread, columns[:, 0].astype(np.int64)],
                _uniform(columns[:, 1]),
                _uniform((np.uint64(1) << columns[:, 3]) - np.uint64(1)),
                _uniform(columns[:, 2]),
            )
        )
    return tuple(tables)


def _uniform(column: Array) -> Array:
    narrow = column if (column >> np.uint64(32)).any() else column.astype(np.uint32)
    return narrow[0] if (narrow == narrow[0]).all() else narrow


def _runs(old: NDArray[np.int64], new: NDArray[np.int64]) -> list[list[_Run]]:
    """The runs of each new local element, from the bit positions [local, bit] of both types."""
    element = np.zeros(old.size, np.int64)
    bit = np.zeros(old.size, np.int64)
    element[old] = np.arange(old.shape[0])[:, None]
    bit[old] = np.arange(old.shape[1])[None, :]
    result = []
    for positions in new:
        runs: list[_Run] = []
        for place, position in enumerate(positions.tolist()):
            source, shift = int(element[position]), int(bit[position])
            last = runs[-1] if runs else None
            if last and last.source == source and last.shift + last.width == shift:
                runs[-1] = last._replace(width=last.width + 1)
            else:
                runs.append(_Run(source, shift, place, 1))
        result.append(runs)
    return result
