"""Running a compiled kernel on a GPU.

The first launch with arguments of some kind (types, dtypes, shapes, devices, and the numbers that
decide sizes) makes a *plan*: everything checked, the grid computed, the code loaded. Later ones
find the plan by that kind, and only fetch addresses and pack them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tileloom.vm.diagnostics import LaunchError, TargetError, call_location

from .. import jit
from ..arrays import Array
from ..assemble import compute_capability
from ..signature import Bound, Signature, Strided
from ..tensor_maps import CODE, ResolvedMap, encoded, resolve
from .context import Device, current_device, device
from .launch import PLAIN, LaunchAttributes, LoadedKernel
from .memory import DeviceArray
from .stream import cupy_stream, current_stream, stream_handle, torch_stream

if TYPE_CHECKING:
    from ..compiled import CompiledKernel

_MAX_PLANS = 256
Fetch = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Plan:
    loaded: LoadedKernel
    grid: tuple[int, int, int]
    fetch: tuple[Fetch, ...]
    aligned: tuple[tuple[int, int], ...]  # (parameter, bytes - 1)
    stream: Callable[[], int]
    is_empty: bool
    maps: tuple[ResolvedMap, ...]

    def fetched(self, arguments: Sequence[Any]) -> list[Any]:
        """The values of the parameters, from arguments of the plan's kind."""
        return [fetch(a) for fetch, a in zip(self.fetch, arguments, strict=True)]


@dataclass(frozen=True)
class Prepared:
    """A launch whose arguments were checked; the arrays are kept alive."""

    loaded: LoadedKernel
    grid: tuple[int, int, int]
    values: tuple[Any, ...]
    stream: Callable[[], int]
    arguments: tuple[Any, ...]
    signature: Signature

    def launch(self, stream: int | None = None, attributes: LaunchAttributes = PLAIN) -> None:
        """Queues the launch on a stream (its handle), or on the current one.

        Raises:
            LaunchError: it shall start early, but doesn't wait for the launch before it.
        """
        if attributes.programmatic:
            self.signature.check_programmatic()
        if 0 not in self.grid:
            handle = self.stream() if stream is None else stream
            self.loaded.launch(self.grid, self.values, handle, attributes)

    __call__ = launch


class Plans:
    """The plans of one compiled kernel, and its code on each device. `kinds` says for each
    parameter what of its argument decides a plan."""

    def __init__(self, signature: Signature) -> None:
        self.plans: dict[Any, _Plan] = {}
        self.loaded: dict[int, LoadedKernel] = {}
        free = signature.scalars - signature.facts.sizing
        self.kinds = [type if i in free else _kind for i in range(len(signature.params))]


def launch(
    kernel: CompiledKernel,
    arguments: Sequence[Any],
    stream: object = None,
    attributes: LaunchAttributes = PLAIN,
) -> None:
    """Runs a kernel on a GPU; see `CompiledKernel.__call__`."""
    cache = kernel.plans
    try:
        kind = tuple([kind(a) for kind, a in zip(cache.kinds, arguments, strict=False)])
        plan = cache.plans.get(kind)
    except _NotPlanned:
        _launch_host(kernel, arguments, stream, attributes)
        return
    if plan is None:
        plan = _plan(kernel, arguments)
        if len(cache.plans) >= _MAX_PLANS:
            cache.plans.clear()
        cache.plans[kind] = plan
    values = plan.fetched(arguments)
    for index, mask in plan.aligned:
        if values[index] & mask:
            kernel.signature.check_alignment(index, values[index])
    if plan.maps:
        values += encoded(plan.maps, values)
    if not plan.is_empty:
        handle = plan.stream() if stream is None else stream_handle(stream)
        plan.loaded.launch(plan.grid, values, handle, attributes)


def prepare(kernel: CompiledKernel, arguments: Sequence[Any]) -> Prepared:
    """A launch on arrays in a GPU's memory, checked once.

    Raises:
        LaunchError: an argument doesn't fit, or lies in the host's memory.
    """
    plan = _plan(kernel, arguments)
    values = plan.fetched(arguments)
    for index, _ in plan.aligned:
        kernel.signature.check_alignment(index, values[index])
    values += encoded(plan.maps, values)
    return Prepared(
        plan.loaded, plan.grid, tuple(values), plan.stream, tuple(arguments), kernel.signature
    )


class _NotPlanned(Exception):  # noqa: N818 - not an error: the slow way is taken
    """An argument in the host's memory, or of a kind without a quick description."""


def _kind(argument: Any) -> Any:
    """What of an argument decides a plan, cheaply."""
    describe = _KINDS.get(type(argument))
    if describe is None:
        describe = _KINDS[type(argument)] = _describer(argument)
    return describe(argument)


def _describer(argument: Any) -> Callable[[Any], Any]:
    package = type(argument).__module__.partition(".")[0]
    if package == "torch" and hasattr(argument, "data_ptr"):
        return _torch_kind
    if package == "cupy" and hasattr(argument, "data"):
        return lambda a: (a.dtype, a.shape, a.strides, a.device.id)
    if isinstance(argument, np.generic):
        return _number_kind
    return _no_kind


def _torch_kind(tensor: Any) -> Any:
    if not tensor.is_cuda:
        raise _NotPlanned
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.get_device()


def _no_kind(argument: Any) -> Any:
    raise _NotPlanned


def _number_kind(argument: Any) -> Any:
    # The value too: it decides the grid, or the sizes of views.
    return type(argument), argument


_KINDS: dict[type, Callable[[Any], Any]] = {
    int: _number_kind,
    float: _number_kind,
    bool: _number_kind,
    type(None): lambda _: None,
    DeviceArray: lambda a: (a.dtype, a.shape, a.device.ordinal),
    Strided: lambda a: (Strided, _kind(a.array)),
}


