"""The text of an error: heading, place, source line with a caret, notes, hint."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from .location import Location
from .suggest import printable

_TAB = "    "
_MAX_LINE = 160
_CONTEXT = 40

Note = tuple[str, Location | None]


def render_error(
    kind: str, message: str, location: Location | None, notes: Sequence[Note], hint: str | None
) -> str:
    """The whole text of an error, without a final line end."""
    places = [location, *(place for _, place in notes)]
    width = max((len(str(place.line)) for place in places if place is not None), default=1)
    lines = [f"{kind}: {message}"]
    if location is not None:
        lines += [_arrow(location, width), *_excerpt(location, width)]
    for text, place in notes:
        lines.append(f"note: {text}")
        if place is not None:
            lines.append(_arrow(place, width))
    if hint is not None:
        lines.append(f"hint: {hint}")
    return "\n".join(lines)


def _arrow(location: Location, width: int) -> str:
    return f"{' ' * width}--> {location}"


def _excerpt(location: Location, width: int) -> list[str]:
    text = location.source_line()
    if text is None:
        return []
    start = min(max(location.column - 1, 0), len(text))
    end = min(max(location.end_column - 1, start + 1), len(text) + 1)
    before, marked, after = text[:start], text[start:end], text[end:]
    if len(text) > _MAX_LINE:
        before = before if len(before) <= _CONTEXT else "..." + before[-_CONTEXT:]
        marked = marked if len(marked) <= _MAX_LINE else marked[:_MAX_LINE]
        after = after if len(after) <= _CONTEXT else after[:_CONTEXT] + "..."
    before, marked, after = (_shown(part) for part in (before, marked, after))
    margin = " " * (width + 1) + "|"
    caret = " " * _columns(before) + "^" * max(_columns(marked), 1)
    source = f"{location.line:>{width}} | {before}{marked}{after}".rstrip()
    return [margin, source, f"{margin} {caret}"]


def _shown(text: str) -> str:
    return printable(text.replace("\t", _TAB))


def _columns(text: str) -> int:
    """How many terminal columns `text` takes."""
    if text.isascii():
        return len(text)
    width = 0
    for character in text:
        if not unicodedata.combining(character):
            width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return width
