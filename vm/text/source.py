"""A program's text and the places in it."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property

from ..diagnostics import Location


class Source:
    """A text with its file's name; spans are (start, end) character offsets."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]

    def location(self, span: tuple[int, int]) -> Location:
        """The place of a span; of several lines, the part on the first."""
        start, end = span
        line = bisect_right(self._line_starts, start) - 1
        first = self._line_starts[line]
        stop = self.text.find("\n", first)
        text = self.text[first : stop if stop >= 0 else len(self.text)].rstrip("\r")
        column = start - first + 1
        end_column = max(min(end - first, len(text)) + 1, column + 1)
        return Location(self.file, line + 1, column, end_column, text)
