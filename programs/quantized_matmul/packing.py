"""Packed weights: the codes of a quantized matrix in the order in which threads read them.

`pack` is numpy; `pack_program` is the same as a VM program (`repack` and `store`), and a test holds
them equal. One packed tensor serves every m, and f16 as well as bf16 activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from tileloom.compiler.targets import target_named
from tileloom.vm import PAIRED
from tileloom.vm.diagnostics import UsageError, VMTypeError, VMValueError, did_you_mean, user_errors
from tileloom.vm.packing import pack_words, unpack_words

from .eight_bit_forms import ACTIVATIONS as BYTE_ACTIVATIONS
from .eight_bit_packing import BytePacked, pack_bytes, unpack_bytes
from .geometry import Geometry
from .packed import PackedTensor, spread_rows, tag_of
from .quantization import Quantized

ACTIVATIONS = ("f16", "bf16")
LARGEST_HALF = 65504.0
FORMAT = 2  # raised when bits move: of 6 and 7 bits they did


@dataclass(frozen=True, eq=False)
class Packed(PackedTensor[Geometry]):
    """A quantized matrix [k, n] ready for `linear`; its arrays have the shapes of `Geometry`."""

    @cached_property
    def scale_down(self) -> float:
        """The power of two by which stored scales are multiplied where weights become f16.

        The largest weight comes to 2^14 to 2^15, whatever the unit: none is infinite, and as few
        scales as can be are so small that an f16 holds them with less than eleven bits.
        """
        largest = self._largest_weight()
        down = 2.0 ** (15 - np.ceil(np.log2(largest))) if largest else 1.0
        # Results are multiplied by unit / down, which must be an f32.
        return float(np.clip(down, self.scale_unit * 2.0**-127, self.scale_unit * 2.0**126))

    @cached_property
    def has_far_zeros(self) -> bool:
        """Whether a code minus its zero point may be no f16, as of zeros below -65248."""
        if self.zeros is None:
            return False
        lowest = float(self.zeros.min(initial=0.0))
        return 2.0**self.dtype.bits - 1 - lowest > LARGEST_HALF

    def _largest_weight(self) -> float:
        """A bound of stored scales, and of weights in their unit, as f16 codes become them."""
        values = np.asarray(self.dtype.decode(np.arange(1 << self.dtype.bits)), np.float64)
        values = np.clip(values[np.isfinite(values)], -LARGEST_HALF, LARGEST_HALF)
        if self.zero_point == "symmetric":
            values = values - 2.0 ** (self.dtype.bits - 1)
        low, high = float(values.min()), float(values.max())
        scale = float(np.abs(self.scales).max(initial=0.0))
        if self.zeros is None:
            return scale * max(-low, high, 1.0)
        largest = scale
        for scales, zeros in zip(self.scales, self.zeros, strict=True):  # a block of features each
            wide = zeros.astype(np.float32)
            steps = np.maximum(np.abs(low - wide), np.abs(high - wide))
            largest = max(largest, float((steps * np.abs(scales)).max(initial=0.0)))
        return largest

    @cached_property
    def tag(self) -> str:
        """What the bits mean; two tensors with one tag are read by the same kernels."""
        cut = self.geometry.cut
        identity = (FORMAT, self.dtype.name, self.zero_point, PAIRED.name, repr(cut))
        return tag_of(f"{self.dtype.name}-{self.zero_point}", *identity)


def check_activation(activation: str) -> str:
    """The activation's dtype name, which must be one that kernels multiply in."""
    known = (*ACTIVATIONS, *BYTE_ACTIVATIONS)
    if activation not in known:
        raise VMTypeError(
            f"activations can't be `{activation}`",
            hint=did_you_mean(activation, known) or f"one of {', '.join(known)}",
        )
    return activation


@overload
def pack(  # type: ignore[overload-overlap]
    q: Quantized, activation: Literal["i8", "e4m3"], target: str | None = None
) -> BytePacked: ...


@overload
def pack(q: Quantized, activation: str = "f16", target: str | None = None) -> Packed: ...


@user_errors()
def pack(q: Quantized, activation: str = "f16", target: str | None = None) -> Packed | BytePacked:
    """Packs a quantized matrix for `linear`; the result is valid for every m and every target.

    For f16 and bf16 activations alike; for "i8" and for "e4m3" ones it is another order of bits,
    and not every weight and group goes with them.

    Raises:
        VMError: an activation dtype without kernels, an unknown target, or something that isn't a
            `Quantized`.
    """
    if not isinstance(q, Quantized):
        raise UsageError(
            f"`pack` takes what `quantize` gives, not a {type(q).__name__}",
            hint='pack(quantize(w, "u4"))',
        )
    check_activation(activation)
    if target is not None:
        target_named(target)
    unit = scale_unit(q.scales)
    if activation in BYTE_ACTIVATIONS:
        return pack_bytes(q, activation, unit)
    geometry = Geometry(q.dtype.bits, q.k, q.n, q.group)
    words = pack_codes(q.codes, geometry)
    scales = pack_rows(q.scales / np.float32(unit), geometry)
    zeros = None if q.zeros is None else pack_rows(np.asarray(q.zeros, np.float32), geometry)
    return Packed(words, scales, zeros, q.dtype, geometry, q.zero_point, activation, unit)


