"""Packing as VM programs: a block moves one chunk of one feature block.

`pack` in packing.py is the same function in numpy; tests hold the two equal.
"""

from __future__ import annotations

from tileloom import vm
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike
from tileloom.vm.dtypes import dtype, i32, u8, u32

from .geometry import Cut, Layouts


class _Place:
    """The rows and columns of the matrix that a block moves."""

    def __init__(self, cut: Cut, codes: Pointer, k: Scalar, n: Scalar) -> None:
        chunk = vm.block_index(0)
        start, limit = chunk * cut.chunk, k
        if not cut.contiguous:
            group, inside = chunk // cut.chunks_per_group, chunk % cut.chunks_per_group
            start = group * cut.group + inside * cut.chunk
            limit = vm.smaller(k, (group + 1) * cut.group)
        # Rows past the limit are another group's: out of this view's bounds.
        self.codes: MemoryTile = vm.global_view(codes, [limit, n], [n, 1], alignment=1)
        self.offsets: list[ScalarLike] = [start, vm.block_index(1) * cut.block_features]
        self.chunk = chunk


def _words_view(cut: Cut, words: Pointer, n: Scalar, chunks: Scalar) -> MemoryTile:
    blocks = vm.cdiv(n, cut.block_features)
    return vm.global_view(words, [blocks, chunks, cut.steps, cut.unit_words, 32, 4])


@vm.kernel
def pack_weights(
    codes: vm.Ptr[u8], words: vm.Ptr[u32], k: i32, n: i32, chunks: i32, cut: Cut
) -> None:
    """words of `Geometry.word_shape` from codes [k, n], a byte each."""
    vm.launch(grid=[chunks, vm.cdiv(n, cut.block_features)], warps=1)
    layouts, place = Layouts(cut, 1, 1, 8), _Place(cut, codes, k, n)
    layout = layouts.codes()
    tile_layout = layout.squeeze((0,))
    tile = vm.load(place.codes, place.offsets, tile_layout.shape, tile_layout, dims=(1, 0))
    narrow = vm.cast(vm.reshape(tile, layout.shape), dtype(f"u{cut.bits}"))
    paired = vm.repack(narrow, vm.PAIRED)
    word_layout = layouts.words()
    out = vm.view(paired, u32, word_layout.shape, word_layout)
    target = _words_view(cut, words, n, chunks)
    vm.store(target, [vm.block_index(1), place.chunk, 0, 0, 0, 0], out, in_bounds=True)


@vm.kernel
def unpack_weights(
    words: vm.Ptr[u32], codes: vm.Ptr[u8], k: i32, n: i32, chunks: i32, cut: Cut
) -> None:
    """codes [k, n] from words: the inverse."""
    vm.launch(grid=[chunks, vm.cdiv(n, cut.block_features)], warps=1)
    layouts, place = Layouts(cut, 1, 1, 8), _Place(cut, codes, k, n)
    word_layout, layout = layouts.words(), layouts.codes()
    source = _words_view(cut, words, n, chunks)
    offsets: list[ScalarLike] = [vm.block_index(1), place.chunk, 0, 0, 0, 0]
    loaded = vm.load(source, offsets, word_layout.shape, word_layout, in_bounds=True)
    paired = vm.view(loaded, dtype(f"u{cut.bits}"), layout.shape, layout, vm.PAIRED)
    wide = vm.cast(vm.repack(paired, vm.CONTIGUOUS), u8)
    tile = vm.reshape(wide, layout.shape[1:])
    vm.store(place.codes, place.offsets, tile, dims=(1, 0))
