"""The quantized matmul on a GPU: weights uploaded once, kernels loaded once, then only launches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from math import prod
from typing import Any, Generic, TypeVar

import numpy as np

from tileloom.programs.activations.activations import Activations, stride_of
from tileloom.runtime import jit
from tileloom.runtime.arrays import Array, describe, storage
from tileloom.runtime.compiled import CompiledKernel, compile_kernel
from tileloom.runtime.cuda.context import Device, current_device, device
from tileloom.runtime.cuda.launch import PLAIN, LaunchAttributes, LoadedKernel
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.runtime.cuda.stream import current_stream
from tileloom.runtime.tensor_maps import CODE, ResolvedMap, encoded, resolve
from tileloom.vm.diagnostics import LaunchError
from tileloom.vm.dtypes import dtype
from tileloom.vm.ranges import MAX_OFFSET

from .config import Config
from .eight_bit_config import ByteConfig
from .fast import ARRAYS, remember
from .packed import PackedTensor, Weights, host_weights
from .plan import AnyConfig, AnyPlan, Plan, arguments, traced
from .schedule import Machine


@lru_cache(maxsize=512)
def compiled(config: AnyConfig, target: str) -> CompiledKernel:
    """The kernel of a configuration, compiled for a target."""
    return compile_kernel(traced(config), target)


@lru_cache(maxsize=512)
def loaded(config: AnyConfig, ordinal: int, far: bool = False) -> LoadedKernel:
    """The kernel of a configuration on a device, ready to launch; `far`: for arrays of more
    elements than 32 bits count."""
    gpu = device(ordinal)
    kernel = compiled(config, gpu.target).variant(far)
    return LoadedKernel(
        gpu,
        kernel.cubin,
        kernel.name,
        kernel.num_threads,
        kernel.dynamic_shared,
        [*kernel.signature.codes(), *[CODE] * len(kernel.tensor_maps)],
    )


def kernel_of(plan: AnyPlan, packed: PackedTensor[Any], ordinal: int) -> LoadedKernel:
    """The kernel of a plan, which a launch waits for if nothing was prepared."""
    elements = plan.m * max(packed.k, packed.n), plan.workspace[0], packed.k * packed.n
    with jit.launching():
        return loaded(plan.config, ordinal, max(elements) > MAX_OFFSET)


@lru_cache(maxsize=1024)
def tensor_maps(
    config: AnyConfig, ordinal: int, scalars: tuple[int | float, ...]
) -> tuple[ResolvedMap, ...]:
    """The tensor maps of a kernel whose last arguments are these numbers."""
    kernel = compiled(config, device(ordinal).target)
    params = kernel.signature.params
    numbers = params[len(params) - len(scalars) :]
    return resolve(kernel.function, kernel.tensor_maps, dict(zip(numbers, scalars, strict=True)))


def maps_of(plan: AnyPlan, ordinal: int, values: Sequence[Any]) -> tuple[ResolvedMap, ...]:
    """The tensor maps of a launch with these values."""
    if isinstance(plan.config, Config):
        return ()
    return tensor_maps(plan.config, ordinal, tuple(values[ARRAYS:]))


@cache
def machine_of(ordinal: int) -> Machine:
    """What the choice of schedules needs to know of a GPU."""
    gpu = device(ordinal)
    version = gpu.compute_capability
    return Machine(gpu.num_multiprocessors, version >= (9, 0), version == (9, 0))


@dataclass
class Workspace:
    """Memory for partial sums and the counters of arrived blocks (zero between launches).

    One launch at a time may use it: streams that run together need one each.
    """

    partials: DeviceArray
    counters: DeviceArray

    @classmethod
    def of(cls, sizes: tuple[int, int], gpu: Device) -> Workspace:
        """A workspace for so many f32 partial sums and counters."""
        partials = DeviceArray((max(sizes[0], 1),), np.float32, gpu)
        counters = DeviceArray((max(sizes[1], 1),), np.uint32, gpu)
        counters.fill_bytes(0)
        gpu.synchronize()
        return cls(partials, counters)

    def fits(self, sizes: tuple[int, int]) -> bool:
        """Whether it is large enough."""
        return sizes[0] <= self.partials.shape[0] and sizes[1] <= self.counters.shape[0]


@dataclass
class Rows:
    """Memory for floats that are quantized before they are multiplied: codes and their scales."""

    codes: DeviceArray
    scales: DeviceArray

    @classmethod
    def of(cls, sizes: tuple[int, int], gpu: Device) -> Rows:
        """Memory for so many bytes of codes, and so many rows."""
        codes = DeviceArray((max(sizes[0], 1),), np.uint8, gpu)
        return cls(codes, DeviceArray((max(sizes[1], 1),), np.float32, gpu))

    def fits(self, sizes: tuple[int, int]) -> bool:
        """Whether it is large enough."""
        return sizes[0] <= self.codes.nbytes and sizes[1] <= self.scales.shape[0]

    def activations(self, leading: tuple[int, ...], k: int, kind: str) -> Activations:
        """Room for x [*leading, k]."""
        m, stride = prod(leading), stride_of(k)
        codes = self.codes.first((m, stride), storage(dtype(kind)))
        scales = self.scales.first((m, 1), np.float32)
        return Activations(codes, scales, k, kind, leading=leading)


Memory = TypeVar("Memory", Workspace, Rows)


class ByStream(Generic[Memory]):
    """Memory of one kind for each stream, and what `prepare` made for the first one."""

    def __init__(self, kind: type[Memory], gpu: Device) -> None:
        self._kind: type[Memory] = kind
        self._gpu = gpu
        self._found: dict[int, Memory] = {}
        self._spare: Memory | None = None
        self._lock = threading.Lock()

    def of(self, sizes: tuple[int, int], stream: int) -> Memory:
        """The stream's memory, made or made larger where that is needed."""
        found = self._found.get(stream)
        if found is not None and found.fits(sizes):
            return found
        with self._lock:
            spare, self._spare = self._spare, None
            new = spare if spare is not None and spare.fits(sizes) else None
            self._found[stream] = new = new or self._kind.of(sizes, self._gpu)
            return new

    def reserve(self, sizes: tuple[int, int]) -> Memory:
        """Memory for the first stream that comes without."""
        with self._lock:
            if self._spare is None or not self._spare.fits(sizes):
                self._spare = self._kind.of(sizes, self._gpu)
            return self._spare


