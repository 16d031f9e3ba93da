"""The quantized matmul on a GPU: weights uploaded once, kernels loaded once, then only launches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

from tileloom.runtime.compiled import CompiledKernel, compile_kernel
from tileloom.runtime.cuda.context import Device, current_device, device
from tileloom.runtime.cuda.launch import PLAIN, LaunchAttributes, LoadedKernel
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.runtime.cuda.stream import current_stream
from tileloom.runtime.tensor_maps import CODE, ResolvedMap, encoded, resolve
from tileloom.vm.diagnostics import LaunchError

from .config import Config
from .fast import remember
from .operands import Operands
from .packing import Packed
from .plan import Plan, Weights, arguments, host_weights, traced
from .schedule import Machine
from .wide_config import WideConfig


@lru_cache(maxsize=512)
def compiled(config: Config | WideConfig, target: str) -> CompiledKernel:
    """The kernel of a configuration, compiled for a target."""
    return compile_kernel(traced(config), target)


@lru_cache(maxsize=512)
def loaded(config: Config | WideConfig, ordinal: int) -> LoadedKernel:
    """The kernel of a configuration on a device, ready to launch."""
    gpu = device(ordinal)
    kernel = compiled(config, gpu.target)
    return LoadedKernel(
        gpu,
        kernel.cubin,
        kernel.name,
        kernel.num_threads,
        kernel.dynamic_shared,
        [*kernel.signature.codes(), *[CODE] * len(kernel.tensor_maps)],
    )


@lru_cache(maxsize=1024)
def tensor_maps(
    config: Config | WideConfig, ordinal: int, scalars: tuple[int | float, ...]
) -> tuple[ResolvedMap, ...]:
    """The tensor maps of a kernel whose last arguments are these numbers."""
    kernel = compiled(config, device(ordinal).target)
    params = kernel.signature.params
    numbers = params[len(params) - len(scalars) :]
    return resolve(kernel.function, kernel.tensor_maps, dict(zip(numbers, scalars, strict=True)))


def maps_of(plan: Plan, ordinal: int, values: Sequence[Any]) -> tuple[ResolvedMap, ...]:
    """The tensor maps of a launch with these values."""
    if isinstance(plan.config, Config):
        return ()
    return tensor_maps(plan.config, ordinal, tuple(values[8:]))


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
class GpuWeights:
    """A packed tensor on one device, and its workspaces by stream."""

    weights: Weights
    gpu: Device
    workspaces: dict[int, Workspace] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def workspace(self, sizes: tuple[int, int], stream: int) -> Workspace:
        """The stream's workspace, made or made larger where that is needed."""
        found = self.workspaces.get(stream)
        if found is not None and found.fits(sizes):
            return found
        with self.lock:
            spare = self.workspaces.pop(_SPARE, None)
            new = spare if spare is not None and spare.fits(sizes) else None
            self.workspaces[stream] = new = new or Workspace.of(sizes, self.gpu)
            return new

    def reserve(self, sizes: tuple[int, int]) -> Workspace:
        """A workspace for the first stream that comes without one."""
        with self.lock:
            found = self.workspaces.get(_SPARE)
            if found is None or not found.fits(sizes):
                found = self.workspaces[_SPARE] = Workspace.of(sizes, self.gpu)
            return found


_SPARE = -1  # no stream has this handle


def gpu_weights(packed: Packed, ordinal: int) -> GpuWeights:
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


def ordinal_of(operands: Operands) -> int:
    """The GPU that x is on, or the current one for an x in the host's memory."""
    given = operands.x.device
    return current_device().ordinal if given is None else given


def run_on_gpu(
    plan: Plan,
    packed: Packed,
    operands: Operands,
    bias: Any,
    target: Any,
    workspace: Any,
    *,
    repeatable: bool = False,
) -> None:
    """Launches the kernel; arrays in the host's memory are copied there and back.

    A `repeatable` call, to which nothing but x and out was given, is remembered (fast.py).
    """
    on_host, ordinal = operands.x.device is None, ordinal_of(operands)
    gpu = device(ordinal)
    stream = current_stream((operands.source,), ordinal)
    x, y = operands.source, target
    if on_host:
        x = DeviceArray.of(np.asarray(_numpy(operands.source)), gpu)
        y = DeviceArray(target.shape, _numpy(target).dtype, gpu)
    if bias is not None and not _on_device(bias):
        bias = DeviceArray.of(np.ascontiguousarray(_numpy(bias)), gpu)
    values = launch(plan, packed, x, bias, y, workspace, stream, ordinal)
    if on_host:
        y.copy_to(_numpy(target), stream)
    elif repeatable and not plan.config.split:  # a workspace belongs to a stream
        kernel, maps = loaded(plan.config, ordinal), maps_of(plan, ordinal, values)
        remember(packed.calls, (x, y), kernel, plan, values, maps, ordinal)


def launch(
    plan: Plan,
    packed: Packed,
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
    kernel = loaded(plan.config, ordinal)
    buffers: tuple[Any, Any] | None = None
    if plan.config.split:
        sizes = plan.workspace
        if workspace is None:
            workspace = state.workspace(sizes, stream)
        elif not workspace.fits(sizes):
            raise LaunchError(
                f"`workspace` holds {workspace.partials.shape[0]} sums, m = {plan.m} takes "
                f"{sizes[0]}",
                hint=f"prepare(p, max_m={plan.m})",
            )
        buffers = (workspace.partials, workspace.counters)
    values = [_value(v) for v in arguments(plan, packed, state.weights, x, bias, y, buffers)]
    maps = maps_of(plan, ordinal, values)
    if attributes.programmatic and not attributes.shared:
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


def _on_device(array: Any) -> bool:
    return hasattr(array, "__cuda_array_interface__") and not isinstance(array, np.ndarray)


def _numpy(array: Any) -> Any:
    """A host array as numpy sees it, without a copy; torch's bf16 as its codes."""
    if isinstance(array, np.ndarray):
        return array
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        is_bf16 = array.dtype == torch.bfloat16
        return array.view(torch.uint16).numpy() if is_bf16 else array.numpy()
    return np.asarray(array)
