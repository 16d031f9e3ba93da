"""Bundles: many cache entries in one file, for shipping kernels and for read-only layers.

    8 bytes    magic and version of the format
    32 bytes   SHA-256 of the index
    8 bytes    length of the index, least significant byte first
    ...        the index, JSON: {"key": [offset, length], ...}, offsets counted from the index's end
    ...        the entries, each as the cache's own files are, with a digest of its own

Reading one entry reads the index and that entry alone. As a layer of the cache a bundle is only
ever read. It holds code, so it must belong to the user or to root, and nobody else may write to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .cache import Entry, decode_entry
from .errors import CacheError

_MAGIC = b"TILELB\x00\x01"
_HEADER = struct.Struct("<8s32sQ")
_ROOT = 0


class Bundle:
    """A bundle's index, read when it is opened.

    Raises:
        CacheError: the file can't be read, is no bundle, is damaged, or others may write to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                _check_owner(path, status)
                self._index, self._start = _read_index(path, file, status.st_size)
        except OSError as error:
            raise CacheError(f"`{path}` can't be read: {error.strerror}") from None
        self._stamp = _stamp(status)

    @property
    def keys(self) -> list[str]:
        """The keys of all entries, sorted."""
        return sorted(self._index)

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none that is whole."""
        data = self.read(key)
        return None if data is None else decode_entry(data)

    def read(self, key: str) -> bytes | None:
        """The bytes of an entry, whatever they are; None where there are none."""
        place = self._index.get(key)
        if place is None:
            return None
        try:
            with self.path.open("rb") as file:
                if _stamp(os.fstat(file.fileno())) != self._stamp:
                    return None  # another file by now
                file.seek(self._start + place[0])
                return file.read(place[1])
        except OSError:
            return None


def write_bundle(path: Path, entries: Mapping[str, bytes]) -> None:
    """Writes the entries (key -> bytes of its file) as a bundle, whole or not at all.

    Raises:
        CacheError: the file can't be written.
    """
    index: dict[str, tuple[int, int]] = {}
    place = 0
    for key, data in sorted(entries.items()):
        index[key] = place, len(data)
        place += len(data)
    listed = json.dumps(index, sort_keys=True).encode("utf-8")
    head = _HEADER.pack(_MAGIC, hashlib.sha256(listed).digest(), len(listed))
    temporary = path.with_name(f".new-{os.getpid()}-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.writelines([head, listed, *(entries[key] for key in index)])
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise CacheError(f"`{path}` can't be written: {error.strerror}") from None


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CacheError(f"`{path}` is no file")
    if status.st_uid not in (os.geteuid(), _ROOT) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheError(
            f"`{path}` isn't used: others own it or may write to it, and it holds code",
            hint=f"`chmod go-w {path}`, or `chown` it",
        )


def _read_index(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, tuple[int, int]], int]:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        raise CacheError(
            f"`{path}` is no bundle of compiled kernels", hint="`tileloom cache export` makes one"
        )
    _, digest, length = _HEADER.unpack(head)
    start = _HEADER.size + length
    data = file.read(length) if start <= size else b""
    if hashlib.sha256(data).digest() != digest:
        raise _damaged(path)
    try:
        index = {str(key): (int(at), int(length)) for key, (at, length) in json.loads(data).items()}
    except (ValueError, TypeError, AttributeError):
        raise _damaged(path) from None
    if any(at < 0 or length < 0 or start + at + length > size for at, length in index.values()):
        raise _damaged(path)
    return index, start


def _damaged(path: Path) -> CacheError:
    return CacheError(f"`{path}` is damaged", hint="export it again")


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
