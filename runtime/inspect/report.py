"""An inspection as a page of HTML that needs no other file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tileloom.layouts import memory_html, register_html

from ..resources import Resources, block_limits
from . import pictures
from .accesses import SharedAccess
from .gather import Inspection, Pass
from .listing import Line, Place
from .style import SCRIPT, STYLE
from .text import conflicts_text, grouped, shortened

_MIX = 10
_MOST_LAYOUTS, _LAYOUT_LIMIT = 8, 32
_SECTIONS = ("code", "passes", "resources", "memory", "layouts")


def report_html(inspections: Sequence[Inspection]) -> str:
    """The page: each kernel after the other."""
    names = ", ".join(found.name for found in inspections)
    ids = [f"k{number}" for number in range(len(inspections))]
    links = "".join(
        f'<a href="#{id_}">{escape(found.name)}</a>'
        for id_, found in zip(ids, inspections, strict=True)
    )
    if len(inspections) == 1:
        links = "".join(f'<a href="#k0-{name}">{name}</a>' for name in _SECTIONS)
    body = "\n".join(kernel_html(found, id_) for id_, found in zip(ids, inspections, strict=True))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(names)}: inspection</title>\n<style>{STYLE}</style></head>\n"
        f"<body><header><strong>tileloom inspect</strong>{links}</header>\n"
        f"<main>\n{body}\n</main>\n<script>{SCRIPT}</script></body></html>\n"
    )


def kernel_html(found: Inspection, id_: str) -> str:
    """One kernel's part of the page."""
    assembler = f", {found.assembler}" if found.assembler else ""
    about = f"{found.target}, {found.num_threads} threads a block{assembler}"
    parts = [
        f'<h1 id="{id_}">{escape(found.name)}</h1>',
        f'<div class="soft">{escape(about)}</div>',
        *(f'<div class="note">{escape(note)}</div>' for note in (*found.warnings, *found.notes)),
        f'<div class="cards">{"".join(_cards(found))}</div>',
        _heading(id_, "code", "source, PTX and SASS; point at a line, or click it"),
        _panes(found),
        _heading(id_, "passes", "what each pass changed"),
        *map(_pass, found.passes),
        *(f'<div class="note">{escape(text)}</div>' for text in found.conversions),
        _heading(id_, "resources", "what limits the blocks of a multiprocessor, and what runs"),
        f'<div class="columns">{"".join(_resources(found))}</div>',
        _heading(id_, "memory", "shared memory and its banks"),
        *_memory(found),
        _heading(id_, "layouts", "who holds what"),
        *_layouts(found),
    ]
    return "\n".join(parts)


def _heading(id_: str, name: str, text: str) -> str:
    return f'<h2 id="{id_}-{name}">{name} <span class="soft">{escape(text)}</span></h2>'


# ---- the cards


def _cards(found: Inspection) -> Iterator[str]:
    if found.resources is not None:
        yield from _resource_cards(found.resources)
    else:
        yield _card("shared memory", _bytes(found.dynamic_shared), "a block")
    worst = max((access.factor for access in found.conflicts), default=1.0)
    tone = "bad" if worst > 1 else "good"
    value = f"{worst:g}&times; <small>the wavefronts</small>" if worst > 1 else "none"
    if not found.accesses:
        value, tone = "none", ""
    yield _card("bank conflicts", value, escape(conflicts_text(found)), tone)
    language = "PTX" if found.sass is None else "SASS"
    top = ", ".join(f"{count} {opcode}" for opcode, count in found.mix[:3])
    total = sum(count for _, count in found.mix)
    yield _card("instructions", f"{total} <small>{language}</small>", escape(top))


def _resource_cards(resources: Resources) -> Iterator[str]:
    yield _card("registers", str(resources.registers), "a thread, of 255")
    spilled = resources.spill_stores or resources.spill_loads
    more = f"{resources.spill_stores} bytes stored, {resources.spill_loads} loaded"
    yield _card(
        "spills",
        _bytes(resources.spill_stores) if spilled else "none",
        more if spilled else "registers suffice",
        "bad" if spilled else "good",
    )
    yield _card("shared memory", _bytes(resources.shared), "a block")
    blocks = resources.blocks_per_multiprocessor
    more = f"{blocks} block{'' if blocks == 1 else 's'} a multiprocessor: {resources.limited_by}"
    share = pictures.gauge(resources.occupancy)
    yield _card("occupancy", f"{resources.occupancy:.0%}", f"{share}<br>{escape(more)}")


def _card(name: str, value: str, more: str, tone: str = "") -> str:
    return (
        f'<div class="card"><div class="name">{escape(name)}</div>'
        f'<div class="value {tone}">{value}</div><div class="more">{more}</div></div>'
    )


def _bytes(count: int) -> str:
    if count < 1024:
        return f"{count} <small>B</small>"
    return f"{count / 1024:g} <small>KiB</small>"


# ---- the code


def _panes(found: Inspection) -> str:
    sources = [line.place for line in found.source if line.place is not None and line.is_code]
    keys = {place: number for number, place in enumerate(dict.fromkeys(sources))}
    files = list(dict.fromkeys(file for file, _ in keys))
    title = files[0] if len(files) == 1 else "source"
    panes = [_pane(title, found.source, keys), _pane("PTX", found.ptx, keys)]
    if found.sass is not None:
        panes.append(_pane("SASS", found.sass, keys))
    return f'<div class="panes{" two" if len(panes) == 2 else ""}">{"".join(panes)}</div>'


