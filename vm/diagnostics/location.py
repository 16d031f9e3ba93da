"""Places in a source: a file, a line and the columns of the construct itself."""

from __future__ import annotations

import linecache
import os
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FrameType

# Packages whose frames never are "the user's place". Programs are absent on purpose: they are
# written in the DSL like any user's program, so their lines are the ones to point at.
_MACHINERY = ("tileloom.layouts", "tileloom.vm", "tileloom.compiler", "tileloom.runtime")
_STANDARD_HELPERS = ("contextlib", "functools", "dataclasses")

_MAX_CACHED_CODES = 4096


@dataclass(frozen=True)
class Location:
    """A span of one source line. Lines and columns count characters from 1; `end_column` is the
    first column after the span. `text` is the source line where the source isn't a file on disk."""

    file: str
    line: int
    column: int
    end_column: int
    text: str | None = field(default=None, compare=False, repr=False)

    def source_line(self) -> str | None:
        """The line's text without its end, or None where the source can't be read."""
        if self.text is not None:
            return self.text
        line = linecache.getline(self.file, self.line)
        return line.rstrip("\r\n") if line else None

    def display_file(self) -> str:
        """The file relative to the working directory if it lies inside it."""
        if not os.path.isabs(self.file):
            return self.file
        try:
            relative = os.path.relpath(self.file)
        except (ValueError, OSError):
            return self.file
        return self.file if relative.startswith("..") else relative

    def __str__(self) -> str:
        return f"{self.display_file()}:{self.line}:{self.column}"


def caller_location(depth: int = 0) -> Location:
    """The place in the user's Python source that called into tileloom.

    `depth` = 0 starts at the caller of this function; frames of the machinery are skipped.
    Where no frame is the user's (an embedded call), the outermost frame answers.
    """
    frame: FrameType = sys._getframe(depth + 1)
    while is_machinery(frame.f_globals.get("__name__", "")) and frame.f_back is not None:
        frame = frame.f_back
    return frame_location(frame)


def call_location() -> Location:
    """The place outside all of tileloom, its programs included, that called into it."""
    frame: FrameType = sys._getframe(1)
    while _is_ours(frame) and frame.f_back is not None:
        frame = frame.f_back
    return frame_location(frame)


def frame_location(frame: FrameType) -> Location:
    """The exact span of the expression a frame is executing."""
    code = frame.f_code
    cached = _places.get(id(code))
    if cached is None:
        if len(_places) >= _MAX_CACHED_CODES:
            _places.clear()
        cached = _places[id(code)] = (code, list(code.co_positions()), {})
    _, positions, locations = cached
    index = frame.f_lasti // 2
    location = locations.get(index)
    if location is None:
        position = positions[index] if 0 <= index < len(positions) else (None,) * 4
        location = locations[index] = _from_position(code, frame.f_lineno, position)
    return location


_Position = tuple[int | None, int | None, int | None, int | None]

# Tracing asks for a place once an instruction: positions are decoded once a code object. The
# code itself is kept in the entry, so its id can't be taken by another.
_places: dict[int, tuple[CodeType, list[_Position], dict[int, Location]]] = {}


@lru_cache(maxsize=1024)
def is_machinery(module: str) -> bool:
    """Whether frames of a module are tileloom's own and never the user's place."""
    if module in _STANDARD_HELPERS:
        return True
    return any(module == name or module.startswith(name + ".") for name in _MACHINERY)


def _is_ours(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module in _STANDARD_HELPERS or module.partition(".")[0] == "tileloom"


def _from_position(code: CodeType, current_line: int | None, position: _Position) -> Location:
    line, end_line, byte_column, end_byte_column = position
    line = line or current_line or code.co_firstlineno
    text = linecache.getline(code.co_filename, line).rstrip("\r\n")
    if byte_column is None or end_byte_column is None or line != position[0]:
        column = len(text) - len(text.lstrip())
        return Location(code.co_filename, line, column + 1, max(len(text), column + 1) + 1)
    column = _characters(text, byte_column)
    # A span of several lines is shown by its first.
    end = _characters(text, end_byte_column) if end_line == line else len(text)
    return Location(code.co_filename, line, column + 1, max(end, column + 1) + 1)


def _characters(text: str, byte_column: int) -> int:
    """Python counts columns in UTF-8 bytes; a reader counts characters."""
    if text.isascii():
        return byte_column
    return len(text.encode("utf-8", "surrogatepass")[:byte_column].decode("utf-8", "replace"))
