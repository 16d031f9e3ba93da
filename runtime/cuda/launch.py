"""Loading a kernel and launching it with as little Python as possible.

The driver takes an array of addresses, one for each parameter. Both that array and the slots it
points to are made once for a signature; a launch packs the values with one `struct` call and hands
over the array's address as a number. The driver copies the values before it returns.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ArgumentError
from .context import Device, api, check, driver_error

_SLOT_BYTES = 8
_DEFAULT_SHARED_LIMIT = 48 * 1024
# What the driver says where the thread has no context yet, or another device's.
_WRONG_CONTEXT = (201, 400)
_POINTER_BYTES = 8
_BASE_ALIGNMENT = 64


class _Slots:
    """Memory for one launch's values, and the array of their addresses."""

    __slots__ = ("_addresses", "_memory", "address", "buffer", "start")

    def __init__(self, offsets: Sequence[int], size: int) -> None:
        self.buffer = bytearray(size + _BASE_ALIGNMENT)
        self._memory = (ctypes.c_char * len(self.buffer)).from_buffer(self.buffer)
        base = ctypes.addressof(self._memory)
        self.start = -base % _BASE_ALIGNMENT
        slots = [base + self.start + offset for offset in offsets]
        self._addresses = (ctypes.c_void_p * max(len(slots), 1))(*slots)
        self.address = ctypes.addressof(self._addresses)


class ArgumentPacker:
    """Packs a signature's values. `codes` are `struct` codes, one for each parameter: "Q" for a
    pointer, "i", "I", "q", "f", "d", ... for scalars, "128s" for a tensor map."""

    def __init__(self, codes: Sequence[str]) -> None:
        self.num_values = len(codes)
        offsets, form, size = [], "<", 0
        for code in codes:
            width = struct.calcsize("<" + code)
            alignment = _BASE_ALIGNMENT if width > _SLOT_BYTES else _SLOT_BYTES
            padding = -size % alignment
            offsets.append(size + padding)
            form += f"{padding}x{code}" if padding else code
            size = offsets[-1] + width
        self._offsets, self._size = offsets, size
        self._pack_into = struct.Struct(form).pack_into
        # A pool, since several threads may launch at once: taking from a list is atomic.
        self._pool: list[_Slots] = []

    def pack(self, values: Sequence[Any]) -> _Slots:
        """The values in memory; `release` it after the launch.

        Raises:
            ArgumentError: a value that its parameter can't hold.
        """
        slots = self._pool.pop() if self._pool else _Slots(self._offsets, self._size)
        try:
            self._pack_into(slots.buffer, slots.start, *values)
        except struct.error as error:
            self._pool.append(slots)
            raise ArgumentError(f"the arguments don't fit their parameters: {error}") from None
        return slots

    def release(self, slots: _Slots) -> None:
        """Gives the memory back for the next launch."""
        self._pool.append(slots)


@dataclass(frozen=True)
class LaunchAttributes:
    """How a launch differs from the plain one.

    `programmatic` lets the kernel start while the one before it on the stream drains; the kernel
    must wait for it itself (`griddepcontrol.wait`). `cluster` is the cluster's extent in blocks,
    for code that doesn't say it itself, as the compiler's does. A block takes `shared` bytes of
    dynamic shared memory if that is more than it needs: so fewer fit a multiprocessor.
    """

    programmatic: bool = False
    cluster: tuple[int, int, int] = (1, 1, 1)
    shared: int = 0

    @property
    def is_plain(self) -> bool:
        return not self.programmatic and self.cluster == (1, 1, 1) and not self.shared


PLAIN = LaunchAttributes()
PROGRAMMATIC = LaunchAttributes(programmatic=True)


class Library:
    """A cubin on one device, for several of its kernels.

    Raises:
        DriverError: the driver rejects it.
    """

    def __init__(self, device: Device, cubin: bytes) -> None:
        device.activate()
        self.handle = check(api().cuLibraryLoadData(cubin, [], [], 0, [], [], 0))


