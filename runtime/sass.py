"""The machine code of a cubin as text, through nvdisasm."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from .errors import ToolMissingError
from .toolkit import find_program

_TIMEOUT_S = 120


def nvdisasm_version() -> str:
    """Version and path of nvdisasm.

    Raises:
        ToolMissingError: it isn't there, or doesn't run.
    """
    program = _nvdisasm()
    done = _run([program, "--version"])
    match = re.search(r"\bV(\d+(?:\.\d+)+)", done.stdout)
    if match is None:
        raise ToolMissingError(f"`{program}` doesn't say its version")
    return f"nvdisasm {match[1]} ({program})"


def disassemble(cubin: bytes, *, line_info: bool = False) -> str:
    """The SASS of every kernel of a cubin.

    With `line_info` a comment `//## File "...", line N` stands above the code of each line of the
    user's program.

    Raises:
        ToolMissingError: nvdisasm isn't there, or fails on the cubin.
    """
    program = _nvdisasm()
    with tempfile.TemporaryDirectory(prefix="tileloom-") as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [program, "-c", *(["-g"] if line_info else []), str(path)]
        done = _run(command)
    if done.returncode != 0:
        raise ToolMissingError(f"`{program}` failed", notes=[done.stderr.strip() or "no message"])
    return done.stdout


def _nvdisasm() -> str:
    program = find_program("nvdisasm")
    if program is None:
        raise ToolMissingError(
            "`nvdisasm` isn't there, which turns machine code into text",
            hint="`pip install 'tileloom[tools]'`, or put a CUDA toolkit on PATH",
        )
    return program


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolMissingError(f"`{command[0]}` doesn't run: {error}") from None
