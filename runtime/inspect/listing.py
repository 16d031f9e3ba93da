"""Listings: source, PTX and SASS as lines that know which source line they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tileloom.vm.diagnostics import Location

_FILE = re.compile(r'//## File "(?P<file>[^"]*)", line (?P<line>\d+)')
_INSTRUCTION = re.compile(r"^\s*/\*(?P<address>[0-9a-f]{4,})\*/\s+(?P<text>.*?)\s*;?\s*$")
_LABEL = re.compile(r"^(?P<name>\.?[\w$]+):\s*$")
_CONTEXT = 2  # lines of Python around those with code
_GAP = 6

Place = tuple[str, int]


@dataclass(frozen=True)
class Line:
    """One line of a listing: its text, what numbers it (a line number, an address), its place in
    the source (file and line), and whether it is code: no label, comment or declaration."""

    text: str
    number: str
    place: Place | None = None
    is_code: bool = True


def place_of(location: Location | None) -> Place | None:
    """A location as listings and the assembler name it."""
    return None if location is None else (location.display_file(), location.line)


def ptx_lines(ptx: str, places: dict[int, Location]) -> list[Line]:
    """The PTX; a comment has the place of the code below it."""
    found: list[Line] = []
    following: Place | None = None
    texts = ptx.splitlines()
    for number in range(len(texts), 0, -1):
        text = texts[number - 1]
        is_comment = text.lstrip().startswith("//")
        place = place_of(places.get(number))
        if is_comment:
            # Above other comments it stands for an instruction without code.
            place, following = following, None
        else:
            following = place
        is_code = text.rstrip().endswith(";") and not text.lstrip().startswith(".")
        found.append(Line(text, str(number), place, is_code))
    return found[::-1]


def sass_lines(sass: str, kernel: str) -> list[Line]:
    """One kernel's instructions and labels, out of what nvdisasm prints with line information."""
    found: list[Line] = []
    place: Place | None = None
    inside = False
    for text in sass.splitlines():
        if text.lstrip().startswith("//----"):
            inside = re.search(rf"\.text\.{re.escape(kernel)}\s", text) is not None
            place = None
        if not inside:
            continue
        if match := _FILE.search(text):
            place = match["file"], int(match["line"])
        elif match := _INSTRUCTION.match(text):
            found.append(Line(match["text"], match["address"], place))
        elif (match := _LABEL.match(text)) and match["name"].startswith(".L"):
            found.append(Line(f"{match['name']}:", "", place, is_code=False))
    return found


def source_lines(locations: Iterable[Location]) -> list[Line]:
    """The source that places lie in: a program text whole, of a Python file the parts around
    the places, with a line of dots where something is left out. Of several files each has its
    name above it."""
    by_file: dict[str, dict[int, Location]] = {}
    for location in locations:
        by_file.setdefault(location.display_file(), {})[location.line] = location
    found: list[Line] = []
    for file, used in by_file.items():
        if len(by_file) > 1:
            found.append(Line(file, "", None, is_code=False))
        found += _file_lines(file, used)
    return found


def _file_lines(file: str, used: dict[int, Location]) -> list[Line]:
    first = next(iter(used.values()))
    texts = _read(Path(first.file))
    if not texts:
        known = {number: location.source_line() or "" for number, location in used.items()}
        return [Line(text, str(n), (file, n)) for n, text in sorted(known.items())]
    shown = set(range(1, len(texts) + 1)) if first.text is not None else _around(set(used))
    found: list[Line] = []
    before = 0
    for number in sorted(shown):
        if not 1 <= number <= len(texts):
            continue
        if found and number > before + 1:
            found.append(Line("...", "", None, is_code=False))
        found.append(Line(texts[number - 1], str(number), (file, number), number in used))
        before = number
    return found


def _around(numbers: set[int]) -> set[int]:
    """The numbers, a few around them, and small gaps between."""
    shown: set[int] = set()
    before: int | None = None
    for number in sorted(numbers):
        start = number - _CONTEXT
        if before is not None and number - before <= _GAP:
            start = before
        shown.update(range(start, number + _CONTEXT + 1))
        before = number
    return shown


def _read(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
