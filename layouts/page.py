"""Layouts as HTML: fragments for notebooks, and a page of its own that needs no other file.

The fragments carry their style with them, since a notebook gives them none.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from .draw import draw_banks_svg, draw_svg, escape, is_cropped
from .errors import LayoutError
from .holdings import Held, Index, access_costs, lines_of, registers_of
from .memory_layout import MemoryLayout
from .register_layout import RegisterLayout

NOTEBOOK_LIMIT, PAGE_LIMIT = 32, 64
_MOST_ROWS = 64  # of a table

_CARD = (
    "font: 13px/1.5 system-ui, sans-serif; color: #1f2430; background: #ffffff; "
    "border: 1px solid #e3e6ee; border-radius: 8px; padding: 14px 16px; margin: 6px 0; "
    "overflow-x: auto"
)
_NAME = "font: 600 14px ui-monospace, monospace; margin-bottom: 2px"
_FACTS = "color: #5a6275; margin-bottom: 10px"
_CELL = "padding: 2px 10px; border-bottom: 1px solid #eef0f5; text-align: left; white-space: nowrap"
_MONO = f"{_CELL}; font: 12px ui-monospace, monospace"
_HEADING = "font-weight: 600; margin: 14px 0 4px"

# Pointing at an element shows what else its thread holds, or what else lies in its bank.
_SCRIPT = """
for (const svg of document.querySelectorAll("svg")) {
  svg.addEventListener("mouseover", (event) => {
    const cell = event.target.closest("[data-group]");
    for (const each of svg.querySelectorAll("[data-group]"))
      each.style.opacity = !cell || each.dataset.group === cell.dataset.group ? 1 : 0.25;
  });
  svg.addEventListener("mouseleave", () => {
    for (const each of svg.querySelectorAll("[data-group]")) each.style.opacity = 1;
  });
}
"""


def register_html(
    layout: RegisterLayout, element_bits: int | None = None, limit: int = NOTEBOOK_LIMIT
) -> str:
    """A register layout as a fragment: its text, its numbers, its picture, and, where the width of
    an element is given, what the registers of thread 0 hold."""
    parts = [draw_svg(layout, limit)]
    if element_bits is not None:
        parts += [
            _heading(f"registers of thread 0, elements of {element_bits} bits"),
            _registers_table(registers_of(layout, 0, element_bits)),
        ]
    if is_cropped(layout.shape, limit):
        parts.insert(1, _note(f"only the first {limit} rows and columns are shown"))
    facts = f"{register_facts(layout)}; a cell is thread.local"
    return _card(str(layout), facts, parts)


def memory_html(layout: MemoryLayout, element_bits: int = 16, limit: int = NOTEBOOK_LIMIT) -> str:
    """A memory layout as a fragment: its text, the bank of each element, what lies where in
    memory, and what usual accesses cost."""
    facts = memory_facts(layout, element_bits)
    try:
        parts = [draw_banks_svg(layout, element_bits, limit)]
    except LayoutError as error:  # a swizzle that such elements can't have
        return _card(str(layout), facts, [_note(str(error))])
    if is_cropped(layout.shape, limit):
        parts.append(_note(f"only the first {limit} rows and columns are shown"))
    parts += [_heading("memory, in lines of 32 banks; first element of each 16 bytes")]
    parts += [_lines_table(layout, element_bits)]
    costs = access_costs(layout, element_bits)
    if costs:
        rows = [(cost.access, str(cost.wavefronts), str(cost.least)) for cost in costs]
        parts += [_heading("what a warp's accesses cost")]
        parts += [_table(("access", "wavefronts", "least"), rows)]
    return _card(str(layout), f"{facts}; a cell is the element's bank", parts)


def page(title: str, fragments: Iterable[str]) -> str:
    """Fragments as an HTML document that needs no other file."""
    body = "\n".join(fragments)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>body { margin: 24px; background: #f6f7fa }</style></head>\n"
        f"<body>\n{body}\n<script>{_SCRIPT}</script>\n</body></html>\n"
    )


def register_facts(layout: RegisterLayout) -> str:
    """Shape, threads, locals and replicas, in words."""
    each = "element" if layout.num_locals == 1 else "elements"
    threads = "thread" if layout.num_threads == 1 else "threads"
    copies = ""
    if layout.num_replicas > 1:
        copies = f"; each element in {layout.num_replicas} threads"
    return (
        f"shape {list(layout.shape)}, {layout.num_threads} {threads} of "
        f"{layout.num_locals} {each}{copies}"
    )


def memory_facts(layout: MemoryLayout, element_bits: int) -> str:
    """Shape and size, in words."""
    size = -(-layout.size * element_bits // 8)
    return f"shape {list(layout.shape)}, {size} bytes with elements of {element_bits} bits"


def index_text(index: Index) -> str:
    """An index as `[0, 8]`."""
    return f"[{', '.join(map(str, index))}]"


def _card(name: str, facts: str, parts: Iterable[str]) -> str:
    inner = "\n".join(parts)
    return (
        f'<div style="{_CARD}">\n<div style="{_NAME}">{escape(name)}</div>\n'
        f'<div style="{_FACTS}">{escape(facts)}</div>\n{inner}\n</div>'
    )


def _heading(text: str) -> str:
    return f'<div style="{_HEADING}">{escape(text)}</div>'


def _note(text: str) -> str:
    return f'<div style="{_FACTS}">{escape(text)}</div>'


def _registers_table(held: Sequence[Held]) -> str:
    rows = [(f"r{h.register}", "  ".join(map(index_text, h.indices))) for h in held[:_MOST_ROWS]]
    return _table(("register", "elements, low bits first"), rows)


def _lines_table(layout: MemoryLayout, element_bits: int) -> str:
    rows = [
        (str(line.byte), *("" if c is None else index_text(c) for c in line.chunks))
        for line in islice(lines_of(layout, element_bits), _MOST_ROWS)
    ]
    banks = [f"banks {4 * i}..{4 * i + 3}" for i in range(8)]
    return _table(("byte", *banks), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f'<th style="{_CELL}">{escape(cell)}</th>' for cell in head)]
    lines += ["".join(f'<td style="{_MONO}">{escape(cell)}</td>' for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f'<table style="border-collapse: collapse">\n{body}</table>'
