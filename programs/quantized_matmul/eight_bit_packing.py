"""Weights packed for 8-bit activations: the order in which warp groups hold them as operands.

A *slab* is 64 features, the rows of one product of a warp group; a chunk has 32, 64 or 128 of k and
never crosses a group of scales. A warp holds 16 features of a slab, and with g = lane / 4, t = lane
% 4 a lane holds the quads (eight_bit_forms.py) of

    feature = 64 * slab + 16 * warp + 8 * r0 + g
    k       = chunk * c + 32 * s + 16 * r1 + 4 * t + (0 .. 3)        quad number 4 s + 2 r1 + r0

which is k in its own order: rows of x are operands as they are. A lane's quads fill its units one
place after the other: quad p * units + i is place p of unit i, so that one shift and one mask serve
that place of all units. The words of (slab, chunk) are contiguous: [vector][warp][lane of 32][up to
four words], a lane's words being [word of the unit][unit].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom.vm.diagnostics import VMValueError

from .eight_bit_forms import ByteForm, byte_form, pieces, quads_of_unit, words_of_unit
from .packed import Matrix, PackedTensor, spread_rows, tag_of
from .quantization import Quantized

SLAB = 64
CHUNKS = (128, 64, 32)
MOST_ROWS = 1 << 17  # whose products are summed as integers: -128 times -128 each, at most
FORMAT = 1  # raised when bits move


@dataclass(frozen=True)
class ByteCut:
    """What a kernel needs to know at compile time; k and n stay run-time numbers."""

    bits: int
    chunk: int
    one_scale: bool  # all chunks share one row of scales

    @property
    def quads(self) -> int:
        """Of a lane, in a chunk of a slab."""
        return self.chunk // 8

    @property
    def units(self) -> int:
        """Units of a lane."""
        return self.quads // quads_of_unit(self.bits)

    @property
    def words(self) -> int:
        """Words of a lane."""
        return self.units * words_of_unit(self.bits)

    @property
    def vector(self) -> int:
        """Words that a lane reads at once."""
        return gcd(self.words, 4)

    @property
    def run(self) -> int:
        """Words of a chunk of one slab."""
        return 128 * self.words


@dataclass(frozen=True)
class ByteGeometry(Matrix):
    """The cut of a matrix."""

    @cached_property
    def cut(self) -> ByteCut:
        """The part that kernels are specialised to.

        Raises:
            VMValueError: groups that don't end where chunks do.
        """
        step = 8 * quads_of_unit(self.bits)
        smallest = max(step, CHUNKS[-1])
        if self.num_groups <= 1:
            rows = -(-max(self.k, 1) // smallest) * smallest
            chunk = next((c for c in reversed(CHUNKS) if c >= rows), CHUNKS[0])
            return ByteCut(self.bits, chunk, self.k < MOST_ROWS)
        found = next((c for c in CHUNKS if self.group % c == 0 and c >= smallest), None)
        if found is None:
            raise VMValueError(
                f"groups of {self.group} rows don't go with 8-bit activations",
                hint=f"a multiple of {smallest} rows for {self.bits} bits, or one group; "
                "f16 and bf16 activations take any",
            )
        return ByteCut(self.bits, found, False)

    @property
    def num_slabs(self) -> int:
        """Slabs, the last one padded."""
        return -(-self.n // SLAB)

    @property
    def num_chunks(self) -> int:
        """Chunks of the whole matrix, the last one padded."""
        return -(-self.k // self.cut.chunk)

    @property
    def scale_rows(self) -> int:
        """Rows of packed scales: one, or one a chunk."""
        return 1 if self.cut.one_scale else self.num_chunks

    @property
    def chunks_per_group(self) -> int:
        """Chunks of a whole group."""
        return -(-self.group // self.cut.chunk)

    def word_shape(self) -> tuple[int, ...]:
        """The packed words: [slabs, chunks, vector, warp, lane, word]."""
        cut = self.cut
        return (self.num_slabs, self.num_chunks, cut.words // cut.vector, 4, 32, cut.vector)

    def scale_shape(self) -> tuple[int, ...]:
        """Packed scales: [slabs, rows, warp, g, r0]."""
        return (self.num_slabs, self.scale_rows, 4, 8, 2)


@dataclass(frozen=True, eq=False)
class BytePacked(PackedTensor[ByteGeometry]):
    """A quantized matrix [k, n] ready for `linear` with 8-bit activations; its arrays have the
    shapes of `ByteGeometry`."""

    @cached_property
    def form(self) -> ByteForm:
        """How the kernel turns codes into bytes."""
        return byte_form(self.dtype, self.zero_point, self.activation)

    @cached_property
    def tag(self) -> str:
        """What the bits mean; two tensors with one tag are read by the same kernels."""
        identity = (FORMAT, self.dtype.name, self.zero_point, repr(self.form), self.geometry.cut)
        return tag_of(f"{self.dtype.name}-{self.zero_point}-{self.activation}", *identity)


def pack_bytes(q: Quantized, activation: str, scale_unit: float) -> BytePacked:
    """Packs a quantized matrix for activations of `activation`: "i8" or "e4m3".

    Raises:
        VMError: weights that can't be multiplied by such activations, or groups that don't fit.
    """
    form = byte_form(q.dtype, q.zero_point, activation)
    geometry = ByteGeometry(q.dtype.bits, q.k, q.n, q.group)
    words = pack_quads(np.asarray(form.table, np.uint8)[q.codes], geometry)
    scales = pack_scales(q.scales / np.float32(scale_unit), geometry)
    return BytePacked(words, scales, None, q.dtype, geometry, q.zero_point, activation, scale_unit)


def unpack_bytes(packed: BytePacked) -> Quantized:
    """The quantized matrix a packed tensor holds: the inverse of `pack`."""
    geometry = packed.geometry
    inverse = np.argsort(np.asarray(packed.form.table, np.uint8)).astype(np.uint8)
    codes = inverse[unpack_quads(packed.words, geometry)]
    rows = packed.scales.transpose(1, 0, 2, 4, 3).reshape(geometry.scale_rows, -1)
    halves = rows[:: geometry.chunks_per_group, : geometry.n][: geometry.num_groups]
    scales = halves.astype(np.float32) * np.float32(packed.scale_unit)
    return Quantized(codes, scales, None, packed.dtype, packed.group, packed.zero_point)


# The dimensions of codes, in the order of the matrix: k = (chunk, s, r1, t, v) and n = (slab, warp,
# r0, g); and in that of lanes: (slab, chunk, warp, g, t, s, r1, r0, v).
_MATRIX_TO_LANES = (5, 0, 6, 8, 3, 1, 2, 7, 4)


def _matrix_dims(geometry: ByteGeometry) -> tuple[int, ...]:
    steps = geometry.cut.chunk // 32
    return (geometry.num_chunks, steps, 2, 4, 4, geometry.num_slabs, 4, 2, 8)


def pack_quads(codes: NDArray[np.uint8], geometry: ByteGeometry) -> NDArray[np.uint32]:
    """Packed codes [k, n] as words; padding has zeros, and meets zeros of x."""
    cut = geometry.cut
    if 0 in codes.shape:
        return np.empty(geometry.word_shape(), np.uint32)
    rows, columns = geometry.num_chunks * cut.chunk, geometry.num_slabs * SLAB
    padded = np.zeros((rows, columns), np.uint8)
    padded[: geometry.k, : geometry.n] = codes
    ordered = padded.reshape(_matrix_dims(geometry)).transpose(_MATRIX_TO_LANES)
    lead = (geometry.num_slabs, geometry.num_chunks, 4, 32)
    places = quads_of_unit(cut.bits)
    quads = np.ascontiguousarray(ordered).reshape(*lead, places, cut.units, 4)
    words = np.zeros((*lead, words_of_unit(cut.bits), cut.units), np.uint32)
    for place, parts in enumerate(pieces(cut.bits)):
        quad = np.ascontiguousarray(quads[..., place, :, :]).view("<u4")[..., 0]
        for part in parts:
            mask = np.uint32(0x01010101 * ((1 << part.length) - 1 << part.code_bit))
            words[..., part.word, :] |= _shifted(quad & mask, part.bit - part.code_bit)
    lanes = words.reshape(*lead, cut.words // cut.vector, cut.vector)
    return np.ascontiguousarray(lanes.transpose(0, 1, 4, 2, 3, 5))


def unpack_quads(words: NDArray[np.uint32], geometry: ByteGeometry) -> NDArray[np.uint8]:
    """Words as packed codes [k, n]."""
    cut = geometry.cut
    if 0 in words.shape:
        return np.empty((geometry.k, geometry.n), np.uint8)
    lead = (geometry.num_slabs, geometry.num_chunks, 4, 32)
    lanes = np.ascontiguousarray(words.transpose(0, 1, 3, 4, 2, 5))
    units = lanes.reshape(*lead, words_of_unit(cut.bits), cut.units)
    places = quads_of_unit(cut.bits)
    quads = np.zeros((*lead, places, cut.units), "<u4")
    for place, parts in enumerate(pieces(cut.bits)):
        for part in parts:
            mask = np.uint32(0x01010101 * ((1 << part.length) - 1 << part.bit))
            quads[..., place, :] |= _shifted(
                units[..., part.word, :] & mask, part.code_bit - part.bit
            )
    dims = _matrix_dims(geometry)
    ordered = quads.view(np.uint8).reshape([dims[d] for d in _MATRIX_TO_LANES])
    matrix = ordered.transpose(np.argsort(_MATRIX_TO_LANES))
    flat = matrix.reshape(geometry.num_chunks * cut.chunk, geometry.num_slabs * SLAB)
    return np.ascontiguousarray(flat[: geometry.k, : geometry.n])


def _shifted(values: NDArray[np.uint32], left: int) -> NDArray[np.uint32]:
    return values << np.uint32(left) if left >= 0 else values >> np.uint32(-left)


def pack_scales(values: NDArray[Any], geometry: ByteGeometry) -> NDArray[np.float16]:
    """[groups, n] numbers in the order of `ByteGeometry.scale_shape`; padding is zero."""
    columns = geometry.num_slabs * SLAB
    rows = spread_rows(values, geometry.scale_rows, columns, geometry.chunks_per_group)
    split = rows.reshape(geometry.scale_rows, geometry.num_slabs, 4, 2, 8)
    return np.ascontiguousarray(split.transpose(1, 0, 2, 4, 3))