def _plan(kernel: CompiledKernel, arguments: Sequence[Any]) -> _Plan:
    signature = kernel.signature
    bound = signature.bind(arguments)
    gpu = _device_of(signature, bound)
    aligned = [(i, n - 1) for i, n in signature.facts.alignments.items() if n > 1]
    return _Plan(
        loaded=_load(kernel.variant(bound.is_far), gpu),
        grid=bound.grid,
        fetch=tuple(_fetch(signature, i, a) for i, a in enumerate(arguments)),
        aligned=tuple(aligned),
        stream=_stream_query(arguments, gpu.ordinal),
        is_empty=bound.is_empty,
        maps=() if bound.is_empty else _maps(kernel, bound),
    )


def _maps(kernel: CompiledKernel, bound: Bound) -> tuple[ResolvedMap, ...]:
    values = dict(zip(kernel.signature.params, bound.arguments, strict=True))
    return resolve(kernel.function, kernel.tensor_maps, values)


def _device_of(signature: Signature, bound: Bound) -> Device:
    found: dict[int, str] = {}
    for index, array in bound.arrays:
        name = signature.params[index].name
        if array.device is None:
            raise LaunchError(
                f"`{name}` is in the host's memory, not a GPU's",
                call_location(), hint="move it there first",
            )  # fmt: skip
        found.setdefault(array.device, name)
    if len(found) > 1:
        (first, one), (second, other) = list(found.items())[:2]
        raise LaunchError(
            f"`{one}` is in the memory of GPU {first}, but `{other}` in that of GPU {second}",
            call_location(),
        )
    return device(next(iter(found))) if found else current_device()


def _load(kernel: CompiledKernel, gpu: Device) -> LoadedKernel:
    cache = kernel.plans
    loaded = cache.loaded.get(gpu.ordinal)
    if loaded is None:
        _check_target(kernel, gpu)
        with jit.launching():
            cubin = kernel.cubin
        loaded = cache.loaded[gpu.ordinal] = LoadedKernel(
            gpu, cubin, kernel.name, kernel.num_threads, kernel.dynamic_shared,
            [*kernel.signature.codes(), *[CODE] * len(kernel.tensor_maps)],
        )  # fmt: skip
    return loaded


def _check_target(kernel: CompiledKernel, gpu: Device) -> None:
    """Code for sm_80 runs on every 8.x from it on; code for sm_90a on 9.0 only."""
    wanted, has = compute_capability(kernel.target), gpu.compute_capability
    exact = kernel.target.endswith("a")
    fits = wanted == has if exact else (wanted[0] == has[0] and wanted <= has)
    if not fits:
        raise TargetError(
            f"`{kernel.name}` is compiled for `{kernel.target}`, but {gpu.name} is `{gpu.target}`",
            call_location(), hint=f'compile it with `target="{gpu.target}"`',
        )  # fmt: skip


def _fetch(signature: Signature, index: int, argument: Any) -> Fetch:
    """How a plan gets a parameter's value from an argument of the same kind."""
    if index in signature.scalars:
        if signature.is_packed_specially(index):
            return lambda value: signature.pack(index, value)
        return lambda value: value
    if argument is None:
        return lambda _: 0
    if isinstance(argument, Strided):
        inner = _fetch(signature, index, argument.array)
        return lambda strided: inner(strided.array)
    pointer = getattr(type(argument), "data_ptr", None)
    if pointer is not None:
        return pointer  # type: ignore[no-any-return]  # torch's and DeviceArray's method
    if hasattr(argument, "data") and hasattr(argument.data, "ptr"):
        return lambda array: array.data.ptr
    return lambda array: array.__cuda_array_interface__["data"][0] or 0


def _stream_query(arguments: Sequence[Any], ordinal: int) -> Callable[[], int]:
    for argument in arguments:
        package = type(argument).__module__.partition(".")[0]
        if package == "torch":
            return lambda: torch_stream(ordinal)
        if package == "cupy":
            return cupy_stream
    return lambda: 0


def _launch_host(
    kernel: CompiledKernel,
    arguments: Sequence[Any],
    stream: object,
    attributes: LaunchAttributes,
) -> None:
    """The slow way: arrays in the host's memory are copied to the GPU, and back if written."""
    signature = kernel.signature
    bound = signature.bind(arguments)
    on_gpus = {a.device for _, a in bound.arrays if a.device is not None}
    gpu = device(min(on_gpus)) if on_gpus else current_device()
    loaded = _load(kernel.variant(bound.is_far), gpu)
    handle = current_stream(arguments, gpu.ordinal) if stream is None else stream_handle(stream)
    values: list[Any] = []
    copies: dict[int, tuple[Array, DeviceArray]] = {}
    for index, argument in enumerate(bound.arguments):
        if isinstance(argument, Array) and argument.device is None:
            copies[index] = argument, _to_device(argument, gpu, handle)
            values.append(copies[index][1].data_ptr())
        elif isinstance(argument, Array):
            signature.check_alignment(index, argument.address)
            values.append(argument.address)
        else:
            values.append(0 if argument is None else signature.pack(index, argument))
    if not bound.is_empty:
        values += encoded(_maps(kernel, bound), values)
        loaded.launch(bound.grid, values, handle, attributes)
    for index, (array, copy) in copies.items():
        if index in signature.facts.written:
            copy.copy_to(array.host_view(np.uint8), handle)
    if copies:
        gpu.synchronize_stream(handle)  # the kernel still reads the copies
    for _, copy in copies.values():
        copy.free()


def _to_device(array: Array, gpu: Device, stream: int) -> DeviceArray:
    copy = DeviceArray((array.nbytes,), np.uint8, gpu)
    copy.copy_from(array.host_view(np.uint8), stream)
    return copy
