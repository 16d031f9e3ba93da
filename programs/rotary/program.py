"""Rotary embedding: pairs of a head's elements turned by angles of the token's position.

    (a, b)  ->  (a cos - b sin, b cos + a sin)        cos, sin = tables[position of the token, pair]

Pair i of a head of 2n elements is (i, i + n), or, `interleaved`, (2i, 2i + 1). Either way a head is
seen as pairs along one dimension and the two members along another, which lies within a thread. A
thread turns the same pairs of several heads, so it reads their angles once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.layouts import RegisterLayout, local, spatial
from tileloom.programs.rows.schedule import VECTOR_BYTES, vector_of
from tileloom.vm.dtypes import dtype

_THREADS = 128
_MAX_PAIRS = 16  # of a thread, over its heads


@dataclass(frozen=True)
class Schedule:
    """A block's tokens have `threads` threads each, which turn `heads` heads; a thread has
    `chunks` runs of `vector` pairs of each."""

    threads: int = 8
    heads: int = 2
    chunks: int = 1
    vector: int = 8
    interleaved: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of a block."""
        return _THREADS // self.threads

    @property
    def pairs(self) -> int:
        return self.threads * self.chunks * self.vector

    @property
    def axis(self) -> int:
        """The dimension of a pair's two members; the other of the last two has the pairs."""
        return 3 if self.interleaved else 2

    @cached_property
    def layout(self) -> RegisterLayout:
        """[tokens, heads, 2, pairs], or [tokens, heads, pairs, 2] if interleaved."""
        inner = [(2, self.chunks), (1, self.threads), (1, self.vector)]
        if self.interleaved:
            inner = [(self.chunks, 1), (self.threads, 1), (self.vector, 2)]
        outer = spatial(self.tokens, 1, 1, 1) * local(1, self.heads, *inner[0])
        return outer * spatial(1, 1, *inner[1]) * local(1, 1, *inner[2])

    def alignment(self, itemsize: int) -> int:
        """Bytes that every run of elements starts at a multiple of."""
        return min(VECTOR_BYTES, self.vector * itemsize * (2 if self.interleaved else 1))


def schedule_for(heads: int, half: int, itemsize: int, interleaved: bool = False) -> Schedule:
    """The schedule for `heads` heads of `half` pairs of elements of `itemsize` bytes."""
    vector = vector_of(half, itemsize)
    if interleaved:  # a pair lies in one run
        vector = max(1, vector // 2)
    runs = -(-half // vector)
    threads = min(32, 1 << max(0, runs - 1).bit_length())
    chunks = -(-runs // threads)
    together = max(1, _MAX_PAIRS // (chunks * vector))
    return Schedule(threads, min(heads, together), chunks, vector, interleaved)


@vm.kernel
def rotary(
    x: vm.Ptr["element"],
    positions: vm.Ptr[vm.i32],
    cosines: vm.Ptr[vm.f32],
    sines: vm.Ptr[vm.f32],
    y: vm.Ptr["element"],
    tokens: vm.i32,
    heads: vm.i32,
    half: vm.i32,
    limit: vm.i32,
    element: str = "f16",
    schedule: Schedule = Schedule(),
) -> None:
    s, kind = schedule, dtype(element)
    vm.launch(grid=[vm.cdiv(heads, s.heads), vm.cdiv(tokens, s.tokens)], warps=_THREADS // 32)
    vm.assume(half % s.vector == 0)
    alignment = s.alignment(kind.bits // 8)
    shape = [tokens, heads, half, 2] if s.interleaved else [tokens, heads, 2, half]
    source, target = (vm.global_view(p, shape, alignment=alignment) for p in (x, y))
    token, head = vm.block_index(1) * s.tokens, vm.block_index(0) * s.heads
    tile = vm.load(source, [token, head, 0, 0], s.layout.shape, s.layout).to(vm.f32)
    if s.interleaved:
        first, second = tile[:, :, :, 0:1], tile[:, :, :, 1:2]
    else:
        first, second = tile[:, :, 0:1, :], tile[:, :, 1:2, :]
    place = vm.load(vm.global_view(positions, [tokens], alignment=4), [token], (s.tokens,))
    angles = []
    for table in (cosines, sines):
        view = vm.global_view(table, [limit, half], alignment=min(VECTOR_BYTES, 4 * s.vector))
        rows = vm.gather(view, [0, 0], vm.unsqueeze(place, (1,)), 0, (s.tokens, s.pairs))
        angles.append(vm.unsqueeze(rows, (1, s.axis)))
    cosine, sine = angles
    turned = first * cosine - second * sine, second * cosine + first * sine
    result = vm.concat(*turned, dim=s.axis, layout=s.layout)
    vm.store(target, [token, head, 0, 0], result.to(kind))


def tables(limit: int, half: int, base: float = 10000.0) -> tuple[NDArray[Any], NDArray[Any]]:
    """The usual cosines and sines [limit, half] in f32: pair i turns by base ** (-i / half)."""
    angles = np.outer(np.arange(limit), base ** (-np.arange(half) / half))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def reference(
    x: NDArray[Any],
    positions: NDArray[Any],
    cosines: NDArray[Any],
    sines: NDArray[Any],
    interleaved: bool = False,
) -> NDArray[np.float64]:
    """x [tokens, heads, 2 * half] turned, in float64."""
    wide = x.astype(np.float64)
    half = cosines.shape[1]
    members: Any = (np.s_[..., :half], np.s_[..., half:])
    if interleaved:
        members = (np.s_[..., 0::2], np.s_[..., 1::2])
    first, second = (wide[part] for part in members)
    cosine, sine = (table[positions][:, None].astype(np.float64) for table in (cosines, sines))
    result = np.empty_like(wide)
    result[members[0]] = first * cosine - second * sine
    result[members[1]] = second * cosine + first * sine
    return result
