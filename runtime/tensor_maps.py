"""Tensor maps of a launch: the tensors that a kernel's tile copies name, as its arguments are.

The compiler says which views need maps and how their tiles are cut; a launch fills in pointers,
extents and strides. They become objects of the emulator, or 128 bytes that the driver encodes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tileloom.vm.diagnostics import LaunchError, call_location
from tileloom.vm.instructions.memory import GlobalView
from tileloom.vm.ir import Function, Value, instructions
from tileloom.vm.tensor_maps import TensorMap
from tileloom.vm.types import GlobalType

from .facts import evaluate

if TYPE_CHECKING:
    from .emulator import TensorMap as EmulatedMap

BYTES = 128
CODE = f"{BYTES}s"  # of `struct`, for the packer
_UNIT = 16
_MAX_EXTENT = 1 << 32
_MAX_STRIDE = 1 << 40


@dataclass(frozen=True)
class ResolvedMap:
    """A map but for its pointer, which is argument number `argument`: `shape` and `box` in elements
    of `element_bytes`, `strides` in bytes, the dimension of neighbours first."""

    argument: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    element_bytes: int
    swizzle: int

    def emulated(self) -> EmulatedMap:
        """The map as an argument of the emulator."""
        from . import emulator

        return emulator.TensorMap(
            self.argument, self.shape, self.strides, self.box, self.element_bytes, self.swizzle
        )

    def encoded(self, pointer: int) -> bytes:
        """The map as the driver encodes it for a tensor at an address.

        Raises:
            DriverError: the driver refuses it.
        """
        return _encoded(self, pointer)


def resolve(
    function: Function, maps: Sequence[TensorMap], values: Mapping[Value, Any]
) -> tuple[ResolvedMap, ...]:
    """The maps of a launch whose parameters have these values.

    Raises:
        LaunchError: a tensor that no map can say.
    """
    if not maps:
        return ()
    views = [i for i in instructions(function.body) if isinstance(i, GlobalView)]
    return tuple(_resolve_one(function, views[m.view], m, values) for m in maps)


def encoded(maps: Sequence[ResolvedMap], values: Sequence[Any]) -> list[bytes]:
    """The maps of a launch, which has these values of its parameters, as the driver takes them."""
    return [each.encoded(values[each.argument]) for each in maps]


def _resolve_one(
    function: Function, view: GlobalView, wanted: TensorMap, values: Mapping[Value, Any]
) -> ResolvedMap:
    assert view.result is not None and isinstance(view.result.type, GlobalType)
    assert isinstance(view.pointer, Value)
    type_, size = view.result.type, wanted.bits // 8
    extents = [int(evaluate(e, values)) for e in type_.shape]
    steps = [int(evaluate(e, values)) * size for e in type_.strides]
    shape = tuple(extents[dim] for dim in wanted.dims)
    strides = tuple(
        # Where there is nothing to step to, any stride that a map takes will do.
        _UNIT if extents[dim] <= 1 and dim != wanted.dims[0] else steps[dim]
        for dim in wanted.dims
    )
    _check(view, shape, strides)
    argument = function.params.index(view.pointer)
    return ResolvedMap(argument, shape, strides, wanted.box, size, wanted.swizzle)


def _check(view: GlobalView, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    assert view.result is not None
    name = f"the tensor map of `{view.result.name}`"
    for extent in shape:
        if not 1 <= extent <= _MAX_EXTENT:
            raise _mistake(view, f"{name} has an extent of {extent}", "1 to 2**32: launch nothing")
    for stride in strides[1:]:
        if stride % _UNIT or not 0 < stride < _MAX_STRIDE:
            raise _mistake(
                view,
                f"{name} has a stride of {stride} bytes",
                f"multiples of {_UNIT} below 2**40: pad the rows, or take a program without "
                "tensor maps",
            )


def _mistake(view: GlobalView, message: str, hint: str) -> LaunchError:
    notes = [("the view is made here", view.location)]
    return LaunchError(message, call_location(), notes=notes, hint=hint)


@lru_cache(maxsize=1024)
def _encoded(map_: ResolvedMap, pointer: int) -> bytes:
    from .cuda.context import api, check

    driver = api()
    rank = len(map_.shape)
    kinds = driver.CUtensorMapDataType
    dtypes = {
        1: kinds.CU_TENSOR_MAP_DATA_TYPE_UINT8,
        2: kinds.CU_TENSOR_MAP_DATA_TYPE_UINT16,
        4: kinds.CU_TENSOR_MAP_DATA_TYPE_UINT32,
        8: kinds.CU_TENSOR_MAP_DATA_TYPE_UINT64,
    }
    swizzles = driver.CUtensorMapSwizzle
    swizzle = {
        0: swizzles.CU_TENSOR_MAP_SWIZZLE_NONE,
        32: swizzles.CU_TENSOR_MAP_SWIZZLE_32B,
        64: swizzles.CU_TENSOR_MAP_SWIZZLE_64B,
        128: swizzles.CU_TENSOR_MAP_SWIZZLE_128B,
    }[map_.swizzle]
    made = check(
        driver.cuTensorMapEncodeTiled(
            dtypes[map_.element_bytes],
            rank,
            pointer,
            [driver.cuuint64_t(n) for n in map_.shape],
            # One at least: for a tensor of one dimension the driver reads none, but wants some.
            [driver.cuuint64_t(n) for n in map_.strides[1:] or (_UNIT,)],
            [driver.cuuint32_t(n) for n in map_.box],
            [driver.cuuint32_t(1)] * rank,
            driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            driver.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    )
    return ctypes.string_at(int(made.getPtr()), BYTES)
