"""Calls of `linear` that are like an earlier one: only addresses are fetched, and the launch made.

A call is like another if x and out have the same types, shapes, dtypes and devices, and nothing
else is given. What was checked and chosen then holds now, except what depends on the addresses:
alignment, and whether the arrays are dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tileloom.runtime.cuda.launch import LoadedKernel
from tileloom.runtime.cuda.stream import torch_stream
from tileloom.runtime.tensor_maps import ResolvedMap, encoded

from .plan import Plan
from .wide_config import WideConfig

Key = tuple[Any, ...]
_MAX_CALLS = 1024


@dataclass(frozen=True, slots=True)
class Call:
    """A launch in which only the addresses of x and y are open."""

    kernel: LoadedKernel
    grid: tuple[int, int, int]
    between: tuple[Any, ...]  # the values after x and before y
    after: tuple[Any, ...]
    maps: tuple[ResolvedMap, ...]
    unaligned: tuple[int, int]  # bits that must be zero in the addresses of x and y
    nbytes: tuple[int, int]  # of x and y
    is_torch: bool
    ordinal: int

    def run(self, x: Any, out: Any) -> bool:
        """Launches; False if these arrays need the long way."""
        if self.is_torch and not (x.is_contiguous() and out.is_contiguous()):
            return False
        address, written = x.data_ptr(), out.data_ptr()
        if address & self.unaligned[0] or written & self.unaligned[1]:
            return False
        if address < written + self.nbytes[1] and written < address + self.nbytes[0]:
            return False
        stream = torch_stream(self.ordinal) if self.is_torch else 0
        values = (address, *self.between, written, *self.after)
        if self.maps:
            values += tuple(encoded(self.maps, values))
        self.kernel.launch(self.grid, values, stream)
        return True


def key_of(x: Any, out: Any) -> Key | None:
    """What makes calls alike, or None for arrays that always take the long way."""
    kind = type(x)
    if kind is not type(out) or kind.__name__ not in ("Tensor", "DeviceArray"):
        return None
    return (kind, x.shape, x.dtype, x.device, out.shape, out.dtype, out.device)


def remember(
    calls: dict[Key, Call],
    arrays: tuple[Any, Any],
    kernel: LoadedKernel,
    plan: Plan,
    values: Sequence[Any],
    maps: tuple[ResolvedMap, ...],
    ordinal: int,
) -> None:
    """Keeps a launch just made with (x, y); `values` are all of the kernel's, x first, y sixth."""
    key = key_of(*arrays)
    if key is None:
        return
    if len(calls) >= _MAX_CALLS:
        calls.clear()
    is_torch = key[0].__name__ == "Tensor"
    wide = isinstance(plan.config, WideConfig) and plan.config.whole_blocks
    unaligned = (2 * plan.config.x_vector - 1, 15 if wide else 0)
    between, after = tuple(values[1:5]), tuple(values[6:])
    sizes = (arrays[0].nbytes, arrays[1].nbytes)
    calls[key] = Call(kernel, plan.grid, between, after, maps, unaligned, sizes, is_torch, ordinal)
