"""Which stream a launch goes to.

A caller may name a stream as a number, as any object with `__cuda_stream__`, or as torch's or
cupy's own. Where none is named, torch's current stream is taken if a torch tensor is among the
arguments, cupy's if a cupy array is; otherwise the legacy default stream, 0. Neither package is
imported: their arrays' presence shows that they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from tileloom.vm.diagnostics import UsageError

DEFAULT_STREAM = 0


def stream_handle(stream: object) -> int:
    """The driver's handle of a stream object.

    Raises:
        UsageError: the object is no stream.
    """
    if isinstance(stream, int) and not isinstance(stream, bool):
        return stream
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        # A method by the protocol; some packages made it a property.
        version, handle = protocol() if callable(protocol) else protocol
        if version != 0:
            raise UsageError(f"`__cuda_stream__` of version {version} is not known, only 0")
        return int(handle)
    for attribute in ("cuda_stream", "ptr"):  # torch's, cupy's
        handle = getattr(stream, attribute, None)
        if isinstance(handle, int):
            return handle
    raise UsageError(
        f"`{type(stream).__name__}` is no stream",
        hint="a stream is its handle, an object with `__cuda_stream__`, or torch's or cupy's own",
    )


def current_stream(arrays: Iterable[object], device: int) -> int:
    """The stream that work on these arrays is expected on."""
    for array in arrays:
        package = type(array).__module__.partition(".")[0]
        if package == "torch":
            return torch_stream(device)
        if package == "cupy":
            return cupy_stream()
    return DEFAULT_STREAM


def torch_stream(device: int) -> int:
    """The handle of torch's current stream on a device; torch must be imported already."""
    return _torch_query()(device)


_query: Callable[[int], int] | None = None


def _torch_query() -> Callable[[int], int]:
    global _query
    if _query is None:
        torch: Any = sys.modules["torch"]
        # The raw query takes a tenth of a microsecond, making a Stream object several.
        raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
        _query = raw or (lambda device: int(torch.cuda.current_stream(device).cuda_stream))
    return _query


def cupy_stream() -> int:
    """The handle of cupy's current stream; cupy must be imported already."""
    cupy: Any = sys.modules["cupy"]
    return int(cupy.cuda.get_current_stream().ptr)
