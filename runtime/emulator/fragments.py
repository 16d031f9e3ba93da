"""Which element of a matrix each lane holds in which register: `mma.sync` and `ldmatrix`.

Written down from the figures of the PTX manual. With g = lane / 4 and t = lane % 4, an element of
e bytes, and four bytes a register holding w = 4 / e consecutive columns:

    A (m16, K = 8w):  a0: row g      columns t*w .. t*w+w-1        A (m16, K = 4w): a0 and a1 only,
                      a1: row g + 8  the same columns                 rows g and g + 8
                      a2: row g      columns 4w + t*w ..
                      a3: row g + 8  columns 4w + t*w ..
    B (K, n8):        b0: column g   rows t*w .. t*w+w-1
                      b1: column g   rows 4w + t*w ..
    C, D (16 x 8):    c0, c1: row g, columns 2t, 2t + 1;  c2, c3: row g + 8, the same columns
                      (f16: two registers, each the pair of a row)

A map is an array of flat positions: `positions[register * 32 * w + lane * w + i]` is the element
i of that register in that lane, so it orders the concatenated registers of a warp.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .types import Array

_LANE = np.arange(32)
_G, _T = _LANE // 4, _LANE % 4


def _positions(rows: list[Array], columns: list[Array], width: int) -> Array:
    """Flat positions row * width + column; one [32, w] array of rows and columns a register."""
    parts = [(r * width + col).reshape(-1) for r, col in zip(rows, columns, strict=True)]
    return np.concatenate(parts)


@lru_cache(maxsize=64)
def a_map(k: int, per_register: int) -> Array:
    """Positions of A [16, k] held by `per_register` elements a register."""
    w = per_register
    within = np.arange(w)
    rows, columns = [], []
    for block in range(k // (4 * w)):
        for half in range(2):
            rows.append(np.broadcast_to((_G + 8 * half)[:, None], (32, w)))
            columns.append(block * 4 * w + _T[:, None] * w + within)
    return _positions(rows, columns, k)


@lru_cache(maxsize=64)
def b_map(k: int, per_register: int) -> Array:
    """Positions of B [k, 8] held by `per_register` elements a register."""
    w = per_register
    within = np.arange(w)
    rows, columns = [], []
    for block in range(k // (4 * w)):
        rows.append(block * 4 * w + _T[:, None] * w + within)
        columns.append(np.broadcast_to(_G[:, None], (32, w)))
    return _positions(rows, columns, 8)


@lru_cache(maxsize=8)
def c_map(per_register: int) -> Array:
    """Positions of C [16, 8]: one element a register (f32, s32) or two (f16)."""
    w = per_register
    within = np.arange(w)
    rows, columns = [], []
    for half in range(2):
        for column in range(0, 2, w):
            rows.append(np.broadcast_to((_G + 8 * half)[:, None], (32, w)))
            columns.append(2 * _T[:, None] + column + within)
    return _positions(rows, columns, 8)


@lru_cache(maxsize=64)
def inverse(which: str, k: int, per_register: int) -> Array:
    """For each matrix element its place in the concatenated registers: gathers a matrix."""
    found = {"a": a_map, "b": b_map}[which](k, per_register)
    result = np.empty(len(found), np.int64)
    result[found] = np.arange(len(found))
    return result


@lru_cache(maxsize=8)
def c_inverse(per_register: int) -> Array:
    found = c_map(per_register)
    result = np.empty(len(found), np.int64)
    result[found] = np.arange(len(found))
    return result
