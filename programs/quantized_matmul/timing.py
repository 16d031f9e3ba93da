"""The time of one product on a GPU: back to back in a graph, weights rotated through memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom.programs.activations.activations import Activations
from tileloom.runtime.bench import Timing, measure, rotation
from tileloom.runtime.cuda.context import api, check, current_device
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.runtime.tensor_maps import encoded

from .device import Workspace, gpu_weights, launch, loaded, machine_of, maps_of, uploaded
from .eight_bit_packing import BytePacked
from .eight_bit_plan import plan_bytes
from .eight_bit_schedule import ByteSchedule
from .geometry import Geometry
from .packing import Packed
from .plan import AnyPlan, Plan, plan, scalars, x_vector
from .schedule import Schedule
from .wide_schedule import WideSchedule


def time_products(
    x: NDArray[Any] | Activations,
    packed: Packed | BytePacked,
    out: str | None = None,
    schedule: Schedule | WideSchedule | ByteSchedule | None = None,
) -> Timing:
    """Microseconds of y = linear(x, packed): copies of the weights keep the cache cold."""
    gpu = current_device()
    on_gpu = uploaded(x, gpu)
    source = x.codes if isinstance(x, Activations) else x
    name = "bf16" if source.dtype == np.uint16 else "f16"
    out = out or name
    y = DeviceArray((len(source), packed.n), np.float32 if out == "f32" else np.uint16, gpu)
    m, machine = len(source), machine_of(gpu.ordinal)
    chosen: AnyPlan
    if isinstance(packed, BytePacked):
        assert schedule is None or isinstance(schedule, ByteSchedule)
        chosen = plan_bytes(packed, m, out, schedule=schedule, machine=machine)
    else:
        assert not isinstance(schedule, ByteSchedule)
        vector = x_vector(packed.k, on_gpu.data_ptr())
        chosen = plan(packed, m, name, out, "", vector, schedule, machine)
    # With device memory of their own.
    copies = [replace(packed, state={}, calls={}) for _ in range(rotation(packed.nbytes))]
    workspace = Workspace.of(chosen.workspace, gpu)

    def start(weights: Packed | BytePacked, stream: int) -> None:
        launch(chosen, weights, on_gpu, None, y, workspace, stream, gpu.ordinal)

    for copy in copies:
        gpu_weights(copy, gpu.ordinal)
    return measure([partial(start, copy) for copy in copies])


class Bench:
    """Times plans on random bits: one large buffer serves the weights of every problem."""

    def __init__(self) -> None:
        self.gpu = current_device()
        rng = np.random.default_rng(0)
        self.weights = self._filled(rng.integers(0, 1 << 32, 1 << 24, np.uint32), WEIGHT_BYTES)
        ordinary = rng.uniform(0.5, 1.0, 1 << 22).astype(np.float16)
        self.halves = self._filled(ordinary.view(np.uint32), HALF_BYTES)
        self.output = DeviceArray((OUTPUT_BYTES,), np.uint8, self.gpu)
        self.counters = DeviceArray((1 << 20,), np.uint32, self.gpu)
        self.counters.fill_bytes(0)

    def _filled(self, block: NDArray[np.uint32], nbytes: int) -> DeviceArray:
        """Memory in which a block of random words repeats."""
        array = DeviceArray((nbytes // 4,), np.uint32, self.gpu)
        source = DeviceArray.of(block, self.gpu)
        for start in range(0, nbytes, source.nbytes):
            size = min(source.nbytes, nbytes - start)
            check(api().cuMemcpyDtoD(array.data_ptr() + start, source.data_ptr(), size))
        self.gpu.synchronize()
        return array

    def time(self, chosen: Plan, geometry: Geometry) -> float:
        """Median microseconds of one product under a plan."""
        kernel = loaded(chosen.config, self.gpu.ordinal)
        launches = []
        for values in self.rounds(chosen, geometry):
            maps = encoded(maps_of(chosen, self.gpu.ordinal, values), values)
            launches.append(partial(kernel.launch, chosen.grid, [*values, *maps]))
        return measure(launches, replays=5, warm_up=1).median_us

    def rounds(self, chosen: Plan, geometry: Geometry) -> Iterator[list[int | float]]:
        """The arguments of one launch after the other: as many as it takes for neither words nor
        scales to be in the cache when they come again."""
        words, copies, slots = rotated(geometry)
        scales = 2 * prod(geometry.scale_shape())
        output = self.output.data_ptr()
        sizes = scalars(chosen, geometry.k, geometry.n, geometry.num_chunks, 1.0)
        for index in range(max(copies, min(MOST_LAUNCHES, slots))):
            halves = [
                self.halves.data_ptr() + (index + i) % slots * scales for i in (0, slots // 2)
            ]
            arrays = [self.halves.data_ptr(), self.weights.data_ptr() + index % copies * words]
            arrays += [*halves, self.halves.data_ptr(), output]
            yield [*arrays, output + OUTPUT_BYTES // 2, self.counters.data_ptr(), *sizes]


def rotated(geometry: Geometry) -> tuple[int, int, int]:
    """Bytes of a problem's words, how many of it fit the buffer, and how many scales do."""
    words, scales = 4 * prod(geometry.word_shape()), 2 * prod(geometry.scale_shape())
    copies = max(2, min(MOST_LAUNCHES, WEIGHT_BYTES // words))
    assert copies * words <= WEIGHT_BYTES, "the weights don't fit the tuner's buffer"
    return words, copies, max(1, HALF_BYTES // scales)


WEIGHT_BYTES = 3 << 29
HALF_BYTES = 1 << 28
OUTPUT_BYTES = 1 << 29
MOST_LAUNCHES = 128
