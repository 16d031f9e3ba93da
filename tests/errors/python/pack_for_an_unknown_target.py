import numpy as np

from tileloom.programs.quantized_matmul import pack, quantize

weights = np.ones((96, 64), np.float32)
pack(quantize(weights, "u4", group=32), activation="f16", target="sm_9a")
