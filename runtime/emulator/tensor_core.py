"""How the tensor cores of an H100 add: not IEEE, but exactly reproducible.

Recorded results of `mma.sync` agree bit for bit with this, for f16, bf16 and tf32 factors of any
magnitude, subnormals, infinities and NaN included:

 1. All products of one instruction's k (4, 8 or 16) and the addend form one sum.
 2. A product's exponent is the sum of its factors' exponents as encoded (a subnormal has that of
    the least normal number); it is not normalised. The largest exponent of all terms is `top`.
 3. Every term is cut, towards zero, to a multiple of 2^(top - 25). The sum of these is exact.
 4. The sum is rounded once: towards zero for an f32 result, to nearest even for an f16 one.

wgmma does the same with all of its k (8, 16 or 32). Of e4m3 and e5m2 factors it cuts terms to
multiples of 2^(top - 13), with exponents as these types encode them, and an f32 result towards zero
to 13 bits of fraction; that of f16 is rounded to nearest even as above.

Other generations align to other widths and in smaller groups of k; they are not modelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .convert import fp8_values
from .rounding import FORMATS, Format, bf16_values, canonical, to_f16
from .types import Array, Type

_FRACTION_BITS = 25
# Below any exponent of a product or an addend; the scale that belongs to it is still finite.
_LEAST = -300


@dataclass(frozen=True, slots=True)
class Operand:
    """How factors of one type are read: `values` (exact in `work`) and `exponents` (int8 or int16).

    `work` also holds every product: f32 for f16, f64 where exponents reach further.
    """

    values: Callable[[Array], Array]
    exponents: Callable[[Array], Array]
    work: type
    least: int
    infinite: int


def operand(type_: Type) -> Operand:
    """For f16, bf16 and tf32 factors, raw; and for f16 and f32 addends."""
    target = FORMATS[type_.name]
    infinite = (1 << target.exponent_bits) - 1 - target.bias
    least = 1 - target.bias
    if type_.name == "f16":
        table = _exponents(np.arange(1 << 16, dtype=np.uint32), target, np.int8)
        read = _read_f16
        return Operand(read, lambda raw: table[raw], np.float32, least, infinite)
    if type_.name == "bf16":
        table = _exponents(np.arange(1 << 16, dtype=np.uint32), target, np.int16)
        return Operand(_read_bf16, lambda raw: table[raw], np.float64, least, infinite)
    cut = np.uint32(13 if type_.name == "tf32" else 0)

    def exponents(raw: Array) -> Array:
        return _exponents(raw >> cut, target, np.int16)

    # The hardware reads only the upper 19 bits of a tf32 factor.
    mask = np.uint32(0xFFFFE000 if type_.name == "tf32" else 0xFFFFFFFF)

    def values(raw: Array) -> Array:
        return (raw & mask).view(np.float32).astype(np.float64)

    return Operand(values, exponents, np.float64, least, infinite)


def byte_operand(name: str) -> Operand:
    """For factors of e4m3 or e5m2, raw."""
    target = FORMATS[f"{name}x2"]
    numbers = fp8_values(name).astype(np.float32)
    table = _exponents(np.arange(1 << 8, dtype=np.uint32), target, np.int8)
    infinite = (1 << target.exponent_bits) - 1 - target.bias
    least = 1 - target.bias
    return Operand(lambda raw: numbers[raw], lambda raw: table[raw], np.float32, least, infinite)


def _read_f16(raw: Array) -> Array:
    return raw.view(np.float16).astype(np.float32)


def _read_bf16(raw: Array) -> Array:
    return bf16_values(raw).astype(np.float64)


def _exponents(codes: Array, target: Format, kind: type) -> Array:
    """Exponents as encoded; a zero has one below the sum of any two real ones."""
    body = codes & np.uint32((1 << (target.bits - 1)) - 1)
    field: Array = (body >> np.uint32(target.mantissa_bits)).astype(kind)
    encoded = np.maximum(field, kind(1)) - kind(target.bias)
    result: Array = np.where(body == 0, kind(4 * (1 - target.bias)), encoded)
    return result


def multiply_add(
    factors: tuple[Operand, Operand],
    addend: Operand,
    a: Array,
    b: Array,
    c: Array,
    bits: int = _FRACTION_BITS,
) -> Array:
    """Raw a [n, k, 16] and b [n, k, 8], summed over k, + c [n, 8, 16]: the cut sum, exact, f64.

    `bits` below the largest exponent are kept of each term."""
    left, right = factors
    least = left.least + right.least
    a_exponent, b_exponent = left.exponents(a), right.exponents(b)
    c_exponent = addend.exponents(c).astype(np.int64)
    sums = a_exponent[:, :, None, :] + b_exponent[:, :, :, None]
    top = sums.max(1).astype(np.int64)
    real = top >= least  # some product is not zero
    top = np.maximum(np.where(real, top, _LEAST), c_exponent)
    products = left.values(a)[:, :, None, :] * right.values(b)[:, :, :, None]
    # Without a real product any scale does, but it must be a number.
    scale = np.ldexp(left.work(1), bits - np.maximum(top, least))
    products *= scale[:, None]
    total = np.trunc(addend.values(c) * np.ldexp(1.0, bits - np.maximum(top, _LEAST)))
    infinite = int(a_exponent.max()) == left.infinite or int(b_exponent.max()) == right.infinite
    if infinite or int(c_exponent.max()) == addend.infinite:
        np.trunc(products, out=products)
        total += products.sum(1, dtype=np.float64)
    else:
        # Below 2^27 each, so that eight of them fit an int32; the conversion cuts.
        whole = products.astype(np.int32)
        for start in range(0, whole.shape[1], 8):
            total += np.add.reduce(whole[:, start : start + 8], axis=1, dtype=np.int32)
    result: Array = np.ldexp(total, np.maximum(top, _LEAST) - bits)
    return result


def to_f32(total: Array) -> Array:
    """f64 -> raw f32, towards zero; 2^128 and above become infinite."""
    magnitude = np.abs(total)
    nearest = total.astype(np.float32)
    above = (np.abs(nearest) > magnitude) & (magnitude < 2.0**128)
    bits = canonical(nearest, np.uint32, 0x7FFFFFFF)
    return bits - above


def finisher(type_: Type) -> Callable[[Array], Array]:
    """f64 sums -> raw results of f16 or f32."""
    return to_f16 if type_.name == "f16" else to_f32
