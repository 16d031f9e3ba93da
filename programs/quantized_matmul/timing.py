"""The time of one product on a GPU: back to back in a graph, weights rotated through memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom.runtime.bench import Timing, measure, rotation
from tileloom.runtime.cuda.context import current_device
from tileloom.runtime.cuda.memory import DeviceArray

from .device import Workspace, gpu_weights, launch
from .packing import Packed
from .plan import plan, x_vector
from .schedule import Schedule


def time_products(
    x: NDArray[Any], packed: Packed, out: str | None = None, schedule: Schedule | None = None
) -> Timing:
    """Microseconds of y = linear(x, packed): copies of the weights keep the cache cold."""
    gpu = current_device()
    activation = "bf16" if x.dtype == np.uint16 else "f16"
    on_gpu = DeviceArray.of(x, gpu)
    out = out or activation
    y = DeviceArray((x.shape[0], packed.n), np.float32 if out == "f32" else np.uint16, gpu)
    vector = x_vector(packed.k, on_gpu.data_ptr())
    chosen = plan(packed, x.shape[0], activation, out, vector=vector, schedule=schedule)
    copies = [_copy(packed) for _ in range(rotation(packed.nbytes))]
    workspace = Workspace.of(chosen.workspace, gpu)

    def start(weights: Packed, stream: int) -> None:
        launch(chosen, weights, on_gpu, None, y, workspace, stream, gpu.ordinal)

    for copy in copies:
        gpu_weights(copy, gpu.ordinal)
    return measure([partial(start, copy) for copy in copies])


def _copy(packed: Packed) -> Packed:
    """The same tensor with device memory of its own."""
    return Packed(
        packed.words, packed.scales, packed.zeros, packed.dtype, packed.geometry,
        packed.zero_point, packed.activation,
    )  # fmt: skip