def scale_unit(scales: NDArray[np.float32]) -> float:
    """The power of two that makes f16 values of scales: the largest has f16's largest exponent.

    Raises:
        VMValueError: scales that are no f16 values times one power of two.
    """
    largest = float(np.abs(scales).max(initial=0.0))
    if not np.isfinite(largest):
        raise VMValueError("`scales` holds values that are not finite")
    # No smaller than what f32 holds the smallest halves of.
    unit = max(2.0 ** (np.floor(np.log2(largest)) - 15), 2.0**-125) if largest else 1.0
    halves = (scales / np.float32(unit)).astype(np.float16)
    if not np.array_equal(halves.astype(np.float32) * np.float32(unit), scales):
        raise VMValueError(
            "`scales` holds values that are no f16 times one power of two",
            hint="round them: `scales.astype(numpy.float16)`, and choose codes for those",
        )
    return float(unit)


def unpack(packed: Packed | BytePacked) -> Quantized:
    """The quantized matrix a packed tensor holds: the inverse of `pack`."""
    if isinstance(packed, BytePacked):
        return unpack_bytes(packed)
    codes = unpack_codes(packed.words, packed.geometry)
    halves = _unpack_rows(packed.scales, packed.geometry)
    scales = halves.astype(np.float32) * np.float32(packed.scale_unit)
    zeros: Any = None
    if packed.zeros is not None:
        kind = np.int32 if packed.zero_point == "int" else np.float32
        zeros = _unpack_rows(packed.zeros, packed.geometry).astype(kind)
    return Quantized(codes, scales, zeros, packed.dtype, packed.group, packed.zero_point)


# The dimensions of codes, in the order of the matrix: k = (chunk, s, q, r1, t, h) and n = (block,
# tile, r0, g); and in that of the words, in which g and t make the lane, q, tile and h the unit.
_MATRIX_TO_WORDS = (6, 0, 1, 9, 4, 3, 8, 2, 7, 5)


def _matrix_dims(geometry: Geometry) -> tuple[int, ...]:
    cut = geometry.cut
    return (geometry.num_chunks, *cut.k_digits, geometry.num_blocks, cut.tiles, 2, 8)


def pack_codes(codes: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint32]:
    """Codes [k, n] as packed words."""
    cut = geometry.cut
    if 0 in codes.shape:
        return np.empty(geometry.word_shape(), np.uint32)
    padded = _pad_rows(codes, geometry)
    ordered = padded.reshape(_matrix_dims(geometry)).transpose(_MATRIX_TO_WORDS)
    lanes = (geometry.num_blocks, geometry.num_chunks, cut.steps, 32)
    units = np.ascontiguousarray(ordered).reshape(*lanes, 4, 2 * cut.pairs)
    words = pack_words(units, cut.bits, PAIRED)
    vectors = words.reshape(*lanes, cut.unit_words, 4).transpose(0, 1, 2, 4, 3, 5)
    return np.ascontiguousarray(vectors)


def unpack_codes(words: NDArray[np.uint32], geometry: Geometry) -> NDArray[np.uint8]:
    """Packed words as codes [k, n]."""
    cut, dims = geometry.cut, _matrix_dims(geometry)
    if 0 in words.shape:
        return np.empty((geometry.k, geometry.n), np.uint8)
    lanes = (geometry.num_blocks, geometry.num_chunks, cut.steps, 32)
    units = np.ascontiguousarray(words.transpose(0, 1, 2, 4, 3, 5))
    units = units.reshape(*lanes, 4, cut.unit_words)
    codes = unpack_words(units, cut.bits, PAIRED)
    ordered = np.asarray(codes, np.uint8).reshape([dims[d] for d in _MATRIX_TO_WORDS])
    matrix = ordered.transpose(np.argsort(_MATRIX_TO_WORDS))
    rows, columns = geometry.num_chunks * cut.chunk, geometry.num_blocks * cut.block_features
    return _unpad_rows(matrix.reshape(rows, columns), geometry)


def _pad_rows(codes: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Codes with each group padded to whole chunks, and the columns to whole feature blocks."""
    cut = geometry.cut
    columns = geometry.num_blocks * cut.block_features
    padded = np.zeros((geometry.num_chunks * cut.chunk, columns), np.uint8)
    if cut.contiguous:
        padded[: geometry.k, : geometry.n] = codes
        return padded
    stride = geometry.chunks_per_group * cut.chunk
    for group in range(geometry.num_groups):
        rows = codes[group * geometry.group : (group + 1) * geometry.group]
        padded[group * stride : group * stride + len(rows), : geometry.n] = rows
    return padded


def _unpad_rows(padded: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    if geometry.cut.contiguous:
        return np.ascontiguousarray(padded[: geometry.k, : geometry.n])
    stride = geometry.chunks_per_group * geometry.cut.chunk
    starts = np.arange(geometry.num_groups)[:, None] * stride + np.arange(geometry.group)
    return np.ascontiguousarray(padded[starts.reshape(-1)[: geometry.k], : geometry.n])


def pack_rows(values: NDArray[Any], geometry: Geometry) -> NDArray[np.float16]:
    """[groups, n] numbers in the order of `Geometry.scale_shape`; padding is zero."""
    cut = geometry.cut
    columns = geometry.num_blocks * cut.block_features
    rows = spread_rows(values, geometry.scale_rows, columns, geometry.chunks_per_group)
    split = rows.reshape(geometry.scale_rows, geometry.num_blocks, cut.tiles, 2, 8)
    return np.ascontiguousarray(split.transpose(1, 0, 4, 2, 3))


def _unpack_rows(packed: NDArray[np.float16], geometry: Geometry) -> NDArray[np.float16]:
    columns = geometry.num_blocks * geometry.cut.block_features
    rows = packed.transpose(1, 0, 3, 4, 2).reshape(geometry.scale_rows, columns)
    step = 1 if geometry.cut.one_scale else geometry.chunks_per_group
    return np.ascontiguousarray(rows[::step, : geometry.n][: geometry.num_groups])
