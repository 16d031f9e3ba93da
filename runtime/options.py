"""Every environment variable and option of the runtime, in one place.

The environment is read anew each time it is asked, so a test or a notebook may change it. The table
`VARIABLES` is what the command line prints.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from tileloom.vm.diagnostics import UsageError

VARIABLES: dict[str, str] = {
    "TILELOOM_DEVICE": "the device where none is given: cuda, interpreter or emulator",
    "TILELOOM_CACHE": "0 turns the disk cache of compiled kernels off",
    "TILELOOM_CACHE_DIR": "the disk cache's directory (default: ~/.cache/tileloom)",
    "TILELOOM_CACHE_BYTES": "the disk cache's size bound in bytes (default: 1073741824)",
    "TILELOOM_CACHE_LAYERS": "bundles of compiled kernels to read from too, as PATH lists folders",
    "TILELOOM_ASSEMBLER": "ptxas, nvjitlink, driver, or the path of a ptxas; default: first found",
    "TILELOOM_ASSEMBLER_FLAGS": "more flags for the assembler, as a shell would split them",
    "TILELOOM_ASSEMBLER_TIMEOUT": "seconds one run of ptxas may take (default: 600)",
    "TILELOOM_KEEP_DIR": "where PTX the assembler rejects is kept (default: a new temporary one)",
    "TILELOOM_FULL_TRACEBACK": "1 keeps tileloom's own frames in tracebacks",
}

DEFAULT_CACHE_BYTES = 1 << 30
DEFAULT_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Options:
    """The runtime's settings. Sizes in bytes, times in seconds."""

    cache_enabled: bool
    cache_dir: Path
    cache_bytes: int
    cache_layers: tuple[Path, ...]
    assembler: str | None
    assembler_flags: tuple[str, ...]
    assembler_timeout_s: float
    keep_dir: Path | None


def current() -> Options:
    """The settings the environment gives.

    Raises:
        UsageError: a variable whose value can't be read.
    """
    keep = _text("TILELOOM_KEEP_DIR")
    return Options(
        cache_enabled=os.environ.get("TILELOOM_CACHE", "1") not in ("0", "off", "no", "false"),
        cache_dir=_cache_dir(),
        cache_bytes=int(_number("TILELOOM_CACHE_BYTES", DEFAULT_CACHE_BYTES)),
        cache_layers=_paths("TILELOOM_CACHE_LAYERS"),
        assembler=_text("TILELOOM_ASSEMBLER"),
        assembler_flags=tuple(shlex.split(os.environ.get("TILELOOM_ASSEMBLER_FLAGS", ""))),
        assembler_timeout_s=_number("TILELOOM_ASSEMBLER_TIMEOUT", DEFAULT_TIMEOUT_S),
        keep_dir=Path(keep).expanduser() if keep else None,
    )


def named_device() -> str | None:
    """The device the environment names; asked at every launch, so it reads nothing else."""
    return os.environ.get("TILELOOM_DEVICE") or None


def _cache_dir() -> Path:
    named = _text("TILELOOM_CACHE_DIR")
    if named:
        return Path(named).expanduser()
    root = _text("XDG_CACHE_HOME")
    # The specification of XDG says that a relative path is to be ignored.
    base = Path(root) if root and os.path.isabs(root) else Path(os.path.expanduser("~/.cache"))
    return base / "tileloom"


def _paths(variable: str) -> tuple[Path, ...]:
    listed = os.environ.get(variable, "").split(os.pathsep)
    return tuple(Path(each).expanduser() for each in listed if each)


def _text(variable: str) -> str | None:
    return os.environ.get(variable) or None


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise UsageError(
            f"`{variable}` is `{text}`, which is no positive number", notes=[VARIABLES[variable]]
        )
    return value
