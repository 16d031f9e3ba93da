"""The machine code of a cubin as text, through nvdisasm."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from .errors import ToolMissingError
from .toolkit import find_program

_TIMEOUT_S = 120


def disassemble(cubin: bytes, *, line_info: bool = False) -> str:
    """The SASS of every kernel of a cubin.

    With `line_info` a comment `//## File "...", line N` stands above the code of each line of the
    user's program.

    Raises:
        ToolMissingError: nvdisasm isn't there, or fails on the cubin.
    """
    program = find_program("nvdisasm")
    if program is None:
        raise ToolMissingError(
            "`nvdisasm` isn't there, which turns machine code into text",
            hint="`pip install 'tileloom[tools]'`, or put a CUDA toolkit on PATH",
        )
    with tempfile.TemporaryDirectory(prefix="tileloom-") as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [program, "-c", *(["-g"] if line_info else []), str(path)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ToolMissingError(f"`{program}` doesn't run: {error}") from None
    if done.returncode != 0:
        raise ToolMissingError(f"`{program}` failed", notes=[done.stderr.strip() or "no message"])
    return done.stdout
