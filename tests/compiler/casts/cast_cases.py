"""What the tests of casts have in common: the dtypes, the codes, and how outputs are read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from plan_executor import run

from tileloom.compiler.casts import Plan
from tileloom.vm.dtypes import Dtype, bf16, codebook, dtype, f16, f32
from tileloom.vm.dtypes.names import predefined
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing, pack_words, unpack_words

TARGETS = ("sm_80", "sm_89", "sm_90a")
PACKINGS = (CONTIGUOUS, PAIRED)
SOURCES = [d for d in predefined() if d.bits <= 8 and d.kind != "bool" and d.specials != "scale"]
CAST_SOURCES = [*SOURCES, dtype("e8m0")]
FLOATS = (f16, bf16, f32)


def has_f16_form(source: Dtype) -> bool:
    """Whether all finite values fit f16 up to a common power of two."""
    return source.kind != "float" or source.exponent_bits <= 5


def all_codes(source: Dtype, count: int) -> NDArray[np.uint8]:
    """Codes [2**bits, count]: every code at every place, beside varying neighbours."""
    size = 1 << source.bits
    lanes, places = np.meshgrid(np.arange(size), np.arange(count), indexing="ij")
    return ((lanes + places * (2 * places + 1)) % size).astype(np.uint8)


def outputs(plan: Plan, source: Dtype, dest: Dtype, packing: Packing, codes: Any) -> Any:
    """The codes of `dest` that the plan gives for codes [lanes, count]."""
    words = run(plan, pack_words(codes, source.bits, packing))
    if dest.bits == 32:
        return words
    return unpack_words(words, dest.bits, CONTIGUOUS, codes.shape[1])


def wanted_cast(source: Dtype, dest: Dtype, codes: Any) -> Any:
    """What a cast of codes of at most 8 bits gives: rounded, saturated, specials kept."""
    values = source.decode(codes)
    if dest == f16:
        values = np.where(np.isinf(values), values, np.clip(values, -65504, 65504))
    return dest.decode(dest.encode(values))


def same(lhs: Any, rhs: Any) -> bool:
    """Equal values, NaNs at the same places."""
    return np.array_equal(lhs, rhs, equal_nan=True)


def finite(source: Dtype, codes: Any) -> Any:
    """Which codes have a value that decodes promise."""
    return np.isfinite(source.decode(codes).astype(np.float64))


def custom() -> list[Dtype]:
    """Code books of 1 to 8 bits besides nf4."""
    books = []
    for bits in (1, 2, 3, 5, 6, 8):
        values = np.random.default_rng(bits).normal(size=1 << bits) * 10.0 ** (bits % 6)
        books.append(codebook(f"book{bits}", sorted(values.tolist())))
    return books
