"""Calls of `linear` that are like an earlier one: only addresses are fetched, and the launch made.

A call is like another if x and out have the same types, shapes, dtypes and devices, and nothing
else is given. What was checked and chosen then holds now, except what depends on the addresses:
alignment, and whether the arrays are dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tileloom.programs.activations.activations import Activations
from tileloom.runtime.cuda.launch import LoadedKernel
from tileloom.runtime.cuda.stream import torch_stream
from tileloom.runtime.tensor_maps import ResolvedMap, encoded

from .eight_bit_config import ByteConfig
from .plan import AnyPlan
from .wide_config import WideConfig

if TYPE_CHECKING:
    from .device import GpuWeights

Key = tuple[Any, ...]
_MAX_CALLS = 1024

# The arrays of every kernel: x (or codes and scales), w, scales, ..., bias, y, partial sums, flags.
ARRAYS = 8
_Y = 5


@dataclass(frozen=True, slots=True)
class Call:
    """A launch in which only the addresses of x, y and the stream's workspace are open."""

    kernel: LoadedKernel
    plan: AnyPlan
    state: GpuWeights
    between: tuple[Any, ...]  # the values after x and before y
    after: tuple[Any, ...]  # those after y
    maps: tuple[ResolvedMap, ...]
    unaligned: tuple[int, ...]  # bits that must be zero in the addresses of what x is, and of y
    nbytes: tuple[int, int]  # of x and y
    is_torch: bool

    def run(self, x: Any, out: Any) -> bool:
        """Launches; False if these arrays need the long way."""
        inputs = _arrays(x)
        arrays = (*inputs, out)
        if self.is_torch and not all(array.is_contiguous() for array in arrays):
            return False
        addresses = [array.data_ptr() for array in arrays]
        for address, bits in zip(addresses, self.unaligned, strict=True):
            if address & bits:
                return False
        address, written = addresses[0], addresses[-1]
        if address < written + self.nbytes[1] and written < address + self.nbytes[0]:
            return False
        stream = torch_stream(self.state.gpu.ordinal) if self.is_torch else 0
        after = self.after
        if self.plan.config.split:
            room = self.state.workspaces.of(self.plan.workspace, stream)
            after = (room.partials.data_ptr(), room.counters.data_ptr(), *after[2:])
        values = (*addresses[:-1], *self.between, written, *after)
        if self.maps:
            values += tuple(encoded(self.maps, values))
        self.kernel.launch(self.plan.grid, values, stream)
        return True


def key_of(x: Any, out: Any) -> Key | None:
    """What makes calls alike, or None for arrays that always take the long way."""
    first: Any = x
    more: Key = ()
    if isinstance(x, Activations):
        first, more = x.codes, (x.k, x.group, x.dtype, x.leading, _like(x.scales))
        if type(x.scales) is not type(first):
            return None
    kind = type(first)
    if kind is not type(out) or kind.__name__ not in ("Tensor", "DeviceArray"):
        return None
    return (kind, *_like(first), *_like(out), *more)


def _like(array: Any) -> Key:
    return (array.shape, array.dtype, array.device)


def _arrays(x: Any) -> tuple[Any, ...]:
    return (x.codes, x.scales) if type(x) is Activations else (x,)


def remember(
    calls: dict[Key, Call],
    arrays: tuple[Any, Any],
    kernel: LoadedKernel,
    plan: AnyPlan,
    values: Sequence[Any],
    maps: tuple[ResolvedMap, ...],
    state: GpuWeights,
) -> None:
    """Keeps a launch just made with (x, y); `values` are all of the kernel's."""
    key = key_of(*arrays)
    if key is None:
        return
    if len(calls) >= _MAX_CALLS:
        calls.clear()
    x, y = arrays
    inputs = _arrays(x)
    calls[key] = Call(
        kernel,
        plan,
        state,
        tuple(values[len(inputs) : _Y]),
        tuple(values[_Y + 1 :]),
        maps,
        _unaligned(plan, y.dtype.itemsize),
        (inputs[0].nbytes, y.nbytes),
        key[0].__name__ == "Tensor",
    )


def _unaligned(plan: AnyPlan, itemsize: int) -> tuple[int, ...]:
    """The bits of the addresses of what x is, and of y, that the kernel relies on."""
    config = plan.config
    if isinstance(config, ByteConfig):
        return 15, 3, config.vector * itemsize - 1
    whole = isinstance(config, WideConfig) and config.whole_blocks
    return 2 * config.x_vector - 1, 15 if whole else itemsize - 1
