"""How weights become operands of the tensor core: by the fast decode where it is exact."""

from __future__ import annotations

from functools import cache

from tileloom.vm import PAIRED
from tileloom.vm.decode import DecodeForm, decode_form
from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import dtype
from tileloom.vm.packing import pairs


@cache
def weight_form(weight: str, activation: str) -> tuple[DecodeForm, bool]:
    """What `decode` leaves behind for weights of a dtype, and whether it is used at all.

    Floats of 6 exponent bits and more have values that no f16 is: those weights are cast, which
    rounds the smallest of them (quantization scales the largest into f16's range).
    """
    source = dtype(weight)
    try:
        return decode_form(source, dtype(activation), PAIRED), True
    except VMTypeError:
        count = pairs(source.bits)
        return DecodeForm((0,) * count, (0.0,) * count, 0), False
