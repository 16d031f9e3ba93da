"""What a cubin says about its kernels, read without a driver and without NVIDIA's tools.

A cubin is a 64-bit ELF file. For each kernel `k` it has

    .text.k        the code
    .nv.shared.k   (no bytes in the file) the static shared memory; on sm_90 and later its size
                   includes 1024 bytes that the system reserves for itself
    .nv.info       a list of attributes, each: format byte, attribute byte, 16-bit length or value,
                   then for format 4 that many bytes: (symbol number, value) for those read here
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_REGISTERS = 0x2F
_FRAME_SIZE = 0x11
_SIZED_FORMAT = 0x04
_CODE_PREFIX = ".text."
_SHARED_PREFIX = ".nv.shared."


class ElfError(ValueError):
    """Bytes that are no cubin."""


@dataclass(frozen=True)
class KernelInfo:
    """One kernel of a cubin. Sizes in bytes; `registers` and `stack` are a thread's."""

    name: str
    registers: int
    stack: int
    static_shared: int
    code_size: int


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    offset: int
    size: int
    link: int


def read_cubin(cubin: bytes) -> dict[str, KernelInfo]:
    """The kernels of a cubin by name.

    Raises:
        ElfError: the bytes are truncated or no 64-bit ELF file.
    """
    try:
        return _read(cubin)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ElfError(f"no cubin: {error}") from None


def _read(cubin: bytes) -> dict[str, KernelInfo]:
    sections = _sections(cubin)
    by_name = {section.name: section for section in sections}
    registers, frames = _attributes(cubin, sections)
    kernels = {}
    for section in sections:
        if not section.name.startswith(_CODE_PREFIX):
            continue
        name = section.name.removeprefix(_CODE_PREFIX)
        shared = by_name.get(_SHARED_PREFIX + name)
        kernels[name] = KernelInfo(
            name=name,
            registers=registers.get(name, 0),
            stack=frames.get(name, 0),
            static_shared=shared.size if shared else 0,
            code_size=section.size,
        )
    return kernels


def _sections(cubin: bytes) -> list[_Section]:
    if cubin[:5] != b"\x7fELF\x02":
        raise ElfError("no cubin: it doesn't start as a 64-bit ELF file does")
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    entry_size, count, names_at = struct.unpack_from("<HHH", cubin, 0x3A)
    headers = [struct.unpack_from("<IIQQQQI", cubin, table + i * entry_size) for i in range(count)]
    names = headers[names_at][4]
    return [
        _Section(_string(cubin, names + name), kind, offset, size, link)
        for name, kind, _flags, _address, offset, size, link in headers
    ]


def _string(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    if start >= len(data) or end < 0:
        raise ElfError("no cubin: a name lies outside the file")
    return data[start:end].decode("utf-8")


def _attributes(cubin: bytes, sections: list[_Section]) -> tuple[dict[str, int], dict[str, int]]:
    """Registers and stack frame by kernel name, from `.nv.info`."""
    registers: dict[str, int] = {}
    frames: dict[str, int] = {}
    for section in sections:
        if section.name != ".nv.info":
            continue
        symbols = sections[section.link]
        strings = sections[symbols.link]
        for attribute, symbol, value in _entries(cubin, section):
            table = {_REGISTERS: registers, _FRAME_SIZE: frames}.get(attribute)
            if table is not None:
                (name_at,) = struct.unpack_from("<I", cubin, symbols.offset + 24 * symbol)
                table[_string(cubin, strings.offset + name_at)] = value
    return registers, frames


def _entries(cubin: bytes, section: _Section) -> Iterator[tuple[int, int, int]]:
    position, end = section.offset, section.offset + section.size
    while position < end:
        form, attribute, length = struct.unpack_from("<BBH", cubin, position)
        position += 4
        if form == _SIZED_FORMAT:
            if length >= 8:
                symbol, value = struct.unpack_from("<II", cubin, position)
                yield attribute, symbol, value
            position += length
