"""Pictures of layouts: as text, and as self-contained SVG.

A register layout's cell says which lane and which local element hold it, `5.2` for element 2 of
thread 5; `0+.2` for thread 0 and others. A memory layout's cell says the element's bank, or its
place.
"""

from collections.abc import Callable, Sequence
from html import escape
from itertools import product
from typing import NamedTuple

from .banks import NUM_BANKS, WORD_BYTES
from .memory_layout import MemoryLayout
from .register_layout import RegisterLayout

CELL_WIDTH, CELL_HEIGHT, MARGIN = 44, 22, 30  # pixels
_STYLE = "font: 11px monospace; text-anchor: middle; dominant-baseline: central"


class Cell(NamedTuple):
    """What stands at an index; cells of one group share a colour."""

    text: str
    group: int
    title: str


class Grid(NamedTuple):
    """One two-dimensional picture; further dimensions are fixed at `lead`."""

    lead: tuple[int, ...]
    cells: list[list[Cell]]


def draw(layout: RegisterLayout) -> str:
    """Which thread and local element hold each element: lines of text, a grid for each value of
    the leading dimensions."""
    return _as_text(_grids(layout.shape, lambda index: _register_cell(layout, index)))


def draw_svg(layout: RegisterLayout) -> str:
    """The same as an SVG document; colours go by thread, tooltips list all owners."""
    grids = _grids(layout.shape, lambda index: _register_cell(layout, index))
    return _as_svg(grids, str(layout), layout.num_threads)


def draw_banks(layout: MemoryLayout, element_bits: int) -> str:
    """The shared-memory bank in which each element starts, as text."""
    return _as_text(_grids(layout.shape, lambda index: _bank_cell(layout, element_bits, index)))


def draw_banks_svg(layout: MemoryLayout, element_bits: int) -> str:
    """The same as an SVG document; colours go by bank, tooltips give the byte."""
    grids = _grids(layout.shape, lambda index: _bank_cell(layout, element_bits, index))
    return _as_svg(grids, str(layout), NUM_BANKS)


def _register_cell(layout: RegisterLayout, index: tuple[int, ...]) -> Cell:
    owners = layout.owners(index)
    thread, local = owners[0]
    more = "+" if len(owners) > 1 else ""
    held = ", ".join(f"thread {t} local {i}" for t, i in owners)
    return Cell(f"{thread}{more}.{local}", thread, f"{index}: {held}")


def _bank_cell(layout: MemoryLayout, element_bits: int, index: tuple[int, ...]) -> Cell:
    byte = layout.bit_offset(index, element_bits) // 8
    bank = byte // WORD_BYTES % NUM_BANKS
    return Cell(str(bank), bank, f"{index}: byte {byte}")


def _grids(shape: tuple[int, ...], cell: Callable[[tuple[int, ...]], Cell]) -> list[Grid]:
    plane = (1,) * (2 - len(shape)) + shape
    *lead_shape, rows, columns = plane
    return [
        Grid(
            lead,
            [
                [cell((*lead, row, column)[len(plane) - len(shape) :]) for column in range(columns)]
                for row in range(rows)
            ],
        )
        for lead in product(*map(range, lead_shape))
    ]


def _as_text(grids: Sequence[Grid]) -> str:
    lines = []
    for grid in grids:
        if grid.lead:
            lines.append(f"[{', '.join(map(str, grid.lead))}, :, :]")
        width = max(len(cell.text) for row in grid.cells for cell in row)
        side = len(str(len(grid.cells) - 1))
        width = max(width, len(str(len(grid.cells[0]) - 1)))
        head = "  ".join(str(column).rjust(width) for column in range(len(grid.cells[0])))
        lines.append(" " * side + "  " + head)
        for number, row in enumerate(grid.cells):
            texts = "  ".join(cell.text.rjust(width) for cell in row)
            lines.append(f"{str(number).rjust(side)}  {texts}")
    return "\n".join(lines)


def _as_svg(grids: Sequence[Grid], title: str, num_groups: int) -> str:
    rows, columns = len(grids[0].cells), len(grids[0].cells[0])
    height = MARGIN + rows * CELL_HEIGHT + 8
    body = [f"<title>{escape(title)}</title>"]
    for number, grid in enumerate(grids):
        body += _grid_svg(grid, number * height, num_groups)
    size = (MARGIN + columns * CELL_WIDTH + 8, len(grids) * height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
        f'style="{_STYLE}; background: white">\n' + "\n".join(body) + "\n</svg>\n"
    )


def _grid_svg(grid: Grid, top: int, num_groups: int) -> list[str]:
    out = []
    if grid.lead:
        label = ", ".join(map(str, grid.lead))
        out.append(_text_svg(MARGIN // 2, top + MARGIN // 3, f"[{label}]"))
    for column in range(len(grid.cells[0])):
        x = MARGIN + column * CELL_WIDTH + CELL_WIDTH // 2
        out.append(_text_svg(x, top + MARGIN // 2, str(column)))
    for number, row in enumerate(grid.cells):
        y = top + MARGIN + number * CELL_HEIGHT
        out.append(_text_svg(MARGIN // 2, y + CELL_HEIGHT // 2, str(number)))
        for column, cell in enumerate(row):
            x = MARGIN + column * CELL_WIDTH
            hue = cell.group * 360 // max(num_groups, 1)
            out.append(
                f"<g><title>{escape(cell.title)}</title>"
                f'<rect x="{x}" y="{y}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}" '
                f'fill="hsl({hue}, 70%, 85%)" stroke="#888"/>'
                + _text_svg(x + CELL_WIDTH // 2, y + CELL_HEIGHT // 2, cell.text)
                + "</g>"
            )
    return out


def _text_svg(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}">{escape(text)}</text>'
