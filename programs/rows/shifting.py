"""Moves runs of neighbours by a number of elements that is known at run time.

    before, here      | a0 a1 .. a7 | b0 b1 .. b7 |       each thread's vectors
    shifted by 3      | a5 a6 a7 b0 .. b4 |

Whole words move first, by selections between constant distances, then halves within words.
"""

from __future__ import annotations

from collections.abc import Sequence

from tileloom import vm
from tileloom.layouts import RegisterLayout, local, spatial
from tileloom.vm.dsl.values import ScalarLike, Tile

from .schedule import RowSchedule


def shifted(before: Tile, here: Tile, shift: ScalarLike, s: RowSchedule) -> Tile:
    """[1, columns]: element i is `here[i - shift]` of its vector, or the end of `before`'s.

    Elements are of 2 or 4 bytes, vectors of whole words; 0 <= shift < s.vector.
    """
    per_word = 32 // here.dtype.bits
    count, runs = s.vector // per_word, s.threads * s.chunks
    layout = local(1, s.chunks) * spatial(1, s.threads) * local(1, count)
    window = [word for part in (before, here) for word in _words(part, count, runs, layout)]
    distance, step = shift // per_word, count // 2
    while step:  # `window` begins up to step * 2 - 1 words too early
        moves = _holds(distance // step % 2)
        window = [vm.where(moves, window[i], window[i + step]) for i in range(count + step)]
        step //= 2
    found = window[1:]
    if per_word == 2:
        moves = _holds(shift % 2)
        joined = [(b << 16) | (a >> 16) for a, b in zip(window, found, strict=False)]
        found = [vm.where(moves, a, b) for a, b in zip(joined, found, strict=True)]
    flat = vm.convert_layout(vm.reshape(_joined(found, s), (1, count * runs)), layout)
    return vm.view(flat, here.dtype, (1, s.columns), s.layout)


def _joined(words: Sequence[Tile], s: RowSchedule) -> Tile:
    """[1, runs, words], of a power of two of words."""
    count = len(words)
    if count == 1:
        return words[0]
    layout = local(1, s.chunks, 1) * spatial(1, s.threads, 1) * local(1, 1, count)
    halves = (_joined(words[: count // 2], s), _joined(words[count // 2 :], s))
    return vm.concat(*halves, dim=2, layout=layout)


def _words(part: Tile, count: int, runs: int, layout: RegisterLayout) -> list[Tile]:
    """[1, runs, 1] each: the words of the vectors."""
    words = vm.reshape(vm.view(part, vm.u32, (1, count * runs), layout), (1, runs, count))
    return [words[:, :, i : i + 1] for i in range(count)]


def _holds(number: ScalarLike) -> Tile:
    """[1, 1, 1]: whether a scalar is not zero."""
    return vm.full(vm.i32, (1, 1, 1)) + number != 0
