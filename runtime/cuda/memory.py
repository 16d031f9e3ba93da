"""Arrays in the GPU's memory, for callers that have no torch or cupy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .context import Device, api, check, current_device

AnyArray = npt.NDArray[Any]


class DeviceArray:
    """A dense array of a numpy dtype in a device's memory, freed with the object.

    It passes `data_ptr()` and `__cuda_array_interface__`, so kernels, torch and cupy take it.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, device: Device | None = None
    ) -> None:
        self._driver = driver = api()
        self.device = device or current_device()
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.nbytes = math.prod(shape) * self.dtype.itemsize
        self.device.activate()
        self._owner: DeviceArray | None = None
        # The driver refuses to allocate nothing.
        self._memory: Any = check(driver.cuMemAlloc(max(self.nbytes, 1)))

    @classmethod
    def of(cls, array: AnyArray, device: Device | None = None) -> DeviceArray:
        """A copy of a host array."""
        new = cls(array.shape, array.dtype, device)
        new.copy_from(array)
        return new

    def first(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> DeviceArray:
        """The start of this memory as an array of another shape and dtype, which keeps it."""
        part = object.__new__(DeviceArray)
        part._driver, part.device, part._owner, part._memory = (
            self._driver, self.device, self, self._memory,
        )  # fmt: skip
        part.shape, part.dtype = shape, np.dtype(dtype)
        part.nbytes = math.prod(shape) * part.dtype.itemsize
        assert part.nbytes <= self.nbytes, f"{part.nbytes} bytes of {self.nbytes}"
        return part

    def data_ptr(self) -> int:
        """The address on the device."""
        return int(self._memory)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape, "typestr": self.dtype.str, "data": (self.data_ptr(), False),
            "strides": None, "version": 3,
        }  # fmt: skip

    def copy_from(self, array: AnyArray, stream: int = 0) -> None:
        """Copies from the host, in the order of the stream; waits until it is read."""
        source = np.ascontiguousarray(array, dtype=self.dtype)
        assert source.nbytes == self.nbytes, f"{source.nbytes} bytes into {self.nbytes}"
        if self.nbytes:
            self.device.activate()
            copy = self._driver.cuMemcpyHtoDAsync
            check(copy(self._memory, source.ctypes.data, self.nbytes, stream))
            check(self._driver.cuStreamSynchronize(stream))

    def copy_to(self, array: AnyArray, stream: int = 0) -> None:
        """Copies into a dense host array of the same size, and waits for it."""
        assert array.nbytes == self.nbytes and array.flags.c_contiguous and array.flags.writeable
        if self.nbytes:
            self.device.activate()
            copy = self._driver.cuMemcpyDtoHAsync
            check(copy(array.ctypes.data, self._memory, self.nbytes, stream))
        check(self._driver.cuStreamSynchronize(stream))

    def numpy(self, stream: int = 0) -> AnyArray:
        """A host copy."""
        array = np.empty(self.shape, self.dtype)
        self.copy_to(array, stream)
        return array

    def fill_bytes(self, byte: int, stream: int = 0) -> None:
        """Sets every byte: 0 for zeros, 0xFF to poison (floats become NaN)."""
        if self.nbytes:
            self.device.activate()
            check(self._driver.cuMemsetD8Async(self._memory, byte, self.nbytes, stream))

    def free(self) -> None:
        """Gives the memory back at once; the array can't be used any more."""
        memory, self._memory = self._memory, None
        if memory is not None and self._owner is None:
            self.device.activate()
            check(self._driver.cuMemFree(memory))

    def __del__(self) -> None:
        memory = getattr(self, "_memory", None)
        if memory is None or self._owner is not None:
            return
        # The driver may be gone already when the interpreter ends; there is nobody to tell.
        try:
            self.device.activate()
            self._driver.cuMemFree(memory)
        except Exception:
            return

    def __repr__(self) -> str:
        return f"DeviceArray({self.shape}, {self.dtype.name}, {self.device.name})"
