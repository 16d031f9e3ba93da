"""Finding the toolkit's programs, and choosing the assembler.

ptxas is preferred, since a crash of it doesn't end the user's process; it is looked for where
`cuda.pathfinder` looks (wheels, conda, the toolkit) and on PATH. Then nvJitLink, then the driver.

A search takes a tenth of a second, more than compiling from the disk cache may. So what it found is
kept in that cache, under a key of everything the search looks at: the environment's variables, and
the times at which the folders of installed packages changed.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tileloom.vm.diagnostics import call_location

from . import bindings, options
from .assemblers import INSTALL_HINT, Assembler, DriverAssembler, NvJitLink, Ptxas
from .cache import Entry, disk_cache, key_of
from .errors import ToolMissingError

_CHOICES = ("ptxas", "nvjitlink", "driver")
_SEARCHED_VARIABLES = ("PATH", "CUDA_PATH", "CUDA_HOME", "CONDA_PREFIX", "LD_LIBRARY_PATH")
_SEARCHED_FOLDERS = ("", "nvidia", "nvidia/cu13", "nvidia/cu13/bin", "nvidia/cu13/lib")

_found: dict[str, Assembler | ToolMissingError] = {}


def find_program(name: str) -> str | None:
    """The path of one of the toolkit's programs, or None."""
    try:
        found: str | None = bindings.pathfinder().find_nvidia_binary_utility(name)
    except Exception:  # a pathfinder too old to know the name, or none at all
        found = None
    return found or shutil.which(name)


def find_assembler(choice: str | None = None) -> Assembler:
    """The assembler to use: `choice` ("ptxas", "nvjitlink", "driver" or the path of a ptxas), or
    TILELOOM_ASSEMBLER, or the first that is there.

    Raises:
        ToolMissingError: there is none.
    """
    wanted = choice or options.current().assembler
    place = _fingerprint(wanted)
    found = _found.get(place)
    if found is None:
        found = _remembered(place)
        if found is None:
            found = _search(wanted)
            _remember(place, found)
        _found[place] = found
    if isinstance(found, ToolMissingError):
        # One of its own: what is remembered belongs to no call.
        raise ToolMissingError(found.message, call_location(), notes=found.notes, hint=found.hint)
    return found


def available_assembler() -> Assembler | None:
    """The assembler, or None where there is none."""
    try:
        return find_assembler()
    except ToolMissingError:
        return None


def _search(wanted: str | None) -> Assembler | ToolMissingError:
    failures: list[str] = []
    try:
        for assembler in _candidates(wanted):
            try:
                assembler.identity  # noqa: B018 - asks a program whether it runs
            except ToolMissingError as error:
                if wanted is not None:
                    error.hint = error.hint or "`TILELOOM_ASSEMBLER` names it"
                    return error
                failures.append(error.message)
                continue
            return assembler
    except ToolMissingError as error:
        return error
    return ToolMissingError(
        "there is no assembler: neither `ptxas`, nor nvJitLink, nor a driver",
        notes=failures, hint=INSTALL_HINT,
    )  # fmt: skip


def _candidates(wanted: str | None) -> Iterator[Assembler]:
    """The assemblers to try, best first; with `wanted` only that one."""
    if wanted is not None and wanted not in _CHOICES:
        yield Ptxas(wanted)
        return
    if wanted in (None, "ptxas"):
        path = find_program("ptxas")
        if path is not None:
            yield Ptxas(path)
        elif wanted is not None:
            raise ToolMissingError("`ptxas` isn't there", hint=INSTALL_HINT)
    if wanted in (None, "nvjitlink"):
        yield from _made(NvJitLink, required=wanted is not None)
    if wanted in (None, "driver"):
        yield from _made(DriverAssembler, required=wanted is not None)


def _made(kind: type[NvJitLink] | type[DriverAssembler], required: bool) -> Iterator[Assembler]:
    try:
        yield kind()
    except ToolMissingError:
        if required:
            raise


def _fingerprint(wanted: str | None) -> str:
    """A key of what a search looks at."""
    packages = Path(sysconfig.get_path("purelib"))
    times = [_modified(packages / folder) for folder in _SEARCHED_FOLDERS]
    variables = [os.environ.get(name, "") for name in _SEARCHED_VARIABLES]
    return key_of("assembler", wanted or "", sys.prefix, *variables, *times)


def _modified(path: Path) -> str:
    try:
        return str(path.stat().st_mtime_ns)
    except OSError:
        return ""


def _remember(place: str, found: Assembler | ToolMissingError) -> None:
    """Keeps what was found on disk. A driver isn't kept: it changes without a trace we look at."""
    disk = disk_cache()
    if disk is None or not isinstance(found, Ptxas | NvJitLink):
        return
    fields: dict[str, Any] = {"identity": found.identity}
    if isinstance(found, Ptxas):
        fields |= {"path": found.path, "modified": _modified(Path(found.path))}
    disk.put(place, Entry(fields, b""))


def _remembered(place: str) -> Assembler | None:
    disk = disk_cache()
    entry = disk.get(place) if disk is not None else None
    if entry is None:
        return None
    identity, path = entry.metadata.get("identity"), entry.metadata.get("path")
    if not isinstance(identity, str):
        return None
    if path is None:
        return NvJitLink(identity)
    is_same = entry.metadata.get("modified") == _modified(Path(path)) != ""
    return Ptxas(path, identity) if is_same else None
