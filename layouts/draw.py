"""Pictures of layouts: as text, and as self-contained SVG.

A register layout's cell says which lane and which local element hold it, `5.2` for element 2 of
thread 5; `0+.2` for thread 0 and others. A memory layout's cell says the element's bank, or its
place.

A picture may have a `limit`: it then shows the first so many rows and columns, and as many grids
as have limit * limit cells together; `is_cropped` says whether something is missing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, product
from math import prod
from typing import NamedTuple

from .banks import NUM_BANKS, WORD_BYTES
from .memory_layout import MemoryLayout
from .register_layout import RegisterLayout
from .tracebacks import user_errors

CELL_WIDTH, CELL_HEIGHT, MARGIN = 44, 22, 30  # pixels
_STYLE = "font: 11px ui-monospace, monospace; text-anchor: middle; dominant-baseline: central"
_WARP_THREADS = 32
_PAPER, _LINE, _INK, _FAINT = "#ffffff", "#ffffff", "#1f2430", "#7a8194"


class Cell(NamedTuple):
    """What stands at an index; cells of one group (a thread, a bank) share a colour."""

    text: str
    group: int
    title: str


class Grid(NamedTuple):
    """One two-dimensional picture; further dimensions are fixed at `lead`."""

    lead: tuple[int, ...]
    cells: list[list[Cell]]


@user_errors()
def draw(layout: RegisterLayout, limit: int | None = None) -> str:
    """Which thread and local element hold each element: lines of text, a grid for each value of
    the leading dimensions."""
    return _as_text(_grids(layout.shape, partial(_register_cell, layout, limit), limit))


@user_errors()
def draw_svg(layout: RegisterLayout, limit: int | None = None) -> str:
    """The same as an SVG document; colours go by lane, tooltips list all owners."""
    grids = _grids(layout.shape, partial(_register_cell, layout, limit), limit)
    return _as_svg(grids, str(layout), min(layout.num_threads, _WARP_THREADS))


@user_errors()
def draw_banks(layout: MemoryLayout, element_bits: int, limit: int | None = None) -> str:
    """The shared-memory bank in which each element starts, as text."""
    cell = partial(_bank_cell, layout, element_bits)
    return _as_text(_grids(layout.shape, cell, limit))


@user_errors()
def draw_banks_svg(layout: MemoryLayout, element_bits: int, limit: int | None = None) -> str:
    """The same as an SVG document; colours go by bank, tooltips give the byte."""
    cell = partial(_bank_cell, layout, element_bits)
    return _as_svg(_grids(layout.shape, cell, limit), str(layout), NUM_BANKS)


def is_cropped(shape: tuple[int, ...], limit: int | None) -> bool:
    """Whether a picture of a tile of `shape` with this limit leaves something out."""
    return prod(_shown(shape, limit)) < prod(shape)


def _shown(shape: tuple[int, ...], limit: int | None) -> tuple[int, int, int]:
    """How many grids, rows and columns a picture has."""
    *lead_shape, rows, columns = (1,) * (2 - len(shape)) + shape
    leads = prod(lead_shape)
    if limit is None:
        return leads, rows, columns
    rows, columns = min(rows, limit), min(columns, limit)
    return min(leads, max(1, limit * limit // (rows * columns))), rows, columns


def _register_cell(layout: RegisterLayout, limit: int | None, index: tuple[int, ...]) -> Cell:
    owners = layout.owners(index)
    thread, local = owners[0]
    more = "+" if len(owners) > 1 else ""
    held = ", ".join(f"thread {t} local {i}" for t, i in owners[:limit])
    if limit is not None and len(owners) > limit:
        held += f", and {len(owners) - limit} more"
    return Cell(f"{thread}{more}.{local}", thread, f"{index}: {held}")


def _bank_cell(layout: MemoryLayout, element_bits: int, index: tuple[int, ...]) -> Cell:
    byte = layout.bit_offset(index, element_bits) // 8
    bank = byte // WORD_BYTES % NUM_BANKS
    return Cell(str(bank), bank, f"{index}: byte {byte}")


def _grids(
    shape: tuple[int, ...], cell: Callable[[tuple[int, ...]], Cell], limit: int | None
) -> list[Grid]:
    plane = (1,) * (2 - len(shape)) + shape
    leads, rows, columns = _shown(shape, limit)
    return [
        Grid(
            lead,
            [
                [cell((*lead, row, column)[len(plane) - len(shape) :]) for column in range(columns)]
                for row in range(rows)
            ],
        )
        for lead in islice(product(*map(range, plane[:-2])), leads)
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
        f'style="{_STYLE}; background: {_PAPER}">\n' + "\n".join(body) + "\n</svg>\n"
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
            out.append(
                f'<g data-group="{cell.group}"><title>{escape(cell.title)}</title>'
                f'<rect x="{x}" y="{y}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}" rx="3" '
                f'fill="{_colour(cell.group, num_groups)}" stroke="{_LINE}"/>'
                + _text_svg(x + CELL_WIDTH // 2, y + CELL_HEIGHT // 2, cell.text, _INK)
                + "</g>"
            )
    return out


def _colour(group: int, num_groups: int) -> str:
    """A hue for each lane or bank; the warps alternate between a light and a darker shade."""
    hue = group % num_groups * 360 // num_groups
    saturation, lightness = (58, 72) if group // num_groups % 2 else (72, 85)
    return f"hsl({hue}, {saturation}%, {lightness}%)"


def _text_svg(x: int, y: int, text: str, colour: str = _FAINT) -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}">{escape(text)}</text>'


def escape(text: str) -> str:
    """The text as SVG and HTML show it."""
    import html  # here: an import of the layouts draws nothing yet

    return html.escape(text)
