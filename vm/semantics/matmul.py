"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..instructions.matmul import Mma, SimtDot
from .exact import exact_fma, odd_fma
from .registry import semantics
from .values import Array, Mask, Tile, any_poison, tile_of_numbers

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(Mma)
def mma(group: ThreadGroup, instruction: Mma) -> None:
    acc, a, b = (group.tile(v) for v in (instruction.acc, instruction.a, instruction.b))
    group.mutate(instruction.acc, multiply(acc, a, b))


def multiply(acc: Tile, a: Tile, b: Tile) -> Tile:
    """acc + a @ b on tensor cores. Products are exact, sums in float32 (or exact and wrapped); the
    order of sums is BLAS's."""
    poison = _product_poison(acc, a, b)
    if acc.dtype.kind == "int":
        # Exact in float64: sums stay far below 2**53.
        product = np.matmul(a.numbers.astype(np.float64), b.numbers.astype(np.float64))
        numbers: Array = (acc.data + product.astype(np.int64)).astype(np.int32)
    else:
        single = np.matmul(a.numbers.astype(np.float32), b.numbers.astype(np.float32))
        numbers = acc.data + single
    return tile_of_numbers(acc.dtype, numbers, poison)


@semantics(SimtDot)
def simt_dot(group: ThreadGroup, instruction: SimtDot) -> None:
    acc, a, b = (group.tile(v) for v in (instruction.acc, instruction.a, instruction.b))
    total, lhs, rhs = acc.numbers, a.numbers, b.numbers
    for k in range(lhs.shape[-1]):
        column, row = lhs[..., :, k, None], rhs[..., k, None, :]
        if total.dtype.kind == "f":
            multiply_add = odd_fma if acc.dtype.name == "bf16" else exact_fma
            total = multiply_add(column, row, total)
            if acc.dtype.numpy is None:  # bf16, tf32: each step rounds to the accumulator's type
                total = tile_of_numbers(acc.dtype, total).numbers
        else:
            total = column * row + total
    poison = _product_poison(acc, a, b)
    group.mutate(instruction.acc, tile_of_numbers(acc.dtype, total, poison))


def _product_poison(acc: Tile, a: Tile, b: Tile) -> Mask | None:
    rows = None if a.poison is None else np.logical_or.reduce(a.poison, axis=-1, keepdims=True)
    columns = None if b.poison is None else np.logical_or.reduce(b.poison, axis=-2, keepdims=True)
    poison = any_poison(acc.poison, rows, columns)
    return None if poison is None else np.broadcast_to(poison, acc.shape)
