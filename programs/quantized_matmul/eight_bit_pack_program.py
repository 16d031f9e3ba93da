"""Packing for 8-bit activations as a VM program: a block moves one chunk of one slab.

`pack_quads` in eight_bit_packing.py is the same function in numpy; tests hold the two equal.
"""

from __future__ import annotations

from tileloom import vm
from tileloom.layouts import RegisterLayout, fragments, local
from tileloom.vm.dsl.values import Tile
from tileloom.vm.dtypes import i32, u8, u32

from .eight_bit_forms import pieces, quads_of_unit, words_of_unit
from .eight_bit_packing import SLAB, ByteCut

WARPS = 4
_EACH = 0x01010101  # one in each byte


@vm.kernel
def pack_byte_weights(
    codes: vm.Ptr[u8], words: vm.Ptr[u32], k: i32, n: i32, chunks: i32, cut: ByteCut
) -> None:
    """words of `ByteGeometry.word_shape` from packed codes [k, n], a byte each."""
    vm.launch(grid=[chunks, vm.cdiv(n, SLAB)], warps=WARPS)
    operand = local(1, cut.chunk // 32) * fragments.wgmma_a("u8")
    source = vm.global_view(codes, [k, n], alignment=1)
    chunk, slab = vm.block_index(0), vm.block_index(1)
    place = [chunk * cut.chunk, slab * SLAB]
    bytes_ = vm.load(source, place, operand.shape, operand, dims=(1, 0))
    layout = _lanes(quads_of_unit(cut.bits), cut.units)
    packed = _packed(vm.view(bytes_, u32, layout.shape, layout), cut)
    vectors = cut.words // cut.vector
    lanes = vm.reshape(packed, (WARPS, 32, vectors, cut.vector))
    slabs = vm.cdiv(n, SLAB)
    target = vm.global_view(words, [slabs, chunks, vectors, WARPS, 32, cut.vector])
    vm.store(target, [slab, chunk, 0, 0, 0, 0], vm.transpose(lanes, (2, 0, 1, 3)), in_bounds=True)


def _lanes(count: int, units: int) -> RegisterLayout:
    """[warp, lane, quad or word of a unit, unit]"""
    shape = (WARPS, 32, count, units)
    return RegisterLayout.from_modes(
        shape,
        tuple((extent,) for extent in shape),
        spatial=[(0, 0), (1, 0)],
        local=[(2, 0), (3, 0)],
    )


def _packed(quads: Tile, cut: ByteCut) -> Tile:
    """[warp, lane, word of a unit, unit] of quads [warp, lane, place in a unit, unit]."""
    words: list[Tile | None] = [None] * words_of_unit(cut.bits)
    for number, parts in enumerate(pieces(cut.bits)):
        quad = quads[:, :, number : number + 1, :]
        for part in parts:
            some = quad & (_EACH * ((1 << part.length) - 1 << part.code_bit))
            left = part.bit - part.code_bit
            moved = some << left if left >= 0 else some >> -left
            before = words[part.word]
            words[part.word] = moved if before is None else before | moved
    whole = [word for word in words if word is not None]
    joined = vm.convert_layout(whole[0], _lanes(1, cut.units))
    for count, word in enumerate(whole[1:], 2):
        joined = vm.concat(joined, word, 2, _lanes(count, cut.units))
    return joined
