"""The one place that imports NVIDIA's Python packages.

They are imported when first needed, since they cost tens of milliseconds, and they have no types
that mypy could read: what leaves this module is `Any`, and the modules around it give it types.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def driver() -> Any:
    """`cuda.bindings.driver`; nothing of the driver itself is loaded yet."""
    from cuda.bindings import driver

    return driver


@cache
def nvjitlink() -> Any:
    """`cuda.bindings.nvjitlink`; the library is loaded by the first call of a function in it."""
    from cuda.bindings import nvjitlink

    return nvjitlink


@cache
def pathfinder() -> Any:
    """`cuda.pathfinder`, which finds the toolkit's programs and libraries."""
    from cuda import pathfinder

    return pathfinder


def strided_memory_view(source: object, stream: int) -> Any:
    """`cuda.core`'s view of an object that speaks DLPack only."""
    from cuda.core.utils import StridedMemoryView

    return StridedMemoryView.from_dlpack(source, stream_ptr=stream)
