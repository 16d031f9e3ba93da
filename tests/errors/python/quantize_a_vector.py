import numpy as np

from tileloom.programs.quantized_matmul import quantize

weights = np.ones((96, 64), np.float32)
quantize(weights[0], "u4", group=32)
