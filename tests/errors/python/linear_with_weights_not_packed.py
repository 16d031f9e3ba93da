import numpy as np

from tileloom.programs.quantized_matmul import linear, quantize

weights = np.ones((96, 64), np.float32)
linear(np.ones((3, 96), np.float16), quantize(weights, "u4", group=32))
