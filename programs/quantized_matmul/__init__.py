"""y = x @ dequant(w): weights of 1 to 8 bits, any group, zero points, bias, any m.

q = quantize(w, "u3", group=128)       # w: floats [k, n]
p = pack(q)                            # one packed tensor for every m
y = linear(x, p)                       # x: f16 or bf16 [m, k]
"""

from .linear import linear
from .packing import Packed, pack, unpack
from .prepare import prepare
from .quantization import Quantized, quantize
from .schedule import Schedule

__all__ = ["Packed", "Quantized", "Schedule", "linear", "pack", "prepare", "quantize", "unpack"]
