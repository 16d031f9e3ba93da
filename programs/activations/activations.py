"""Activations in 8 bits as an object, and `quantize_activations`, which makes one on any device."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom.runtime.arrays import Array, dense_strides, describe, storage
from tileloom.vm.diagnostics import (
    LaunchError,
    ShapeError,
    VMTypeError,
    VMValueError,
    did_you_mean,
    user_errors,
)
from tileloom.vm.dtypes import dtype

from .program import LARGEST, quantize_rows
from .schedule import RUN, schedule_for

DTYPES = tuple(LARGEST)
SOURCES = ("f16", "bf16", "f32")
GROUPS = tuple(2**i for i in range(5, 15))
_TORCH_NAMES = {"i8": "int8", "e4m3": "float8_e4m3fn", "f32": "float32"}


@dataclass(frozen=True, eq=False)
class Activations:
    """Rows of k activations, quantized: x[..., i] is about codes[row, i] * scales[row, i / group].

    `codes` [m, stride] are int8, or the codes of e4m3 (torch's `float8_e4m3fn`, uint8 in numpy),
    `stride` a multiple of 16 and zeros from k on; `scales` f32 [m, 1], or [m, ceil(k / group)].
    `leading` are x's dimensions before the last, whose product is m.
    """

    codes: Any
    scales: Any
    k: int
    dtype: str
    group: int = 0  # 0: a scale for each row
    leading: tuple[int, ...] = ()

    @user_errors()
    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        _check_group(self.group)
        codes, scales = _described("codes", self.codes), _described("scales", self.scales)
        if codes.dtype not in (self.dtype, "u8") or (self.dtype == "i8" and codes.dtype != "i8"):
            raise VMTypeError(f"`codes` are `{codes.dtype}`, not `{self.dtype}`")
        if scales.dtype != "f32":
            raise VMTypeError(f"`scales` are `{scales.dtype}`, not `f32`")
        if len(codes.shape) != 2 or codes.shape[1] % RUN or not 0 <= self.k <= codes.shape[1]:
            raise ShapeError(
                f"`codes` are {list(codes.shape)} for rows of {self.k}",
                hint=f"[m, stride], the stride a multiple of {RUN}, padded with zeros",
            )
        if scales.shape != (codes.shape[0], self.num_groups):
            raise ShapeError(f"`scales` are {list(scales.shape)}, not {[self.m, self.num_groups]}")
        if not self.leading:
            object.__setattr__(self, "leading", (self.m,))
        if prod(self.leading) != self.m:
            raise ShapeError(f"`leading` is {self.leading}, but there are {self.m} rows")

    @property
    def m(self) -> int:
        """Rows: tokens."""
        return int(self.codes.shape[0])

    @property
    def stride(self) -> int:
        """Bytes from row to row."""
        return int(self.codes.shape[1])

    @property
    def num_groups(self) -> int:
        """Scales of a row."""
        return -(-self.k // self.group) if self.group else 1

    def dequantize(self) -> NDArray[np.float64]:
        """The values [m, k] these codes stand for, in float64, on the host."""
        codes, scales = _to_numpy(self.codes, self.dtype), _to_numpy(self.scales, "f32")
        values = np.asarray(dtype(self.dtype).decode(codes.view(np.uint8)), np.float64)
        width = self.group or max(self.k, 1)
        spread = np.repeat(scales.astype(np.float64), width, axis=1)[:, : self.k]
        result: NDArray[np.float64] = values[:, : self.k] * spread
        return result


@user_errors()
def quantize_activations(
    x: Any,
    dtype_name: str = "i8",
    group: int = 0,
    *,
    out: Activations | None = None,
    device: str | None = None,
) -> Activations:
    """x [..., k], of f16, bf16 or f32, as 8-bit codes with a scale for each row, or for each
    `group` (a power of two from 32 on) of its elements.

    `dtype_name` is "i8" or "e4m3". On a GPU the work goes to the caller's current stream, into
    `out` if that is given: then nothing is allocated. Elements must be finite.

    Raises:
        VMError: x is no array of floats or not contiguous, or the rest doesn't fit it.
    """
    check_dtype(dtype_name)
    _check_group(group)
    array = _described("x", x)
    element = "bf16" if array.dtype == "u16" else array.dtype
    if element not in SOURCES:
        raise VMTypeError(
            f"`x` is `{array.dtype}`, which can't be quantized", hint="f16, bf16 or f32"
        )
    if not array.shape:
        raise ShapeError("`x` is a single number", hint="[..., k]")
    if array.size > 1 and array.strides != dense_strides(array.shape, array.strides):
        raise LaunchError("`x` is not contiguous", hint="pass a contiguous copy")
    *leading, k = array.shape
    made = _empty(x, dtype_name, tuple(leading), k, group) if out is None else out
    if (made.dtype, made.k, made.group, made.m) != (dtype_name, k, group, prod(leading)):
        raise ShapeError(
            f"`out` holds {made.m} rows of {made.k} in `{made.dtype}`, groups of {made.group}, "
            f"the result {prod(leading)} of {k} in `{dtype_name}`, groups of {group}"
        )
    if made.m and made.stride:
        rows = x if len(leading) == 1 else x.reshape(made.m, k)
        quantize_rows(
            rows, made.codes, made.scales, made.m, k, made.stride, device=device,
            element=element, out=dtype_name, group=group,
            vector=_vector(array, k), schedule=schedule_for(k, group),
        )  # fmt: skip
    return made


def check_dtype(name: str) -> None:
    """Raises a `VMError` unless activations can be quantized to the dtype of that name."""
    if name not in DTYPES:
        raise VMTypeError(
            f"activations can't be quantized to `{name}`",
            hint=did_you_mean(name, DTYPES) or f"one of {', '.join(DTYPES)}",
        )


def stride_of(k: int) -> int:
    """Bytes from row to row of codes for rows of k elements."""
    return -(-k // RUN) * RUN


def _check_group(group: int) -> None:
    if group and group not in GROUPS:
        raise VMValueError(
            f"`group` is {group!r}", hint="0 (a scale for each row) or a power of two from 32 on"
        )


def _described(name: str, source: Any) -> Array:
    array = describe(source)
    if array is None:
        raise VMTypeError(f"`{name}` is a {type(source).__name__}, not an array")
    return array


def _vector(array: Array, k: int) -> int:
    """The elements that rows and their start are multiples of, as far as loads profit."""
    widest = 16 // array.itemsize
    return next(
        v
        for v in (8, 4, 2, 1)
        if v <= widest and k % v == 0 and array.address % (v * array.itemsize) == 0
    )


def _empty(x: Any, name: str, leading: tuple[int, ...], k: int, group: int) -> Activations:
    """Room for the result, of x's own package and place."""
    m, stride = prod(leading), stride_of(k)
    shapes = ((m, stride), (m, -(-k // group) if group else 1))
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(x, torch.Tensor):
        arrays = [
            torch.empty(shape, dtype=getattr(torch, _TORCH_NAMES[kind]), device=x.device)
            for shape, kind in zip(shapes, (name, "f32"), strict=True)
        ]
    else:
        package = cupy if cupy is not None and isinstance(x, cupy.ndarray) else np
        arrays = [
            package.empty(shape, storage(dtype(kind)))
            for shape, kind in zip(shapes, (name, "f32"), strict=True)
        ]
    return Activations(arrays[0], arrays[1], k, name, group, leading)


def _to_numpy(array: Any, name: str) -> NDArray[Any]:
    """An array on the host, codes as bytes."""
    if hasattr(array, "detach"):
        array = array.detach()
        if name != "f32":
            array = array.view(sys.modules["torch"].uint8)
        return np.asarray(array.cpu().numpy())
    return np.asarray(array.get() if hasattr(array, "get") else array)
