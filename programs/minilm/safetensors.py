"""A small reader of safetensors files: a JSON header, then the tensors' bytes.

    8 bytes   length of the header, little endian
    header    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    data      the offsets count from here

A file is data from outside: every number in the header is checked against the file's size before
it is used, and nothing is allocated by its word alone.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

LARGEST_HEADER_BYTES = 16 << 20
LARGEST_RANK = 16
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1",
}  # fmt: skip


class SafetensorsError(ValueError):
    """The file isn't a well-formed safetensors file."""


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a file by name, as read-only views of one memory map.

    Raises `SafetensorsError` for a file that contradicts itself or a dtype that isn't numpy's.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, LARGEST_HEADER_BYTES):
            raise SafetensorsError(f"{path.name}: a header of {length} bytes in a file of {size}")
        header = _parse_header(path.name, file.read(length))
    data_bytes = size - 8 - length
    data = np.memmap(path, np.uint8, "r", 8 + length) if data_bytes else np.empty(0, np.uint8)
    return {
        name: _tensor(f"{path.name}: `{name}`", entry, data)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _parse_header(file_name: str, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_unique_names)
    except (ValueError, RecursionError) as error:
        raise SafetensorsError(f"{file_name}: the header is no JSON object: {error}") from None
    if not isinstance(header, dict):
        raise SafetensorsError(f"{file_name}: the header is no JSON object")
    return header


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name occurs twice")
    return names


def _tensor(place: str, entry: Any, data: NDArray[np.uint8]) -> NDArray[Any]:
    if not isinstance(entry, dict):
        raise SafetensorsError(f"{place} has no description")
    dtype = DTYPES.get(str(entry.get("dtype")))
    if dtype is None:
        raise SafetensorsError(f"{place} has the dtype {entry.get('dtype')!r}, which isn't read")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not _counts(shape) or len(shape) > LARGEST_RANK:
        raise SafetensorsError(f"{place} has the shape {shape!r}")
    if not _counts(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= data.size:
        raise SafetensorsError(f"{place} lies at {offsets!r} in {data.size} bytes of data")
    begin, end = offsets
    if prod(shape) * np.dtype(dtype).itemsize != end - begin:
        raise SafetensorsError(f"{place} of {entry['dtype']} {shape} takes {end - begin} bytes")
    return data[begin:end].view(dtype).reshape(shape)


def _counts(value: Any) -> TypeGuard[list[int]]:
    """Whether a JSON value is a list of whole numbers, none negative."""
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)
