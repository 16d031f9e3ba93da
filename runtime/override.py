"""A compiled kernel with edited PTX: for trying what the compiler doesn't do (yet).

    edited = compiled.ptx.replace("ld.global", "ld.global.nc")
    compiled.override(ptx=edited)(x, y, n)               # on the GPU, or else on the emulator

The VM program stays what it was: it says what the arguments are and what they are checked
against. So the edited kernel must have the same name and parameters. A line that was edited is a
source of its own: errors show it, while those of other lines still lead to the program.
"""

from __future__ import annotations

import difflib
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tileloom.vm.diagnostics import (
    DeviceError,
    LaunchError,
    LimitError,
    Location,
    UsageError,
    VMNameError,
    VMTypeError,
    call_location,
    did_you_mean,
    user_errors,
)

from . import devices, options
from .assemblers import Assembler
from .cache import key_of
from .compiled import CompiledKernel
from .cuda import context, launcher
from .sass import disassemble

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_ENTRY = re.compile(r"\.entry\s+([\w$%]+)\s*(?:\(([^)]*)\))?")
_PARAMETER = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\b[^\[]*(\[\s*\d+\s*\])?")
_MOST_BYTES = 1 << 26


class OverriddenKernel(CompiledKernel):
    """A kernel whose PTX is somebody's own. Get one from `CompiledKernel.override`."""

    def __init__(
        self,
        base: CompiledKernel,
        ptx: str | os.PathLike[str],
        dynamic_shared: int | None = None,
    ) -> None:
        self.base = base
        self.function, self.target, self.signature = base.function, base.target, base.signature
        self.is_far = base.is_far
        self.plans = launcher.Plans(self.signature)
        self._lock = threading.Lock()
        text, self._file = _read(ptx, base.name)
        _check_head(text, self._file, base)
        shared = base.dynamic_shared if dynamic_shared is None else dynamic_shared
        if shared < 0:
            raise UsageError(f"{shared} bytes of shared memory are none")
        assert base._generated is not None
        self._generated = replace(base._generated, ptx=text, dynamic_shared=shared)
        self._assembled = None

    def variant(self, far: bool) -> CompiledKernel:
        """The edited PTX, as it is.

        Raises:
            LimitError: it computes places in 32 bits, which don't suffice for this launch.
        """
        if far and not self.is_far:
            raise LimitError(
                f"the edited PTX of `{self.name}` is that of the kernel for views of at most 2**31 "
                "elements, and this launch has a larger one",
                call_location(),
                hint="edit the other one: `kernel.variant(far=True).override(ptx=...)`",
            )
        return self

    @user_errors()
    def __call__(self, *arguments: Any, device: str | None = None, **options: Any) -> None:
        """Runs the edited PTX, as `CompiledKernel` does; without a GPU on the emulator.

        Raises:
            DeviceError: the device doesn't run PTX.
        """
        super().__call__(*arguments, device=_device(device), **options)

    @user_errors()
    def sass(self, *, line_info: bool = False) -> str:
        """The machine code as text, with the lines that the PTX's own `.loc` name."""
        return disassemble(self.cubin, line_info=line_info)

    @cached_property
    def stages(self) -> dict[str, str]:
        """The program's stages, ending with the edited PTX."""
        return {**self.base.stages, "ptx": self.ptx}

    def place_of(self, ptx_line: int) -> Location | None:
        """The place in the program, or the line of PTX itself where it was edited or has none."""
        kept = self.kept_lines.get(ptx_line)
        place = None if kept is None else self.base.place_of(kept)
        lines = self.ptx.splitlines()
        # What is missing at the end is reported behind it.
        return place or line_location(lines, self._file, min(ptx_line, len(lines)))

    @cached_property
    def kept_lines(self) -> dict[int, int]:
        """The lines (from 1) that are the compiler's, and their numbers there."""
        return matching_lines(self.base.ptx.splitlines(), self.ptx.splitlines())

    def _key(self, assembler: Assembler) -> str:
        flags = options.current().assembler_flags
        return key_of(
            "override", self.ptx, str(self.dynamic_shared), self.target, assembler.identity, *flags
        )

    def __repr__(self) -> str:
        return f"<compiled kernel {self.name} for {self.target}, with edited PTX>"


def matching_lines(before: Sequence[str], after: Sequence[str]) -> dict[int, int]:
    """For each line of `after` that is one of `before`, both counted from 1, its number there."""
    same = [a == b for a, b in zip(before, after, strict=False)]
    start = same.index(False) if False in same else len(same)
    rest = min(len(before), len(after)) - start
    end = 0
    while end < rest and before[-1 - end] == after[-1 - end]:
        end += 1
    found = {line + 1: line + 1 for line in range(start)}
    # The edits lie in between; a longest common subsequence of whole files would take seconds.
    middle = difflib.SequenceMatcher(
        None, before[start : len(before) - end], after[start : len(after) - end]
    )
    for block in middle.get_matching_blocks():
        for i in range(block.size):
            found[start + block.b + i + 1] = start + block.a + i + 1
    for i in range(end):
        found[len(after) - i] = len(before) - i
    return found


def line_location(lines: Sequence[str], file: str, line: int) -> Location | None:
    """A whole line of PTX as a place; None if there is no such line."""
    if not 1 <= line <= len(lines):
        return None
    text = lines[line - 1]
    start = len(text) - len(text.lstrip()) + 1
    return Location(file, line, start, max(len(text.rstrip()), start) + 1, text=text)


def _device(wanted: str | None) -> str:
    if wanted is None and options.named_device() is None and not context.available():
        return "emulator"
    name = devices.choose(wanted)
    if not devices.needs_code(name):
        raise DeviceError(
            f"the `{name}` runs the program, not its PTX: edits would change nothing",
            call_location(),
            hint='use `device="emulator"` or `device="cuda"`',
        )
    return name


def _read(ptx: object, name: str) -> tuple[str, str]:
    """The text, and what to call its file in errors."""
    if isinstance(ptx, str):
        if "\n" not in ptx and ptx.rstrip().endswith(".ptx"):
            raise UsageError(
                f"`{ptx}` is a file's name, `ptx` is its text",
                call_location(),
                hint=f'pass `pathlib.Path("{ptx}")`',
            )
        return ptx, f"<edited ptx of {name}>"
    if not isinstance(ptx, os.PathLike):
        raise VMTypeError(
            f"`ptx` is a `{type(ptx).__name__}`, not text", call_location(), hint="pass a string"
        )
    try:
        path = Path(ptx)
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"`{path}` is too large for PTX", call_location())
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"`{ptx}` can't be read: {reason}", call_location()) from None


