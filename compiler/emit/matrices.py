"""Recognises tiles that `ldmatrix` loads: whole 8 x 16-byte matrices out of shared memory.

An instruction loads 1, 2 or 4 matrices. Lanes 8j .. 8j + 7 give the addresses of matrix j's rows
(16 bytes each, aligned); lane 4g + q receives

    plain     word q of row g
    trans     the 16-bit elements g of rows 2q and 2q + 1

A layout is `thread's share + local's share`, so all words of a tile have one pattern over the
lanes, and word w differs by a constant: it is a matrix of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tileloom.layouts import RegisterLayout

IntTable = npt.NDArray[np.int64]


class MatrixPlan(NamedTuple):
    """How a tile is loaded. `words`: each word's bytes from the thread's first; `row_step`: bytes
    between rows 2q and 2q + 1 of a transposed matrix."""

    transposed: bool
    words: tuple[int, ...]
    row_step: int


@lru_cache(maxsize=1024)
def plan_matrices(layout: RegisterLayout, strides: tuple[int, ...], bits: int) -> MatrixPlan | None:
    """The plan for a tile whose dimensions step by `strides` elements; None if it has none."""
    if layout.num_threads % 32 or bits not in (8, 16, 32) or layout.num_locals * bits % 32:
        return None
    if any(stride * bits % 8 for stride in strides):
        return None
    step = np.array([stride * bits // 8 for stride in strides], dtype=np.int64)
    threads, places = layout.spatial_table @ step, layout.local_table @ step
    words = places.reshape(-1, 32 // bits)
    return _plain(threads, words, bits) or _transposed(threads, words, bits)


def _plain(threads: IntTable, words: IntTable, bits: int) -> MatrixPlan | None:
    lanes = np.arange(len(threads))
    rows = threads[lanes - lanes % 4]
    if (threads != rows + 4 * (lanes % 4)).any() or (rows % 16).any():
        return None
    first = words[:, 0]
    inside = np.arange(words.shape[1]) * (bits // 8)
    if (words != first[:, None] + inside).any() or (first % 16).any():
        return None
    return MatrixPlan(False, tuple(first.tolist()), 0)


def _transposed(threads: IntTable, words: IntTable, bits: int) -> MatrixPlan | None:
    if bits != 16:
        return None
    lanes = np.arange(len(threads))
    columns, pairs = lanes % 32 // 4, lanes % 4
    row_step = int(words[0, 1] - words[0, 0])
    warp = threads[lanes - lanes % 32]
    if (threads != warp + 2 * columns + 2 * row_step * pairs).any():
        return None
    first = words[:, 0]
    aligned = row_step % 16 == 0 and not (warp % 16).any() and not (first % 16).any()
    if not aligned or (words[:, 1] != first + row_step).any():
        return None
    return MatrixPlan(True, tuple(first.tolist()), row_step)


class MatrixGroup(NamedTuple):
    """The matrices of one instruction: word numbers, the first's place, and how far the second and
    the third lie from it (the fourth lies as far as both together)."""

    words: tuple[int, ...]
    place: int
    second: int
    third: int


def group_matrices(places: tuple[int, ...]) -> list[MatrixGroup]:
    """Words four at a time where their places form a parallelogram, else two or one."""
    groups = []
    number = 0
    while number < len(places):
        first, *rest = places[number : number + 4]
        if len(rest) == 3 and rest[2] - rest[1] == rest[0] - first:
            group = MatrixGroup(_range(number, 4), first, rest[0] - first, rest[1] - first)
        elif rest:
            group = MatrixGroup(_range(number, 2), first, rest[0] - first, 0)
        else:
            group = MatrixGroup(_range(number, 1), first, 0, 0)
        groups.append(group)
        number += len(group.words)
    return groups


def _range(start: int, count: int) -> tuple[int, ...]:
    return tuple(range(start, start + count))
