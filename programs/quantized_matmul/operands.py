"""The arrays of one call of `linear`, checked: what x is, what y will be."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tileloom.runtime.arrays import Array, dense_strides, describe, storage
from tileloom.vm.diagnostics import LaunchError, ShapeError, VMTypeError
from tileloom.vm.dtypes import dtype

from .packing import ACTIVATIONS, Packed

OUTPUTS = ("f16", "bf16", "f32")
_TORCH_NAMES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}


@dataclass(frozen=True)
class Operands:
    """x as [m, k], and how y is to be. `source` is the user's own x."""

    x: Array
    m: int
    leading: tuple[int, ...]
    out: str
    source: Any

    @property
    def on_device(self) -> bool:
        return self.x.device is not None


def check(x: Any, packed: Packed, out_dtype: Any = None, out: Any = None) -> Operands:
    """What a call of `linear` works on.

    Raises:
        VMError: x or out is no array, or has the wrong dtype, shape, strides or place.
    """
    array = describe(x)
    if array is None:
        raise VMTypeError(
            f"`x` is a Python {type(x).__name__}, not an array",
            hint="pass a numpy, torch or cupy array [m, k]",
        )
    activation = _activation(array, packed)
    if not array.shape or array.shape[-1] != packed.k:
        raise ShapeError(
            f"`x` is {list(array.shape)} but the weight takes {packed.k} inputs",
            hint=f"the last dimension of `x` must be {packed.k}",
        )
    if array.strides != dense_strides(array.shape, array.strides) and array.size > 1:
        raise LaunchError(
            f"`x` is not contiguous: shape {list(array.shape)}, strides {list(array.strides)}",
            hint="pass `x.contiguous()` (torch) or `numpy.ascontiguousarray(x)`",
        )
    _check_aligned("x", array)
    leading = array.shape[:-1]
    given = describe(out) if out is not None else None
    wanted = output_name(out_dtype, given, activation)
    if given is not None:
        check_out(given, (*leading, packed.n), wanted, array)
    return Operands(array, prod(leading), leading, wanted, x)


def activation_of(array: Array) -> str:
    """The activation dtype of an array: uint16 holds bf16 codes."""
    return "bf16" if array.dtype == "u16" else array.dtype


def _activation(array: Array, packed: Packed) -> str:
    name = activation_of(array)
    if name not in ACTIVATIONS:
        raise VMTypeError(
            f"`x` is `{array.dtype}`, not f16 or bf16",
            hint=f"cast it to {packed.activation}; bf16 may also come as its codes in uint16",
        )
    return name


def output_name(out_dtype: Any, given: Array | None, activation: str) -> str:
    """The dtype of y: as asked for, or `out`'s, or the activation's.

    Raises:
        VMTypeError: results have no such dtype.
    """
    if out_dtype is None:
        return activation_of(given) if given is not None else activation
    own_name = out_dtype.__name__ if isinstance(out_dtype, type) else out_dtype  # numpy.float32
    text = str(getattr(out_dtype, "name", own_name)).removeprefix("torch.")
    names = {"float16": "f16", "bfloat16": "bf16", "float32": "f32"}
    name = names.get(text, text)
    if name not in OUTPUTS:
        raise VMTypeError(f"`out_dtype` is `{text}`", hint=f"one of {', '.join(OUTPUTS)}")
    return name


def check_out(given: Array, shape: tuple[int, ...], wanted: str, x: Array) -> None:
    """Raises a `VMError` unless `out` is as the result of x will be, and memory of its own."""
    if given.shape != shape:
        raise ShapeError(f"`out` is {list(given.shape)}, the result {list(shape)}")
    if activation_of(given) != wanted or wanted not in OUTPUTS:
        raise VMTypeError(f"`out` is `{given.dtype}`, the result `{wanted}`")
    if not given.is_dense or not given.writable:
        raise LaunchError("`out` must be contiguous and writable")
    if given.device != x.device:
        raise LaunchError(f"`out` is in {given.place} but `x` in {x.place}")
    _check_aligned("out", given)
    _check_apart(given, "x", x)


def _check_aligned(name: str, array: Array) -> None:
    """Elements lie at multiples of their size: a kernel reads nothing less."""
    if array.size and array.address % array.itemsize:
        raise LaunchError(
            f"`{name}` starts at an address that is no multiple of {array.itemsize} bytes",
            hint="pass a copy of it",
        )


def _check_apart(out: Array, name: str, other: Array) -> None:
    """Blocks write some of y while others still read: the memories must be apart."""
    if out.address < other.address + other.nbytes and other.address < out.address + out.nbytes:
        raise LaunchError(
            f"`out` shares memory with `{name}`",
            hint=f"every element of the result needs all of `{name}`: pass another array",
        )


def empty_output(operands: Operands, n: int) -> Any:
    """A new array for y, of x's own package and place."""
    shape = (*operands.leading, n)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(operands.source, torch.Tensor):
        kind = getattr(torch, _TORCH_NAMES[operands.out])
        return torch.empty(shape, dtype=kind, device=operands.source.device)
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(operands.source, cupy.ndarray):
        return cupy.empty(shape, storage(dtype(operands.out)))
    own = getattr(operands.source, "dtype", None)
    if operands.out == "bf16" and getattr(own, "name", "") == "bfloat16":
        return np.empty(shape, own)  # ml_dtypes'
    return np.empty(shape, storage(dtype(operands.out)))


def bias_array(bias: Any, n: int, out: Any = None) -> tuple[Any, str]:
    """The bias [n] and its dtype's name, "" without one.

    Raises:
        VMError: it is no float array of n elements, or shares memory with `out`.
    """
    if bias is None:
        return None, ""
    array = describe(bias)
    if array is None or array.shape != (n,):
        shape = "no array" if array is None else f"{list(array.shape)}"
        raise ShapeError(f"`bias` is {shape}, not [{n}]")
    name = activation_of(array)
    if name == "f64":
        return np.ascontiguousarray(bias, np.float32), "f32"
    if name not in OUTPUTS:
        raise VMTypeError(f"`bias` is `{array.dtype}`", hint=f"one of {', '.join(OUTPUTS)}")
    if not array.is_dense:
        raise LaunchError("`bias` must be contiguous")
    _check_aligned("bias", array)
    given = describe(out) if out is not None else None
    if given is not None and given.device == array.device:
        _check_apart(given, "bias", array)
    return bias, name
