"""Reductions and scans along a dimension. Halves are combined in float32 and rounded once;
integers wrap in their own type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..dtypes import i32
from ..instructions.reduction import Reduce, Scan
from .exact import quiet
from .registry import semantics
from .values import Array, Tile, tile_of_numbers

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


def _wide(numbers: Array) -> Any:
    return np.float32 if numbers.dtype == np.float16 else numbers.dtype


def _sum(numbers: Array, **how: Any) -> Any:
    return np.add.reduce(numbers, dtype=_wide(numbers), **how).astype(numbers.dtype)


def _product(numbers: Array, **how: Any) -> Any:
    return np.multiply.reduce(numbers, dtype=_wide(numbers), **how).astype(numbers.dtype)


def _extreme(op: str, numbers: Array, way: str, **how: Any) -> Array:
    """The largest or smallest numbers, by `reduce` or `accumulate`; NaNs only where there is
    nothing else, and -0 before 0."""
    found = np.asarray(getattr(np.fmax if op == "max" else np.fmin, way)(quiet(numbers), **how))
    if numbers.dtype.kind != "f":
        return found
    first = (numbers == 0) & (np.signbit(numbers) == (op == "min"))
    signs = (-0.0, 0.0) if op == "min" else (0.0, -0.0)
    zero = np.where(getattr(np.logical_or, way)(first, **how), *signs).astype(found.dtype)
    return np.where(found == 0, zero, found)


_OPERATIONS: Final[dict[str, Any]] = {
    "sum": _sum,
    "prod": _product,
    "max": lambda numbers, **how: _extreme("max", numbers, "reduce", **how),
    "min": lambda numbers, **how: _extreme("min", numbers, "reduce", **how),
    "any": np.logical_or.reduce,
    "all": np.logical_and.reduce,
}
_SCANS: Final[dict[str, np.ufunc]] = {
    "add": np.add,
    "mul": np.multiply,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


@semantics(Reduce)
def reduce(group: ThreadGroup, instruction: Reduce) -> Tile:
    tile, op = group.tile(instruction.value), instruction.op
    how: Any = {"axis": instruction.dim, "keepdims": True}
    poison = None if tile.poison is None else np.logical_or.reduce(tile.poison, **how)
    if op in ("argmax", "argmin"):
        best = _OPERATIONS[op[3:]](tile.numbers, **how)
        first = np.argmax(tile.numbers == best, **how)
        return tile_of_numbers(i32, first.astype(np.int32), poison)
    numbers = np.asarray(_OPERATIONS[op](tile.numbers, **how))
    return tile_of_numbers(tile.dtype, numbers, poison)


@semantics(Scan)
def scan(group: ThreadGroup, instruction: Scan) -> Tile:
    tile, dim = group.tile(instruction.value), instruction.dim
    numbers, poison = tile.numbers, tile.poison
    if poison is not None:
        poison = np.logical_or.accumulate(poison, axis=dim)
    if instruction.op in ("max", "min"):
        result = _extreme(instruction.op, numbers, "accumulate", axis=dim)
    else:
        ufunc = _SCANS[instruction.op]
        result = np.asarray(ufunc.accumulate(numbers, axis=dim, dtype=_wide(numbers)))
    if instruction.exclusive:
        result = _shifted(result, dim, instruction.neutral(tile.dtype))
        poison = None if poison is None else _shifted(poison, dim, False)
    return tile_of_numbers(tile.dtype, result.astype(numbers.dtype), poison)


def _shifted(array: Array, dim: int, first: object) -> Array:
    """Moved one place along a dimension."""
    moved = np.roll(array, 1, axis=dim)
    moved[(slice(None),) * dim + (0,)] = first
    return moved