class LoadedKernel:
    """A kernel of a cubin or library on one device, ready to launch.

    Raises:
        DriverError: the driver rejects the cubin or the amount of shared memory.
    """

    def __init__(
        self,
        device: Device,
        code: bytes | Library,
        name: str,
        num_threads: int,
        dynamic_shared: int,
        codes: Sequence[str],
    ) -> None:
        self._driver = driver = api()
        device.activate()
        self.device, self.name = device, name
        self.num_threads, self.dynamic_shared = num_threads, dynamic_shared
        self.packer = ArgumentPacker(codes)
        self._library = code if isinstance(code, Library) else Library(device, code)
        kernel = check(driver.cuLibraryGetKernel(self._library.handle, name.encode()))
        # Loads the code now, not inside somebody's first measurement or graph capture.
        self.function = check(driver.cuKernelGetFunction(kernel))
        self._shared_limit = _DEFAULT_SHARED_LIMIT
        self._allow_shared(dynamic_shared)
        self._configurations: dict[tuple[Any, ...], Any] = {}

    def _allow_shared(self, nbytes: int) -> None:
        if nbytes > self._shared_limit:
            limit = self._driver.CUfunction_attribute
            kind = limit.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            check(self._driver.cuFuncSetAttribute(self.function, kind, nbytes))
            self._shared_limit = nbytes

    def launch(
        self,
        grid: tuple[int, int, int],
        values: Sequence[Any],
        stream: int = 0,
        attributes: LaunchAttributes = PLAIN,
    ) -> None:
        """Starts the kernel on a stream (its handle) and returns at once.

        Raises:
            ArgumentError: a value its parameter can't hold.
            DriverError: the launch failed, or work before it did.
        """
        slots = self.packer.pack(values)
        try:
            code = self._start(grid, stream, slots.address, attributes)
            if code in _WRONG_CONTEXT:
                with self.device.active():
                    code = self._start(grid, stream, slots.address, attributes)
        finally:
            self.packer.release(slots)
        if code != 0:
            raise driver_error(code).note(
                f"`{self.name}` was launched with grid {list(grid)}, {self.num_threads} threads, "
                f"{self.dynamic_shared} bytes of shared memory"
            )

    def _start(
        self, grid: tuple[int, int, int], stream: int, address: int, attributes: LaunchAttributes
    ) -> Any:
        if attributes is PLAIN or attributes.is_plain:
            return self._driver.cuLaunchKernel(
                self.function, *grid, self.num_threads, 1, 1, self.dynamic_shared, stream,
                address, 0,
            )[0]  # fmt: skip
        configuration = self._configuration(grid, stream, attributes)
        return self._driver.cuLaunchKernelEx(configuration, self.function, address, 0)[0]

    def _configuration(
        self, grid: tuple[int, int, int], stream: int, attributes: LaunchAttributes
    ) -> Any:
        key = (grid, stream, attributes)
        configuration = self._configurations.get(key)
        if configuration is None:
            configuration = self._driver.CUlaunchConfig()
            configuration.gridDimX, configuration.gridDimY, configuration.gridDimZ = grid
            configuration.blockDimX = self.num_threads
            configuration.blockDimY = configuration.blockDimZ = 1
            shared = max(self.dynamic_shared, attributes.shared)
            self._allow_shared(shared)
            configuration.sharedMemBytes = shared
            configuration.hStream = self._driver.CUstream(stream)
            entries = self._attribute_entries(attributes)
            configuration.attrs = entries
            configuration.numAttrs = len(entries)
            self._configurations[key] = configuration
        return configuration

    def _attribute_entries(self, attributes: LaunchAttributes) -> list[Any]:
        kinds = self._driver.CUlaunchAttributeID
        entries = []
        if attributes.programmatic:
            entry = self._driver.CUlaunchAttribute()
            entry.id = kinds.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
            entry.value.programmaticStreamSerializationAllowed = 1
            entries.append(entry)
        if attributes.cluster != (1, 1, 1):
            entry = self._driver.CUlaunchAttribute()
            entry.id = kinds.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
            extent = entry.value.clusterDim
            extent.x, extent.y, extent.z = attributes.cluster
            entries.append(entry)
        return entries

    def active_clusters(self, cluster: tuple[int, int, int]) -> int:
        """How many clusters of an extent the GPU holds at once, as the driver computes it."""
        attributes = LaunchAttributes(cluster=cluster)
        configuration = self._configuration(cluster, 0, attributes)
        count = self._driver.cuOccupancyMaxActiveClusters(self.function, configuration)
        return int(check(count))

    def blocks_per_multiprocessor(self) -> int:
        """How many blocks fit a multiprocessor, as the driver computes it."""
        count = self._driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
            self.function, self.num_threads, self.dynamic_shared
        )
        return int(check(count))
