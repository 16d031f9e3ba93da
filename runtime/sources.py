"""One hash of everything that decides what a program compiles to: our own sources.

Reading them all takes longer than a hit in the disk cache may. So the hash is kept in that cache,
under a key of every file's path, size and time of change; only the content counts in the end.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from tileloom import layouts, vm

from .cache import Entry, disk_cache, key_of

_SUFFIXES = (".py", ".lark")


@cache
def compiler_hash() -> str:
    """The hash of the packages from `layouts` to `runtime`."""
    own = Path(__file__).parent
    # The compiler by its place beside ours: importing it is what a hit saves.
    folders = [Path(layouts.__path__[0]), Path(vm.__path__[0]), own.parent / "compiler", own]
    files = [sorted(_files(str(folder))) for folder in folders]
    disk = disk_cache()
    if disk is None:
        return source_hash(folders)
    stamp = key_of("sources", *(f"{path} {size} {time}" for f in files for path, size, time in f))
    entry = disk.get(stamp)
    found = entry.metadata.get("hash") if entry is not None else None
    if not isinstance(found, str):
        found = source_hash(folders)
        disk.put(stamp, Entry({"hash": found}, b""))
    return found


def source_hash(folders: Sequence[Path]) -> str:
    """A hash over the content of every source file in `folders`, by path below each."""
    digest = hashlib.sha256()
    for folder in folders:
        for path, _, _ in sorted(_files(str(folder))):
            digest.update(os.path.relpath(path, folder).encode() + b"\0")
            digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()


def _files(folder: str) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of change (ns) of every source file below a folder."""
    with os.scandir(folder) as listing:
        for item in listing:
            if item.name.endswith(_SUFFIXES):
                status = item.stat()
                yield item.path, status.st_size, status.st_mtime_ns
            elif item.is_dir() and item.name != "__pycache__":
                yield from _files(item.path)
