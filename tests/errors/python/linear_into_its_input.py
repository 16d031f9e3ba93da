import numpy as np

from tileloom.programs.quantized_matmul import linear, pack, quantize

weights = np.ones((96, 96), np.float32)
packed = pack(quantize(weights, "u4", group=32), activation="f16")
x = np.ones((3, 96), np.float16)
linear(x, packed, out=x, device="interpreter")
