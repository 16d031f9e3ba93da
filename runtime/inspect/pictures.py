"""The report's small pictures, as SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .gather import SharedTile

_ROW, _BAR, _LABEL, _VALUE, _WIDTH = 24, 14, 130, 60, 480
_BANK = 9
_MOST_TILES = 24


def bars(rows: Sequence[tuple[str, float, str]], emphasis: str = "", colour: str = "") -> str:
    """Horizontal bars: (name, length, what to write behind it); the row named `emphasis` stands
    out."""
    longest = max((length for _, length, _ in rows), default=0) or 1
    room = _WIDTH - _LABEL - _VALUE
    out = []
    for number, (name, length, text) in enumerate(rows):
        y = number * _ROW
        width = max(2, round(room * length / longest))
        fill = "var(--bad)" if name == emphasis else colour or "var(--accent)"
        out += [
            _text(_LABEL - 10, y + _ROW // 2, name, "end"),
            f'<rect x="{_LABEL}" y="{y + (_ROW - _BAR) // 2}" width="{width}" height="{_BAR}" '
            f'rx="3" fill="{fill}" opacity="0.85"/>',
            _text(_LABEL + width + 8, y + _ROW // 2, text, "start", "var(--soft)"),
        ]
    return _svg(_WIDTH, len(rows) * _ROW, out)


def memory_map(tiles: Sequence[SharedTile], total: int) -> str:
    """Where tiles lie in shared memory, a row each: those above each other are used in turn."""
    room, end = _WIDTH - _LABEL, max(total, 1)
    out = []
    for number, tile in enumerate(tiles[:_MOST_TILES]):
        y = number * _ROW
        left = _LABEL + room * tile.start / end
        width = max(2.0, room * tile.size / end)
        hue = number * 137 % 360
        out += [
            _text(_LABEL - 10, y + _ROW // 2, tile.name, "end"),
            f'<rect x="{_LABEL}" y="{y + 4}" width="{room}" height="{_BAR + 2}" rx="3" '
            'fill="var(--line)" opacity="0.5"/>',
            f"<g><title>{escape(tile.name)}: {tile.size} bytes from {tile.start}</title>"
            f'<rect x="{left:.1f}" y="{y + 4}" width="{width:.1f}" height="{_BAR + 2}" rx="3" '
            f'fill="hsl({hue} 55% 60%)"/></g>',
        ]
    return _svg(_WIDTH, min(len(tiles), _MOST_TILES) * _ROW, out)


def banks_picture(banks: Sequence[int]) -> str:
    """How many words each of the 32 banks serves in the slowest pass."""
    most, height = max(banks, default=0) or 1, 26
    out = []
    for bank, count in enumerate(banks):
        tall = round(height * count / most) if count else 0
        colour = "var(--good)" if count <= 1 else "var(--bad)"
        out.append(
            f"<g><title>bank {bank}: {count} words</title>"
            f'<rect x="{bank * _BANK}" y="0" width="{_BANK - 1}" height="{height}" '
            'fill="var(--line)" opacity="0.5"/>'
            f'<rect x="{bank * _BANK}" y="{height - tall}" width="{_BANK - 1}" height="{tall}" '
            f'fill="{colour}"/></g>'
        )
    return _svg(len(banks) * _BANK, height, out)


def gauge(share: float) -> str:
    """A share from 0 to 1 as a bar."""
    width = 150
    out = [
        f'<rect width="{width}" height="8" rx="4" fill="var(--line)"/>',
        f'<rect width="{max(0.0, min(share, 1.0)) * width:.0f}" height="8" rx="4" '
        'fill="var(--accent)"/>',
    ]
    return _svg(width, 8, out)


def _text(x: int, y: int, text: str, anchor: str, fill: str = "var(--ink)") -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" dominant-baseline="central" '
        f'font-size="12" fill="{fill}">{escape(text)}</text>'
    )


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'style="max-width: 100%">{"".join(parts)}</svg>'
    )
