"""The bindings take the types of argument that the runtime hands them.

Without a driver each call gets as far as looking for it: arguments of a wrong type fail before that
with a TypeError. With a driver the made-up handles would be followed, so then nothing is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cuda.bindings import driver as d

from tileloom.runtime.cuda import context

FUNCTION, STREAM, ADDRESS = d.CUfunction(9), 5, 4096
POINTER, EVENT = d.CUdeviceptr(3), d.CUevent(3)


def link_settings() -> dict[Any, Any]:
    option = d.CUjit_option
    return {
        option.CU_JIT_INFO_LOG_BUFFER: bytearray(64),
        option.CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES: 64,
        option.CU_JIT_ERROR_LOG_BUFFER: bytearray(64),
        option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES: 64,
        option.CU_JIT_OPTIMIZATION_LEVEL: 3,
        option.CU_JIT_GENERATE_LINE_INFO: 1,
        option.CU_JIT_LOG_VERBOSE: 1,
    }


def calls() -> Iterator[tuple[str, tuple[Any, ...]]]:
    shared = d.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    capture = d.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    settings = link_settings()
    yield "cuLaunchKernel", (FUNCTION, 1, 1, 1, 32, 1, 1, 0, STREAM, ADDRESS, 0)
    yield "cuLaunchKernelEx", (d.CUlaunchConfig(), FUNCTION, ADDRESS, 0)
    yield "cuLibraryLoadData", (b"cubin", [], [], 0, [], [], 0)
    yield "cuLibraryGetKernel", (d.CUlibrary(3), b"name")
    yield "cuKernelGetFunction", (d.CUkernel(3),)
    yield "cuFuncSetAttribute", (FUNCTION, shared, 100_000)
    yield "cuOccupancyMaxActiveBlocksPerMultiprocessor", (FUNCTION, 128, 0)
    yield "cuMemAlloc", (16,)
    yield "cuMemFree", (POINTER,)
    yield "cuMemcpyHtoDAsync", (POINTER, ADDRESS, 16, STREAM)
    yield "cuMemcpyDtoHAsync", (ADDRESS, POINTER, 16, STREAM)
    yield "cuMemsetD8Async", (POINTER, 255, 16, STREAM)
    yield "cuStreamSynchronize", (STREAM,)
    yield "cuStreamCreate", (d.CUstream_flags.CU_STREAM_NON_BLOCKING,)
    yield "cuStreamBeginCapture", (STREAM, capture)
    yield "cuStreamEndCapture", (STREAM,)
    yield "cuEventCreate", (0,)
    yield "cuEventRecord", (EVENT, STREAM)
    yield "cuEventSynchronize", (EVENT,)
    yield "cuEventElapsedTime", (EVENT, EVENT)
    yield "cuGraphInstantiate", (d.CUgraph(3), 0)
    yield "cuGraphLaunch", (d.CUgraphExec(3), STREAM)
    yield "cuDevicePrimaryCtxRetain", (d.CUdevice(0),)
    yield "cuDeviceGetName", (128, d.CUdevice(0))
    yield "cuCtxSetCurrent", (d.CUcontext(3),)
    yield "cuLinkCreate", (len(settings), list(settings), list(settings.values()))
    kind = d.CUjitInputType.CU_JIT_INPUT_PTX
    yield "cuLinkAddData", (d.CUlinkState(), kind, b"ptx\0", 4, b"k.ptx", 0, [], [])


@pytest.mark.parametrize(
    ("name", "arguments"), list(calls()), ids=lambda v: v if type(v) is str else ""
)
def test_the_types_of_arguments(name: str, arguments: tuple[Any, ...]) -> None:
    if context.available():
        pytest.skip("a driver would follow the made-up handles")
    with pytest.raises(RuntimeError, match="driver library"):
        getattr(d, name)(*arguments)


def test_a_wrong_type_would_be_seen() -> None:
    if context.available():
        pytest.skip("a driver would follow the made-up handles")
    with pytest.raises(TypeError):
        d.cuLaunchKernel(FUNCTION, 1, 1, 1, 32, 1, 1, 0, STREAM, "no address", 0)


def test_a_launch_attribute_is_a_view_into_its_entry() -> None:
    """`entry.value.x = ...` must reach the entry, and a configuration must copy the entries."""
    entry = d.CUlaunchAttribute()
    entry.id = d.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
    extent = entry.value.clusterDim
    extent.x, extent.y, extent.z = 2, 3, 4
    configuration = d.CUlaunchConfig()
    configuration.attrs = [entry]
    configuration.numAttrs = 1
    del entry, extent
    (copied,) = configuration.attrs
    extent = copied.value.clusterDim
    assert (extent.x, extent.y, extent.z) == (2, 3, 4)
