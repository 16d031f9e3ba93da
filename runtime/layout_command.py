"""`tileloom layout "LAYOUT"`: a layout drawn, as text or into an SVG or HTML file.

LAYOUT is a register layout as programs write it (`local(2, 1) * spatial(8, 4) * local(1, 2)`), a
memory layout (`row_major(16, 64) ^ swizzle(3, 4, 3)`), `auto(THREADS, EXTENTS...)`, or a fragment
of an instruction by its name (`mma_a(f16)`, `matrix(16)`).
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import islice
from math import prod
from pathlib import Path

from tileloom.layouts import (
    LayoutError,
    MemoryLayout,
    RegisterLayout,
    access_costs,
    auto,
    draw,
    draw_banks,
    draw_banks_svg,
    draw_svg,
    fragments,
    lines_of,
    memory_html,
    page,
    parse_layout,
    parse_memory_layout,
    register_html,
    registers_of,
)
from tileloom.layouts.draw import is_cropped
from tileloom.layouts.page import PAGE_LIMIT, index_text, memory_facts, register_facts
from tileloom.vm.diagnostics import LayoutMismatchError, Location, UsageError, did_you_mean

from .arguments import Parser

_TEXT_LIMIT = 32
_DEFAULT_BITS = 16
_MOST_BITS = 128
_MOST_ELEMENTS = 1 << 20

_MEMORY = ("row_major", "column_major", "strided", "memory")
_ATOMS = ("local", "spatial", "column_local", "column_spatial", "replicate", "layout")
_FRAGMENTS: dict[str, Callable[..., RegisterLayout]] = {
    "mma_a": fragments.mma_a,
    "mma_b": fragments.mma_b,
    "mma_c": fragments.mma_c,
    "matrix": fragments.matrix,
    "matrices": fragments.matrices,
    "auto": auto,
}
_CALL = re.compile(r"\s*(\w+)\s*\(([\w\s,]*)\)\s*\Z")
_COLUMN = re.compile(r"(.*?) at column (\d+)(.*?)(?:: `.*`)?\Z", re.S)
_WORD = re.compile(r"\w+|.")


def main(arguments: list[str]) -> int:
    """Runs `tileloom layout ...` and returns the exit status.

    Raises:
        VMError: the text is no layout, or a file can't be written.
    """
    parser = Parser(prog="tileloom layout", description="draw a layout")
    parser.add_argument("layout", help='such as "local(2, 1) * spatial(8, 4) * local(1, 2)"')
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the picture as SVG")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page as HTML")
    parser.add_argument("--bits", type=int, help=f"of an element (default: {_DEFAULT_BITS})")
    parser.add_argument("--thread", type=int, default=0, help="whose registers to list")
    parser.add_argument("--full", action="store_true", help="leave nothing out, however large")
    args = parser.parse_args(arguments)
    if args.bits is not None and not 1 <= args.bits <= _MOST_BITS:
        raise UsageError(f"`--bits` is {args.bits}, not 1 to {_MOST_BITS}")
    layout = read_layout(args.layout)
    try:
        _check_size(layout)
        _show(layout, args)
    except LayoutError as error:
        raise LayoutMismatchError(str(error)) from None
    return 0


def read_layout(text: str) -> RegisterLayout | MemoryLayout:
    """The layout that a text describes, of registers or of memory.

    Raises:
        LayoutMismatchError: none, with the place of what is wrong.
    """
    name = re.match(r"\s*(\w*)", text)
    first = name[1] if name else ""
    try:
        call = _CALL.match(text)
        if call is not None and call[1] in _FRAGMENTS:
            return _fragment(call[1], call[2])
        return parse_memory_layout(text) if first in _MEMORY else parse_layout(text)
    except LayoutError as error:
        raise _placed(error, text) from None
    except (ValueError, OverflowError):
        raise LayoutMismatchError("a number is too large") from None
    except RecursionError:
        raise LayoutMismatchError("the parentheses are nested too deeply") from None


def _check_size(layout: RegisterLayout | MemoryLayout) -> None:
    """Raises LayoutMismatchError for what no block or memory could hold, and no picture show."""
    sizes = [prod(layout.shape)]
    if isinstance(layout, RegisterLayout):
        sizes += [layout.num_threads, layout.num_locals]
    if max(sizes) > _MOST_ELEMENTS:
        raise LayoutMismatchError(f"it has more than {_MOST_ELEMENTS} elements, too many to draw")


def _fragment(name: str, listed: str) -> RegisterLayout:
    words = [word.strip() for word in listed.split(",") if word.strip()]
    values = [int(word) if word.isdigit() else word for word in words]
    try:
        return _FRAGMENTS[name](*values)
    except (TypeError, ValueError) as error:
        if isinstance(error, LayoutError):
            raise
        raise LayoutError(f"`{name}` doesn't take ({listed})") from None


def _placed(error: LayoutError, text: str) -> LayoutMismatchError:
    """The error with a caret under the word that the parser stumbled over."""
    found = _COLUMN.match(str(error))
    if found is None:
        return LayoutMismatchError(str(error))
    column = int(found[2])
    word = _WORD.match(text, column - 1)
    width = len(word[0]) if word else 1
    place = Location("LAYOUT", 1, column, column + width, text=text)
    known = (*_ATOMS, *_MEMORY, *_FRAGMENTS)
    hint = did_you_mean(word[0], known) if word and word[0].isidentifier() else None
    return LayoutMismatchError(found[1] + found[3], place, hint=hint)


def _show(layout: RegisterLayout | MemoryLayout, args: Namespace) -> None:
    bits = args.bits or _DEFAULT_BITS
    limit = None if args.full else PAGE_LIMIT
    if args.svg is not None:
        drawn = (
            draw_svg(layout, limit)
            if isinstance(layout, RegisterLayout)
            else draw_banks_svg(layout, bits, limit)
        )
        _write(args.svg, drawn)
    if args.html is not None:
        most = max(layout.shape, default=1) if args.full else PAGE_LIMIT
        fragment = (
            register_html(layout, bits, most)
            if isinstance(layout, RegisterLayout)
            else memory_html(layout, bits, most)
        )
        _write(args.html, page(str(layout), [fragment]))
    if args.svg is None and args.html is None:
        limit = None if args.full else _TEXT_LIMIT
        if isinstance(layout, RegisterLayout):
            lines = _register_text(layout, bits, args.thread, limit)
        else:
            lines = _memory_text(layout, bits, limit)
        print("\n".join(lines))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"`{path}` can't be written: {error.strerror}") from None
    print(path)


def _register_text(
    layout: RegisterLayout, bits: int, thread: int, limit: int | None
) -> Iterator[str]:
    yield str(layout)
    yield register_facts(layout)
    yield from ("", "thread.local that hold each element:", draw(layout, limit))
    yield from _cropped(layout.shape, limit)
    held = registers_of(layout, thread, bits)
    yield from ("", f"registers of thread {thread}, elements of {bits} bits:")
    for register, indices in islice(held, limit):
        yield f"  r{register}: {' '.join(map(index_text, indices))}"
    if limit is not None and len(held) > limit:
        yield f"  and {len(held) - limit} more"


def _memory_text(layout: MemoryLayout, bits: int, limit: int | None) -> Iterator[str]:
    yield str(layout)
    yield memory_facts(layout, bits)
    yield from ("", "bank of each element:", draw_banks(layout, bits, limit))
    yield from _cropped(layout.shape, limit)
    yield from ("", "memory, in lines of 32 banks; first element of each 16 bytes:")
    lines = list(islice(lines_of(layout, bits), limit))
    shown = [["-" if c is None else index_text(c) for c in line.chunks] for line in lines]
    width = max((len(cell) for row in shown for cell in row), default=0)
    for line, row in zip(lines, shown, strict=True):
        yield f"  byte {line.byte:>5}  {'  '.join(cell.rjust(width) for cell in row)}"
    costs = access_costs(layout, bits)
    if costs:
        yield from ("", "wavefronts of an access by a warp, and the least there could be:")
    for cost in costs:
        yield f"  {cost.wavefronts:>2} ({cost.least})  {cost.access}"


def _cropped(shape: tuple[int, ...], limit: int | None) -> Iterator[str]:
    if is_cropped(shape, limit):
        yield f"the first {limit} rows and columns; `--full` shows all"