def _pane(title: str, lines: Iterable[Line], keys: dict[Place, int]) -> str:
    body = "\n".join(_line(line, keys) for line in lines)
    return f'<div><h3>{escape(title)}</h3><div class="code">{body}</div></div>'


def _line(line: Line, keys: dict[Place, int]) -> str:
    text = f"<i>{line.number}</i>{escape(line.text)}"
    key = None if line.place is None else keys.get(line.place)
    if key is None:
        return f"<div{'' if line.is_code else ' class=off'}>{text}</div>"
    # Neighbouring keys get hues far apart.
    return f'<div data-k="{key}" style="--h:{key * 137 % 360}">{text}</div>'


# ---- the passes


def _pass(stage: Pass) -> str:
    lines = len(stage.text.splitlines())
    changed = sum(line.startswith(("+", "-")) for line in stage.diff)
    about = f"{lines} lines" + (f", {changed} changed" if changed else "")
    parts = []
    if stage.diff:
        parts.append(f"<pre>{''.join(map(_diff_line, stage.diff))}</pre>")
        inner = f"<details><summary>the whole text</summary>{_pre(stage.text)}</details>"
        parts.append(f'<div style="padding: 0 16px 10px">{inner}</div>')
    else:
        parts.append(_pre(stage.text))
    is_open = " open" if stage.diff else ""
    return (
        f'<details{is_open}><summary>{escape(stage.name)} <span class="soft">{about}</span>'
        f"</summary>{''.join(parts)}</details>"
    )


def _diff_line(line: str) -> str:
    kind = {"+": "add", "-": "cut", "@": "hunk"}.get(line[:1], "")
    return f'<span class="{kind}">{escape(line)}</span>'


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


# ---- resources, memory, layouts


def _resources(found: Inspection) -> Iterator[str]:
    resources = found.resources
    if resources is not None:
        limits = block_limits(
            found.target, resources.registers, resources.threads, resources.shared
        )
        rows = [(name, float(count), f"{count}") for name, count in limits.items()]
        picture = pictures.bars(rows, emphasis=resources.limited_by)
        yield _figure("blocks of a multiprocessor that each would allow alone", picture)
    top = [(opcode, float(count), str(count)) for opcode, count in found.mix[:_MIX]]
    if top:
        yield _figure("the most frequent instructions", pictures.bars(top))


def _figure(title: str, picture: str) -> str:
    return f'<div class="card"><div class="name">{escape(title)}</div>{picture}</div>'


def _memory(found: Inspection) -> Iterator[str]:
    if not found.shared and not found.accesses:
        yield '<div class="soft">The kernel uses no shared memory.</div>'
        return
    if found.shared:
        total = max(tile.start + tile.size for tile in found.shared)
        picture = pictures.memory_map(found.shared, total)
        yield _figure(f"{total} bytes of a block", picture)
    if found.accesses:
        rows = "".join(map(_access_row, grouped(found.accesses)))
        yield (
            '<div class="card" style="margin-top: 12px; padding: 4px 0; overflow-x: auto"><table>'
            '<tr><th>access</th><th>VM instruction</th><th class="num">PTX line</th>'
            '<th class="num">wavefronts</th><th class="num">least</th>'
            "<th>words of each bank, slowest pass</th></tr>"
            f"{rows}</table></div>"
        )


def _access_row(group: list[SharedAccess]) -> str:
    first = group[0]
    times = f" &times; {len(group)}" if len(group) > 1 else ""
    known = first.wavefronts is not None
    tone = "bad" if first.is_conflicting else "good"
    picture = pictures.banks_picture(first.banks) if first.banks else ""
    return (
        f"<tr><td><code>{escape(first.opcode)}</code>{times}</td>"
        f"<td><code>{escape(shortened(first.comment))}</code></td>"
        f'<td class="num">{first.line}</td>'
        f'<td class="num {tone}">{first.wavefronts if known else "unknown"}</td>'
        f'<td class="num">{first.least if known else ""}</td><td>{picture}</td></tr>'
    )


def _layouts(found: Inspection) -> Iterator[str]:
    for placed in found.layouts[:_MOST_LAYOUTS]:
        picture = register_html(placed.layout, placed.element_bits, _LAYOUT_LIMIT)
        yield _folded(str(placed.layout), ", ".join(placed.names), picture)
    if len(found.layouts) > _MOST_LAYOUTS:
        yield f'<div class="soft">and {len(found.layouts) - _MOST_LAYOUTS} more</div>'
    drawn = set()
    for tile in found.shared[:_MOST_LAYOUTS]:
        if tile.layout is not None and tile.layout not in drawn:
            drawn.add(tile.layout)
            picture = memory_html(tile.layout, tile.element_bits, _LAYOUT_LIMIT)
            yield _folded(str(tile.layout), tile.name, picture)


def _folded(name: str, about: str, inner: str) -> str:
    return (
        f'<details><summary><code>{escape(name)}</code> <span class="soft">{escape(about)}</span>'
        f'</summary><div style="padding: 0 14px 12px">{inner}</div></details>'
    )
