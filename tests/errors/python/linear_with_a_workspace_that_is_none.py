import numpy as np

from tileloom.programs.quantized_matmul import linear, pack, quantize

packed = pack(quantize(np.ones((64, 32)), "u4"))
linear(np.ones((2, 64), np.float16), packed, workspace=np.zeros(1000, np.float32))
