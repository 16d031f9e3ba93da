"""The disk cache of compiled kernels.

One entry is one file, so that parts of two compilations never meet:

    8 bytes    magic and version of the format
    32 bytes   SHA-256 of everything after it
    4 bytes    length of the metadata, least significant byte first
    ...        metadata: JSON, UTF-8
    ...        the payload (a cubin)

A file is written beside its place and renamed into it, so a reader sees an entry whole or not at
all; the digest finds torn and damaged ones, which are thrown away and made again. Nothing in a
file is ever executed while it is read. Since a cubin is code, the directory must belong to the
user and nobody else may write to it; otherwise it isn't used.

Beside the directory there may be *layers*: bundles (bundles.py) that are only ever read, and only
where the directory has no such entry.

Two processes that want the same entry make it once: the second waits at a lock that the kernel
releases when its holder dies. A disk that is full, or can't be written, costs one warning.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import stat
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .errors import CacheError, CacheWarning

if TYPE_CHECKING:
    from .bundles import Bundle

_MAGIC = b"TILELM\x00\x01"
_HEADER = struct.Struct("<8s32sI")
_SUFFIX = ".entry"
_TEMPORARY_PREFIX = ".new-"
_NUM_LOCKS = 64
_LOCK_WAIT_S = 300.0
_POLL_S = 0.01
_ABANDONED_S = 3600.0
_MAX_ENTRY_BYTES = 1 << 30


@dataclass(frozen=True)
class Entry:
    """What one file holds."""

    metadata: dict[str, Any]
    payload: bytes


def key_of(*parts: str) -> str:
    """The key of an entry made from `parts`: the same only if every part is the same."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


