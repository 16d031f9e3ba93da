"""PTX types and how their values lie in numpy arrays.

A register of the emulated machine is an array [warps, 32] of *raw bits*: bool for predicates, an
unsigned integer of the register's width for everything else. Instructions view the bits as they
need, so that a `.b32` register can hold an s32, an f32 or two halves, as in the hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def any_along(lanes: Array, axis: int) -> Array:
    """numpy's `any` along an axis, with the type of an array."""
    found: Array = np.logical_or.reduce(lanes, axis=axis)
    return found


RAW: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.bool_),
    8: np.dtype(np.uint8),
    16: np.dtype(np.uint16),
    32: np.dtype(np.uint32),
    64: np.dtype(np.uint64),
}


@dataclass(frozen=True, slots=True)
class Type:
    """A PTX type: `bits` wide; `kind` is one of b, u, s, f (IEEE), x (other float), p (predicate).

    `lanes` counts the packed elements (2 for f16x2). `view` is the numpy type an element computes
    in, or None where numpy has none (bf16, fp8).
    """

    name: str
    bits: int
    kind: str
    lanes: int = 1

    @property
    def raw(self) -> np.dtype[Any]:
        return RAW[self.bits]

    @property
    def view(self) -> np.dtype[Any]:
        return _VIEWS.get(self.name, self.raw)

    @property
    def signed(self) -> bool:
        return self.kind == "s"

    @property
    def is_float(self) -> bool:
        return self.kind in "fx"


_VIEWS: dict[str, np.dtype[Any]] = {
    "s8": np.dtype(np.int8),
    "s16": np.dtype(np.int16),
    "s32": np.dtype(np.int32),
    "s64": np.dtype(np.int64),
    "s16x2": np.dtype(np.int16),
    "u16x2": np.dtype(np.uint16),
    "f16": np.dtype(np.float16),
    "f16x2": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "tf32": np.dtype(np.float32),
}


def _types() -> dict[str, Type]:
    table = [Type("pred", 1, "p"), Type("b128", 128, "b"), Type("b1", 1, "b")]
    for kind in "bus":
        table += [Type(f"{kind}{bits}", bits, kind) for bits in (8, 16, 32, 64)]
    table += [Type("f16", 16, "f"), Type("f32", 32, "f"), Type("f64", 64, "f")]
    table += [Type("f16x2", 32, "f", 2), Type("bf16", 16, "x"), Type("bf16x2", 32, "x", 2)]
    table += [Type("tf32", 32, "x"), Type("e4m3x2", 16, "x", 2), Type("e5m2x2", 16, "x", 2)]
    table += [Type("e4m3", 8, "x"), Type("e5m2", 8, "x")]
    table += [Type("u16x2", 32, "u", 2), Type("s16x2", 32, "s", 2)]
    return {entry.name: entry for entry in table}


TYPES: dict[str, Type] = _types()
PRED, B8, B16, B32, B64 = (TYPES[name] for name in ("pred", "b8", "b16", "b32", "b64"))
U32, S32, U64, F32, F64 = (TYPES[name] for name in ("u32", "s32", "u64", "f32", "f64"))
