"""A stand-in for `cuda.bindings.driver`: host memory for device memory, and every launch noted.

Only the calls the runtime makes are here, with the shapes of their results: (code, value, ...).
Types that hold values only (CUresult, CUlaunchConfig, ...) are the real ones.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

from cuda.bindings import driver as real

_OK = real.CUresult.CUDA_SUCCESS


@dataclass
class Launch:
    """One launch: the values are read from the addresses, as the driver would."""

    function: Any
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    stream: int
    words: list[int]


@dataclass
class FakeDriver:
    """`num_params` says how many values a launch has; `failures` are codes to return, by call."""

    num_params: int = 0
    capability: tuple[int, int] = (9, 0)
    count: int = 1
    calls: list[str] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    configurations: list[Any] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)
    maps: list[Any] = field(default_factory=list)
    failures: dict[str, list[int]] = field(default_factory=dict)
    attributes: dict[str, int] = field(default_factory=dict)
    context: int = 0
    times: dict[int, float] = field(default_factory=dict)
    milliseconds: float = 0.0
    recording: list[Launch] | None = None
    graph: list[Launch] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("CU", "cuuint")):
            return getattr(real, name)
        raise AttributeError(name)

    def _code(self, name: str) -> Any:
        self.calls.append(name)
        codes = self.failures.get(name)
        return real.CUresult(codes.pop(0)) if codes else _OK

    def cuInit(self, flags: int) -> Any:  # noqa: N802
        return (self._code("cuInit"),)

    def cuGetErrorString(self, code: Any) -> Any:  # noqa: N802
        return _OK, b"a description"

    def cuDeviceGetCount(self) -> Any:  # noqa: N802
        return self._code("cuDeviceGetCount"), self.count

    def cuDriverGetVersion(self) -> Any:  # noqa: N802
        return _OK, 13010

    def cuDeviceGet(self, ordinal: int) -> Any:  # noqa: N802
        return _OK, real.CUdevice(ordinal)

    def cuDeviceGetName(self, length: int, device: Any) -> Any:  # noqa: N802
        return _OK, b"Fake GPU\0\0"

    def cuDevicePrimaryCtxRetain(self, device: Any) -> Any:  # noqa: N802
        return _OK, real.CUcontext(0x1000 + int(device))

    def cuDeviceGetAttribute(self, attribute: Any, device: Any) -> Any:  # noqa: N802
        major, minor = self.capability
        values = {"COMPUTE_CAPABILITY_MAJOR": major, "COMPUTE_CAPABILITY_MINOR": minor}
        return _OK, values.get(attribute.name.removeprefix("CU_DEVICE_ATTRIBUTE_"), 132)

    def cuCtxGetCurrent(self) -> Any:  # noqa: N802
        return _OK, real.CUcontext(self.context)

    def cuCtxSetCurrent(self, context: Any) -> Any:  # noqa: N802
        self.context = int(context)
        return (self._code("cuCtxSetCurrent"),)

    def cuCtxGetDevice(self) -> Any:  # noqa: N802
        return _OK, real.CUdevice(self.context - 0x1000)

    def cuCtxSynchronize(self) -> Any:  # noqa: N802
        return (self._code("cuCtxSynchronize"),)

    def cuStreamSynchronize(self, stream: int) -> Any:  # noqa: N802
        return (self._code("cuStreamSynchronize"),)

    def cuMemAlloc(self, nbytes: int) -> Any:  # noqa: N802
        memory = (ctypes.c_char * (nbytes + 256))()
        address = ctypes.addressof(memory) + (-ctypes.addressof(memory)) % 256
        self.memory[address] = memory
        return self._code("cuMemAlloc"), real.CUdeviceptr(address)

    def cuMemFree(self, pointer: Any) -> Any:  # noqa: N802
        del self.memory[int(pointer)]
        return (self._code("cuMemFree"),)

    def cuMemcpyHtoDAsync(self, target: Any, source: int, n: int, stream: int) -> Any:  # noqa: N802
        ctypes.memmove(int(target), source, n)
        return (self._code("cuMemcpyHtoDAsync"),)

    def cuMemcpyDtoHAsync(self, target: int, source: Any, n: int, stream: int) -> Any:  # noqa: N802
        ctypes.memmove(target, int(source), n)
        return (self._code("cuMemcpyDtoHAsync"),)

    def cuMemsetD8Async(self, pointer: Any, byte: int, n: int, stream: int) -> Any:  # noqa: N802
        ctypes.memset(int(pointer), byte, n)
        return (self._code("cuMemsetD8Async"),)

    def cuLibraryLoadData(self, code: bytes, *options: Any) -> Any:  # noqa: N802
        return self._code("cuLibraryLoadData"), real.CUlibrary(7)

    def cuLibraryGetKernel(self, library: Any, name: bytes) -> Any:  # noqa: N802
        return self._code("cuLibraryGetKernel"), real.CUkernel(8)

    def cuKernelGetFunction(self, kernel: Any) -> Any:  # noqa: N802
        return self._code("cuKernelGetFunction"), real.CUfunction(9)

    def cuFuncSetAttribute(self, function: Any, attribute: Any, value: int) -> Any:  # noqa: N802
        self.attributes[attribute.name] = value
        return (self._code("cuFuncSetAttribute"),)

    def cuLaunchKernel(self, function: Any, *rest: Any) -> Any:  # noqa: N802
        gx, gy, gz, bx, by, bz, shared, stream, address, extra = rest
        assert extra == 0
        code = self._code("cuLaunchKernel")
        if code == _OK:
            words = read_words(address, self.num_params)
            launch = Launch(function, (gx, gy, gz), (bx, by, bz), shared, stream, words)
            if self.recording is not None:
                self.recording.append(launch)
            else:
                self.launches.append(launch)
                self.milliseconds += 1.0
        return (code,)

    def cuLaunchKernelEx(self, config: Any, function: Any, address: int, extra: int) -> Any:  # noqa: N802
        self.configurations.append(config)
        return (self._code("cuLaunchKernelEx"),)

    def cuTensorMapEncodeTiled(self, *settings: Any) -> Any:  # noqa: N802
        """A map whose first word is the tensor's address."""
        self.maps.append(settings)
        made = real.CUtensorMap()
        ctypes.c_uint64.from_address(int(made.getPtr())).value = settings[2]
        return self._code("cuTensorMapEncodeTiled"), made

    # Streams, events and graphs. Time passes by one millisecond at each launch.

    def cuStreamCreate(self, flags: int) -> Any:  # noqa: N802
        return self._code("cuStreamCreate"), real.CUstream(100 + self.calls.count("cuStreamCreate"))

    def cuEventCreate(self, flags: int) -> Any:  # noqa: N802
        event = real.CUevent(1000 + self.calls.count("cuEventCreate"))
        return self._code("cuEventCreate"), event

    def cuEventRecord(self, event: Any, stream: int) -> Any:  # noqa: N802
        self.times[int(event)] = self.milliseconds
        return (self._code("cuEventRecord"),)

    def cuEventSynchronize(self, event: Any) -> Any:  # noqa: N802
        return (self._code("cuEventSynchronize"),)

    def cuEventElapsedTime(self, start: Any, end: Any) -> Any:  # noqa: N802
        return self._code("cuEventElapsedTime"), self.times[int(end)] - self.times[int(start)]

    def cuStreamBeginCapture(self, stream: int, mode: Any) -> Any:  # noqa: N802
        self.recording = []
        return (self._code("cuStreamBeginCapture"),)

    def cuStreamEndCapture(self, stream: int) -> Any:  # noqa: N802
        self.graph, self.recording = self.recording or [], None
        return self._code("cuStreamEndCapture"), real.CUgraph(3)

    def cuGraphInstantiate(self, graph: Any, flags: int) -> Any:  # noqa: N802
        return self._code("cuGraphInstantiate"), real.CUgraphExec(4)

    def cuGraphLaunch(self, executable: Any, stream: int) -> Any:  # noqa: N802
        self.launches += self.graph
        self.milliseconds += len(self.graph)
        return (self._code("cuGraphLaunch"),)

    def cuGraphDestroy(self, graph: Any) -> Any:  # noqa: N802
        return (self._code("cuGraphDestroy"),)

    def cuGraphExecDestroy(self, executable: Any) -> Any:  # noqa: N802
        return (self._code("cuGraphExecDestroy"),)


def read_words(address: int, count: int) -> list[int]:
    """The 64-bit words behind an array of `count` addresses."""
    addresses = (ctypes.c_void_p * count).from_address(address) if count else []
    return [ctypes.c_uint64.from_address(a).value for a in addresses]
