"""What the fast decode leaves to its consumer: decoded = value * 2^exponent + constant."""

from __future__ import annotations

from dataclasses import dataclass

from .dtypes import Dtype
from .packing import Packing, pairs


@dataclass(frozen=True)
class DecodeForm:
    """Exponents and constants by pair of a unit, and what codes are xored with when packed."""

    exponents: tuple[int, ...]
    constants: tuple[float, ...]
    code_xor: int = 0


def decode_form(source: Dtype, dest: Dtype, packing: Packing) -> DecodeForm:
    """The form of `decode` from `source` to `dest`."""
    count = pairs(source.bits)
    return DecodeForm((0,) * count, (0.0,) * count)
