import numpy as np

from tileloom.programs.quantized_matmul import quantize

weights = np.ones((96, 64), np.float32)
quantize(weights, "e3m2", group=32, zero_point="int")
