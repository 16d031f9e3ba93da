"""Arrays of any package, seen as an address, a dtype, a shape and strides.

numpy, torch, cupy and our own `DeviceArray` are read through what their objects say of themselves
(`data_ptr()`, `__cuda_array_interface__`, numpy's attributes), every other one through DLPack.
None of the packages is imported: a torch tensor among the arguments shows that torch is there.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import Dtype

from . import bindings

AnyArray = npt.NDArray[Any]

# What other packages call the dtypes that numpy has none of, or has under another name.
_FOREIGN_NAMES = {
    "bfloat16": "bf16",
    "float8_e4m3fn": "e4m3",
    "float8_e5m2": "e5m2",
    "float8_e8m0fnu": "e8m0",
    "half": "f16",
    "float": "f32",
    "double": "f64",
    "short": "i16",
    "int": "i32",
    "long": "i64",
}
_KINDS = {"f": "f", "i": "i", "u": "u"}
_HOST_DLPACK_DEVICE = 1
_CUDA_DLPACK_DEVICES = (2, 3, 13)  # device, pinned host, managed memory


@dataclass(frozen=True, slots=True)
class Array:
    """A dense or strided array somewhere. Strides in elements; `device` is a GPU's number, or
    None for the host's memory. `owner` keeps the memory alive."""

    address: int
    dtype: str
    itemsize: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    device: int | None
    writable: bool
    owner: object

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of the elements."""
        return self.size * self.itemsize

    @property
    def is_dense(self) -> bool:
        """True if the elements lie row-major without gaps."""
        return self.size <= 1 or self.strides == dense_strides(self.shape, self.strides)

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return "the host's memory" if self.device is None else f"the memory of GPU {self.device}"

    def host_view(self, dtype: npt.DTypeLike) -> AnyArray:
        """The memory of a dense host array as a one-dimensional numpy array, without a copy."""
        assert self.device is None and self.is_dense, self
        count = self.nbytes // np.dtype(dtype).itemsize
        if self.nbytes == 0:
            return np.empty(0, dtype)
        buffer = (ctypes.c_char * self.nbytes).from_address(self.address)
        view: AnyArray = np.frombuffer(memoryview(buffer), dtype, count)
        view.flags.writeable = self.writable
        return view


def dense_strides(shape: tuple[int, ...], given: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Row-major strides in elements; where an extent is 1 any stride will do, so `given`'s."""
    strides = []
    stride = 1
    for axis in reversed(range(len(shape))):
        free = bool(given) and shape[axis] == 1
        strides.append(given[axis] if free else stride)
        stride *= shape[axis]
    return tuple(reversed(strides))


def describe(source: object) -> Array | None:
    """The array behind an object, or None where the object is none.

    Raises:
        VMTypeError: an array whose dtype or device is unknown here.
    """
    if isinstance(source, np.ndarray):
        return _describe_numpy(source)
    if hasattr(source, "data_ptr") and hasattr(source, "stride"):
        return _describe_torch(source)
    interface = getattr(source, "__cuda_array_interface__", None)
    if interface is not None:
        return _describe_cuda_interface(source, interface)
    if hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__"):
        return _describe_dlpack(source)
    return None


def is_array(source: object) -> bool:
    """True for what `describe` would describe."""
    return isinstance(source, np.ndarray) or any(
        hasattr(source, name) for name in ("data_ptr", "__cuda_array_interface__", "__dlpack__")
    )


def _describe_numpy(array: AnyArray) -> Array:
    return Array(
        address=array.__array_interface__["data"][0],
        dtype=numpy_name(array.dtype),
        itemsize=array.itemsize,
        shape=array.shape,
        strides=_whole_strides(array.strides, array.itemsize) if array.size else array.shape,
        device=None,
        writable=array.flags.writeable,
        owner=array,
    )