def _check_head(text: str, file: str, base: CompiledKernel) -> None:
    """Raises unless the text has the kernel, with the parameters that launches will pass."""
    blanked = _COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    entries = {found[1]: found for found in _ENTRY.finditer(blanked)}
    if base.name not in entries:
        listed = ", ".join(f"`{name}`" for name in entries) or "none"
        raise VMNameError(
            f"the PTX has no kernel `{base.name}`",
            line_location(text.splitlines(), file, 1),
            hint=did_you_mean(base.name, entries) or f"its kernels: {listed}",
        )
    head = entries[base.name]
    original = _ENTRY.search(base.ptx)
    assert original is not None
    found, wanted = _parameters(head[2]), _parameters(original[2])
    if found != wanted:
        line = blanked.count("\n", 0, head.start()) + 1
        raise LaunchError(
            f"the PTX's `{base.name}` takes ({', '.join(found)}), the program "
            f"({', '.join(wanted)})",
            line_location(text.splitlines(), file, line),
            notes=[("the program", base.function.location)],
            hint="leave the parameters as they are: launches pass what the program says",
        )


def _parameters(listed: str | None) -> list[str]:
    found = [_PARAMETER.search(each) for each in (listed or "").split(",") if each.strip()]
    # Signed, unsigned or bits: only the size matters to a launch.
    return [
        "?" if each is None else re.sub(r"^[us]", "b", each[1]) + (each[2] or "") for each in found
    ]
