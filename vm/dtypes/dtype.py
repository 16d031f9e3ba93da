"""What a dtype is: a width in bits and a map from codes to values.

| kind | names | value of a code |
|---|---|---|
| `uint` | `u1` .. `u64` | the code |
| `int` | `i2` .. `i64` | two's complement |
| `float` | `f16 bf16 tf32 f32 f64`, `eXmY` of 3 to 8 bits, `e8m0` | sign, exponent, mantissa |
| `bipolar` | `b1` .. `b8` | `sum((2 * bit_i - 1) * 2**i)`, that is `2 * code - (2**bits - 1)` |
| `codebook` | `nf4` and those of `codebook(...)` | a table |
| `bool` | `bool` | 0 or 1 |

Floats differ in the codes they spend on specials: `ieee` types (f16, bf16, tf32, f32, f64, e5m2)
have infinities and NaNs, `fn` types (e4m3) only a NaN at S.1111.111, `scale` (e8m0) has no sign,
no zero and a NaN at 255, and every other `eXmY` has finite values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..diagnostics import user_errors
from . import codecs

Kind = Literal["uint", "int", "float", "bipolar", "codebook", "bool"]
Specials = Literal["none", "ieee", "fn", "scale"]

_NATIVE_FLOATS = {"f16": np.float16, "f32": np.float32, "f64": np.float64}


class DtypeError(ValueError):
    """A dtype that does not exist, or codes or values that don't belong to one."""


@dataclass(frozen=True)
class Dtype:
    """An element type; get one by `dtype(name)` or `codebook(name, values)`.

    `tf32` is stored in 32 bits, the low 13 zero; every other dtype fills its `bits`.
    """

    name: str
    bits: int
    kind: Kind
    exponent_bits: int = 0
    mantissa_bits: int = 0
    bias: int = 0
    specials: Specials = "none"
    values: tuple[float, ...] = ()

    def __hash__(self) -> int:
        return hash(self.name)  # strings keep theirs, and tables by dtype are hot

    @user_errors()
    def decode(self, codes: ArrayLike) -> NDArray[Any]:
        """Return the exact values of `codes`, in their shape.

        float64 for floats and code books; int64 for all others (uint64 for `u64`).
        Raises `DtypeError` for anything that is not an integer in [0, 2**bits).
        """
        return codecs.decode(self, self.check_codes(codes))

    @user_errors()
    def encode(self, values: ArrayLike) -> NDArray[Any]:
        """Return the codes nearest to `values` (ties to even), in their shape and `code_dtype`.

        Out of range: integers, bipolars, code books and floats of at most 8 bits saturate to the
        extreme finite value (an infinity stays one in e5m2); f16 and wider overflow to infinity.
        NaN: NaN where the type has one, else 0 for integers, the value nearest 0 for bipolars and
        code books, and the largest value for floats (as the hardware's conversions do).
        The sign of zero is kept where the type has one. Ties in a code book, and between bipolars,
        go to the even code. e8m0 takes zero to its least value and negative numbers to NaN.
        """
        return codecs.encode(self, np.asarray(values))

    def limit(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `values` with those beyond the finite range at its ends; infinities stay.

        What `cast` does before it encodes values of dtypes of at most 8 bits: those saturate even
        in f16.
        """
        limited = np.clip(values, self.min_finite, self.max_finite)
        return np.where(np.isinf(values), values, limited)

    @user_errors()
    def check_codes(self, codes: ArrayLike) -> NDArray[Any]:
        """Return `codes` as an array of `code_dtype`, or raise `DtypeError`."""
        array = np.asarray(codes)
        if array.dtype.kind not in "uib":
            raise DtypeError(f"codes of `{self.name}` must be integers, not `{array.dtype}`")
        if array.size and array.dtype.kind != "b":
            low, high = int(array.min()), int(array.max())
            if low < 0 or high >> self.bits:
                bad = low if low < 0 else high
                raise DtypeError(f"{bad} is no code of `{self.name}`, which has {self.bits} bits")
        return array.astype(self.code_dtype, copy=False)

    @cached_property
    def code_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned numpy dtype that holds a code."""
        return codecs.unsigned(self.bits)

    @cached_property
    def numpy(self) -> np.dtype[Any] | None:
        """The numpy dtype with the same values and the same bits, if there is one."""
        if self.kind == "bool":
            return np.dtype(np.bool_)
        if self.kind in ("uint", "int") and self.bits in (8, 16, 32, 64):
            return np.dtype(f"{self.kind}{self.bits}")
        native = _NATIVE_FLOATS.get(self.name)
        return None if native is None else np.dtype(native)

    @property
    def nbytes(self) -> int:
        """Bytes of an element; raises `DtypeError` when that is no whole number."""
        if self.bits % 8:
            raise DtypeError(f"`{self.name}` has {self.bits} bits, no whole number of bytes")
        return self.bits // 8

    @cached_property
    def table(self) -> NDArray[Any]:
        """The value of every code of a dtype of at most 16 bits; read-only."""
        if self.bits > 16:
            raise DtypeError(f"`{self.name}` has too many codes for a table")
        table = codecs.decode(self, np.arange(1 << self.bits, dtype=self.code_dtype))
        table.flags.writeable = False
        return table

    @cached_property
    def max_finite(self) -> float | int:
        """The largest finite value."""
        return codecs.finite_range(self)[1]

    @cached_property
    def min_finite(self) -> float | int:
        """The least (most negative) finite value."""
        return codecs.finite_range(self)[0]

    @property
    def is_float(self) -> bool:
        """Whether values are real numbers (floats and code books), not integers."""
        return self.kind in ("float", "codebook")

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"dtype({self.name!r})"
