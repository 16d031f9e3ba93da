"""A progress bar on a terminal's standard error; nothing at all where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

WIDTH = 30
SECONDS_BETWEEN_DRAWINGS = 0.1


class Progress:
    """Counts steps of known number under a changing label; a context manager that cleans up."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.done = 0
        self.label = ""
        self.stream = sys.stderr if stream is None else stream
        self.shown = self.stream.isatty()
        self._drawn_at = float("-inf")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def step(self, label: str | None = None) -> None:
        """One more step is done; draws at most ten times a second."""
        self.done += 1
        self.label = self.label if label is None else label
        if self.shown and time.monotonic() - self._drawn_at > SECONDS_BETWEEN_DRAWINGS:
            self.draw()

    def draw(self) -> None:
        """Draws the bar over the last one."""
        self._drawn_at = time.monotonic()
        filled = WIDTH * self.done // max(self.total, 1)
        bar = "#" * filled + "-" * (WIDTH - filled)
        self._write(f"\r\x1b[K[{bar}] {self.done}/{self.total} {self.label}")

    def clear(self) -> None:
        """Leaves an empty line, so that what is printed next starts clean."""
        self._drawn_at = float("-inf")
        self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self.shown:
            self.stream.write(text)
            self.stream.flush()