class DiskCache:
    """Entries in a directory, the least recently used thrown away beyond `max_bytes`; `layers` are
    bundles that are read too."""

    def __init__(self, directory: Path, max_bytes: int, layers: tuple[Path, ...] = ()) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self.layers = layers
        self._usable: bool | None = None
        self._warned = False

    def get(self, key: str) -> Entry | None:
        """The entry, or None where there is none that is whole."""
        entry = self._get_own(key) if self._prepare() else None
        if entry is not None:
            return entry
        layered = (bundle.get(key) for bundle in self._bundles) if self.layers else iter(())
        return next(filter(None, layered), None)

    def _get_own(self, key: str) -> Entry | None:
        path = self._path(key)
        data = self._read(path)
        if data is None:
            return None
        entry = decode_entry(data)
        with suppress(OSError):
            if entry is None:
                path.unlink()
            else:
                os.utime(path)  # the time of the last use, for `prune`
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Stores an entry; a failure is a warning, given once."""
        if not self._prepare():
            return
        temporary = self.directory / f"{_TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(encode_entry(entry))
            os.replace(temporary, self._path(key))
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            self._warn(f"an entry can't be written: {error}")
            return
        self.prune()

    def get_or_make(self, key: str, make: Callable[[], Entry]) -> Entry:
        """The entry of `key`, made and stored if there is none.

        Errors of `make` pass and store nothing.
        """
        entry = self.get(key)
        if entry is not None:
            return entry
        if not self._prepare():
            return make()
        with self._lock(f"{int(key[:8], 16) % _NUM_LOCKS:02d}", _LOCK_WAIT_S):
            entry = self.get(key)  # another process may have made it meanwhile
            if entry is None:
                entry = make()
                self.put(key, entry)
        return entry

    def entries(self) -> dict[str, os.stat_result]:
        """The keys of the directory's entries, and the status of their files."""
        found = sorted(self._files()) if self._prepare() else []
        return {path.stem: status for path, status in found}

    def read(self, key: str) -> bytes | None:
        """The bytes of an entry's file as they are; None where there are none that may be used:
        somebody else owns them or may write to them."""
        return self._read(self._path(key))

    def remove(self, key: str) -> None:
        """Throws one entry away."""
        with suppress(OSError):
            self._path(key).unlink()

    @cached_property
    def _bundles(self) -> list[Bundle]:
        from .bundles import Bundle

        opened = []
        for path in self.layers:
            try:
                opened.append(Bundle(path))
            except CacheError as error:
                warnings.warn(f"a layer of the cache: {error.message}", CacheWarning, stacklevel=4)
        return opened

    def prune(self) -> None:
        """Throws away what was used longest ago until the rest fits, and abandoned files."""
        with self._lock("prune", wait_s=0.0) as held:
            if not held:
                return  # another process is at it
            files = sorted(self._files(), key=lambda f: f[1].st_mtime, reverse=True)
            total = 0
            for path, status in files:
                total += status.st_size
                if total > self.max_bytes:
                    with suppress(OSError):
                        path.unlink()

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        now = time.time()
        with suppress(OSError), os.scandir(self.directory) as listing:
            for item in listing:
                with suppress(OSError):
                    status = item.stat(follow_symlinks=False)
                    if item.name.endswith(_SUFFIX):
                        yield Path(item.path), status
                    elif item.name.startswith(_TEMPORARY_PREFIX) and (
                        now - status.st_mtime > _ABANDONED_S
                    ):
                        os.unlink(item.path)

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}{_SUFFIX}"

    def _read(self, path: Path) -> bytes | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not _is_private(status) or status.st_size > _MAX_ENTRY_BYTES:
                return None
            try:
                return file.read()
            except OSError:
                return None

    def _prepare(self) -> bool:
        """Makes the directory; False where it can't be used."""
        if self._usable is None:
            reason = self.why_unusable()
            self._usable = reason is None
            if reason is not None:
                self._warn(reason)
        return self._usable

    def why_unusable(self) -> str | None:
        """What is wrong with the directory, which is made if it isn't there; None: nothing."""
        try:
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.directory.mkdir(mode=0o700)
            status = self.directory.stat()
        except OSError as error:
            return f"the directory can't be made: {error}"
        if not stat.S_ISDIR(status.st_mode):
            return "it is no directory"
        if not _is_private(status):
            return "others own it or may write to it, and it holds code; `chmod 700` it"
        return None

    @contextmanager
    def _lock(self, name: str, wait_s: float) -> Iterator[bool]:
        """Holds a lock of this name; gives False, and holds nothing, where it can't be had.

        A lock is the kernel's, on a file that stays: it ends with its holder, however that ends.
        """
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.directory / f".lock-{name}", flags, 0o600)
        except OSError:
            yield False
            return
        try:
            yield _acquire(descriptor, wait_s)
        finally:
            os.close(descriptor)

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"the disk cache `{self.directory}` isn't used: {text}", CacheWarning, stacklevel=3
            )


def _acquire(descriptor: int, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            # Better the same work twice than a wait without end on a broken network disk.
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        except OSError:  # a file system without locks
            return False


def _is_private(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def encode_entry(entry: Entry) -> bytes:
    """The bytes of an entry's file."""
    metadata = json.dumps(entry.metadata, sort_keys=True).encode("utf-8")
    body = struct.pack("<I", len(metadata)) + metadata + entry.payload
    return _MAGIC + hashlib.sha256(body).digest() + body


def decode_entry(data: bytes) -> Entry | None:
    """The entry in a file's bytes, or None where they aren't one, whole and undamaged."""
    if len(data) < _HEADER.size:
        return None
    magic, digest, length = _HEADER.unpack_from(data)
    body = memoryview(data)[len(_MAGIC) + hashlib.sha256().digest_size :]
    if magic != _MAGIC or hashlib.sha256(body).digest() != digest:
        return None
    end = _HEADER.size + length
    if end > len(data):
        return None
    try:
        metadata = json.loads(data[_HEADER.size : end])
    except ValueError:
        return None
    return Entry(metadata, data[end:]) if isinstance(metadata, dict) else None


_caches: dict[tuple[Path, int, tuple[Path, ...]], DiskCache] = {}


def disk_cache() -> DiskCache | None:
    """The cache the options name, or None where they turn it off."""
    settings = options.current()
    if not settings.cache_enabled:
        return None
    identity = (settings.cache_dir, settings.cache_bytes, settings.cache_layers)
    return _caches.setdefault(identity, DiskCache(*identity))