def _whole_strides(strides: Iterable[int], itemsize: int) -> tuple[int, ...]:
    """Strides of bytes in elements.

    Raises:
        VMTypeError: one is no multiple of an element, as in a field of a record.
    """
    strides = tuple(strides)
    if any(stride % itemsize for stride in strides):
        raise VMTypeError(
            f"an array with strides of {list(strides)} bytes, but elements of {itemsize},"
            " can't be an argument",
            hint="pass a contiguous copy",
        )
    return tuple(stride // itemsize for stride in strides)


def numpy_name(dtype: np.dtype[Any]) -> str:
    """Our name of a numpy dtype (ml_dtypes' included).

    Raises:
        VMTypeError: it has none.
    """
    if dtype.name in _FOREIGN_NAMES:
        return _FOREIGN_NAMES[dtype.name]
    if dtype.kind == "b":
        return "bool"
    if dtype.kind in _KINDS and dtype.isnative:
        return f"{_KINDS[dtype.kind]}{8 * dtype.itemsize}"
    raise VMTypeError(f"arrays of numpy's `{dtype}` can't be arguments")


def _describe_torch(tensor: Any) -> Array:
    kind = tensor.device.type
    if kind not in ("cpu", "cuda"):
        raise VMTypeError(f"tensors on torch's device `{kind}` can't be arguments")
    return Array(
        address=tensor.data_ptr(),
        dtype=torch_name(tensor.dtype),
        itemsize=tensor.element_size(),
        shape=tuple(tensor.shape),
        strides=tuple(tensor.stride()),
        device=tensor.device.index or 0 if kind == "cuda" else None,
        writable=True,
        owner=tensor,
    )


def torch_name(dtype: object) -> str:
    """Our name of a torch dtype.

    Raises:
        VMTypeError: it has none.
    """
    name = str(dtype).removeprefix("torch.")
    if name in _FOREIGN_NAMES:
        return _FOREIGN_NAMES[name]
    try:
        return numpy_name(np.dtype(name))
    except (TypeError, VMTypeError):
        raise VMTypeError(f"tensors of `{dtype}` can't be arguments") from None


def _describe_cuda_interface(source: object, interface: dict[str, Any]) -> Array:
    if interface.get("mask") is not None:
        raise VMTypeError("masked arrays can't be arguments")
    dtype = np.dtype(interface["typestr"])
    shape = tuple(interface["shape"])
    strides = interface.get("strides")
    address, read_only = interface["data"]
    return Array(
        address=address or 0,
        dtype=numpy_name(dtype),
        itemsize=dtype.itemsize,
        shape=shape,
        strides=_whole_strides(strides, dtype.itemsize) if strides else dense_strides(shape),
        device=_device_number(source),
        writable=not read_only,
        owner=source,
    )


def _device_number(source: object) -> int:
    """The GPU of an object with the interface, which doesn't say; 0 where the object doesn't."""
    device = getattr(source, "device", None)
    for attribute in ("ordinal", "id", "index"):
        number = getattr(device, attribute, None)
        if isinstance(number, int):
            return number
    return 0


def _describe_dlpack(source: Any) -> Array:
    kind, number = source.__dlpack_device__()
    if kind == _HOST_DLPACK_DEVICE:
        return _describe_numpy(np.from_dlpack(source))
    if kind not in _CUDA_DLPACK_DEVICES:
        raise VMTypeError(f"arrays on DLPack's device {int(kind)} can't be arguments")
    view = bindings.strided_memory_view(source, stream=0)
    shape = tuple(view.shape)
    return Array(
        address=int(view.ptr),
        dtype=numpy_name(view.dtype),
        itemsize=view.dtype.itemsize,
        shape=shape,
        strides=tuple(view.strides) if view.strides else dense_strides(shape),
        device=int(number),
        writable=not view.readonly,
        owner=(source, view),
    )


def accepts(element: Dtype, array_dtype: str) -> bool:
    """True if an array of that dtype may hold elements of `element`.

    A dtype that no array package has travels as packed bytes (`u8`), bf16 also as `u16`, its
    codes, and tf32 as `f32`.
    """
    if array_dtype == element.name and array_dtype != "bool":
        return True
    if element.name == "bf16":
        return array_dtype == "u16"
    if element.name == "tf32":
        return array_dtype == "f32"
    is_packed = element.bits < 8 or element.numpy is None
    return is_packed and array_dtype == "u8"


def storage(element: Dtype) -> np.dtype[Any]:
    """The numpy dtype in which a host array of `element` is passed."""
    if element.name == "bf16":
        return np.dtype(np.uint16)
    if element.name == "tf32":
        return np.dtype(np.float32)
    if element.numpy is None or element.bits < 8:
        return np.dtype(np.uint8)
    return element.numpy


def packed_nbytes(element: Dtype, count: int) -> int:
    """The bytes `count` elements take in memory."""
    return (count * element.bits + 7) // 8