class GpuWeights:
    """A packed tensor on one device, and the memory that its products take, by stream."""

    def __init__(self, weights: Weights, gpu: Device) -> None:
        self.weights, self.gpu = weights, gpu
        self.workspaces, self.rows = ByStream(Workspace, gpu), ByStream(Rows, gpu)


def gpu_weights(packed: PackedTensor[Any], ordinal: int) -> GpuWeights:
    """The packed tensor on a device, uploaded when first asked for."""
    key = f"cuda:{ordinal}"
    found: GpuWeights | None = packed.state.get(key)
    if found is None:
        gpu, host = device(ordinal), host_weights(packed)
        scales = DeviceArray.of(host.scales, gpu)
        on_device = Weights(
            DeviceArray.of(host.words, gpu),
            scales,
            scales if packed.zeros is None else DeviceArray.of(host.zeros, gpu),
            DeviceArray.of(host.no_floats, gpu),
            DeviceArray.of(host.no_counters, gpu),
        )
        found = packed.state.setdefault(key, GpuWeights(on_device, gpu))
    return found


def run_on_gpu(
    plan: AnyPlan,
    packed: PackedTensor[Any],
    x: Any,
    bias: Any,
    target: Any,
    workspace: Any,
    *,
    repeatable: bool = False,
) -> None:
    """Launches the kernel; arrays in the host's memory are copied there and back.

    A `repeatable` call, to which nothing but x and out was given, is remembered (fast.py).
    """
    source = x.codes if isinstance(x, Activations) else x
    given = _described(source).device
    ordinal = current_device().ordinal if given is None else given
    gpu = device(ordinal)
    stream = current_stream((source,), ordinal)
    y, moved = target, uploaded(x, gpu)
    on_host = _described(target).device is None
    if on_host:
        y = DeviceArray(target.shape, _on_host(target).dtype, gpu)
    if bias is not None:
        bias = uploaded(bias, gpu)
    values = launch(plan, packed, moved, bias, y, workspace, stream, ordinal)
    if on_host:
        y.copy_to(_on_host(target), stream)
    elif repeatable and moved is x:
        kernel, maps = kernel_of(plan, packed, ordinal), maps_of(plan, ordinal, values)
        state = gpu_weights(packed, ordinal)
        remember(packed.calls, (x, y), kernel, plan, values, maps, state)


def launch(
    plan: AnyPlan,
    packed: PackedTensor[Any],
    x: Any,
    bias: Any,
    y: Any,
    workspace: Workspace | None,
    stream: int,
    ordinal: int,
    attributes: LaunchAttributes = PLAIN,
) -> list[Any]:
    """Queues the kernel on a stream; all arrays lie in the device's memory. Gives its values."""
    state = gpu_weights(packed, ordinal)
    kernel = kernel_of(plan, packed, ordinal)
    buffers: tuple[Any, Any] | None = None
    if plan.config.split:
        sizes = plan.workspace
        if workspace is None:
            workspace = state.workspaces.of(sizes, stream)
        elif not workspace.fits(sizes):
            raise LaunchError(
                f"`workspace` holds {workspace.partials.shape[0]} sums, m = {plan.m} takes "
                f"{sizes[0]}",
                hint=f"prepare(p, max_m={plan.m})",
            )
        buffers = (workspace.partials, workspace.counters)
    values = [_value(v) for v in arguments(plan, packed, state.weights, x, bias, y, buffers)]
    if isinstance(plan.config, ByteConfig):
        signature = compiled(plan.config, state.gpu.target).signature
        for index in signature.facts.alignments:
            signature.check_alignment(index, values[index])
    maps = maps_of(plan, ordinal, values)
    if attributes.programmatic and not attributes.shared and isinstance(plan, Plan):
        attributes = replace(attributes, shared=_alone(plan, ordinal))
    kernel.launch(plan.grid, [*values, *encoded(maps, values)], stream, attributes)
    return values


@lru_cache(maxsize=1024)
def _alone(plan: Plan, ordinal: int) -> int:
    gpu = device(ordinal)
    if gpu.compute_capability != (9, 0):
        return 0
    return plan.shared_alone(gpu.num_multiprocessors)


def _value(argument: Any) -> Any:
    """An argument as the driver takes it: an address or a number."""
    if isinstance(argument, int | float):
        return argument
    pointer = getattr(argument, "data_ptr", None)
    if pointer is not None:
        return pointer()
    return argument.__cuda_array_interface__["data"][0]


def _described(array: Any) -> Array:
    described = describe(array)
    assert described is not None
    return described


def _on_host(array: Any) -> Any:
    """A host array as numpy sees it, without a copy."""
    described = _described(array)
    return described.host_view(storage(dtype(described.dtype)))


def uploaded(source: Any, gpu: Device) -> Any:
    """An array, or `Activations`, in the device's memory."""
    if isinstance(source, Activations):
        codes, scales = uploaded(source.codes, gpu), uploaded(source.scales, gpu)
        if codes is source.codes and scales is source.scales:
            return source
        return replace(source, codes=codes, scales=scales)
    described = _described(source)
    if described.device is not None:
        return source
    host = described.host_view(storage(dtype(described.dtype)))
    return DeviceArray.of(host.reshape(described.shape), gpu)
