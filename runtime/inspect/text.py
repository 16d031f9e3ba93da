"""An inspection as lines of text, for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..resources import Resources
from .accesses import SharedAccess
from .gather import Inspection, code_by_place
from .listing import Line

_PTX_WIDTH = 62
_MIX = 10


def report_text(inspection: Inspection, sections: tuple[str, ...] = ()) -> str:
    """The report: all sections, or those of the given names."""
    chosen = sections or tuple(SECTIONS)
    parts = ["\n".join(SECTIONS[name](inspection)) for name in chosen]
    return "\n\n".join(part for part in parts if part)


def _summary(found: Inspection) -> Iterator[str]:
    yield f"{found.name} for {found.target}"
    rows = list(_summary_rows(found))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        yield f"  {name:<{width}}  {text}"
    for note in (*found.warnings, *found.notes):
        yield f"  note: {note}"


def _summary_rows(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "threads", f"{found.num_threads} a block"
    if found.resources is not None:
        yield from resource_rows(found.resources)
    else:
        yield "shared memory", f"{found.dynamic_shared} bytes a block"
    yield "bank conflicts", conflicts_text(found)
    if found.assembler:
        yield "assembler", found.assembler
    language = "PTX" if found.sass is None else "SASS"
    total = sum(count for _, count in found.mix)
    listed = ", ".join(f"{count} {opcode}" for opcode, count in found.mix[:_MIX])
    yield language, f"{total} instructions: {listed}"


def conflicts_text(found: Inspection) -> str:
    """How many accesses of shared memory wait for banks, in words."""
    if not found.accesses:
        return "no accesses of shared memory"
    count = len(found.conflicts)
    return f"in {count or 'none'} of {len(found.accesses)} accesses of shared memory"


def resource_rows(resources: Resources) -> Iterator[tuple[str, str]]:
    """What a kernel takes, as pairs of a name and a text."""
    yield "registers", f"{resources.registers} a thread"
    stores, loads = resources.spill_stores, resources.spill_loads
    spills = f"{stores} bytes stored, {loads} loaded" if stores or loads else "none"
    yield "spills", spills
    yield "shared memory", f"{resources.shared} bytes a block"
    blocks = resources.blocks_per_multiprocessor
    plural = "block" if blocks == 1 else "blocks"
    yield (
        "occupancy",
        f"{resources.occupancy:.0%}: {blocks} {plural} a multiprocessor, limited by "
        f"{resources.limited_by}",
    )


def _passes(found: Inspection) -> Iterator[str]:
    yield "passes"
    for number, stage in enumerate(found.passes):
        lines = len(stage.text.splitlines())
        if number == 0:
            yield f"  {stage.name}: {lines} lines"
            yield from (f"    {line}" for line in stage.text.splitlines())
        elif stage.diff:
            yield f"  {stage.name}: {lines} lines; changes:"
            yield from (f"    {line}" for line in stage.diff)
        else:
            is_ptx = stage.name == "ptx"
            yield f"  {stage.name}: {lines} lines{'' if is_ptx else '; no changes'}"
    for conversion in found.conversions:
        yield f"  converted: {conversion}"


def _memory(found: Inspection) -> Iterator[str]:
    if not found.shared:
        return
    yield "shared memory"
    width = max(len(tile.name) for tile in found.shared)
    for tile in found.shared:
        layout = f"  {tile.layout}" if tile.layout is not None else ""
        place = f"{tile.start}..{tile.start + tile.size - 1}"
        yield f"  {tile.name:<{width}}  bytes {place:<14}  {tile.type}{layout}"


def _banks(found: Inspection) -> Iterator[str]:
    if not found.accesses:
        return
    yield "accesses of shared memory: wavefronts of a block (and the least there could be)"
    for group in grouped(found.accesses):
        first = group[0]
        times = f" x{len(group)}" if len(group) > 1 else ""
        yield f"  {_cost(first):<12} {first.opcode}{times}, PTX line {first.line}"
        yield f"  {'':<12} {shortened(first.comment)}"


def shortened(comment: str) -> str:
    """A VM instruction without the type it ends with."""
    return comment.partition(" : ")[0]


def _cost(access: SharedAccess) -> str:
    if access.wavefronts is None:
        return "unknown"
    mark = f" {access.factor:g}x" if access.is_conflicting else ""
    return f"{access.wavefronts} ({access.least}){mark}"


def grouped(accesses: list[SharedAccess]) -> list[list[SharedAccess]]:
    """Accesses that follow each other, come from one VM instruction and cost the same."""
    groups: list[list[SharedAccess]] = []
    for access in accesses:
        same = groups and _alike(groups[-1][-1], access)
        if same:
            groups[-1].append(access)
        else:
            groups.append([access])
    return groups


def _alike(a: SharedAccess, b: SharedAccess) -> bool:
    return (a.opcode, a.comment, a.wavefronts, a.least) == (
        b.opcode,
        b.comment,
        b.wavefronts,
        b.least,
    )


def _code(found: Inspection) -> Iterator[str]:
    sass = [] if found.sass is None else found.sass
    yield (
        "code: PTX, and SASS beside it, below the source" if sass else "code: PTX below the source"
    )
    by_place = code_by_place(found.ptx), code_by_place(sass)
    file = None
    for line in found.source:
        if line.place is None:
            continue
        if line.place[0] != file:
            file = line.place[0]
            yield f"  {file}"
        yield f"  {line.number:>4} | {line.text}".rstrip()
        yield from _columns(*(each.get(line.place, []) for each in by_place))
    without = [line for line in found.ptx if line.is_code and line.place is None]
    if without:
        yield "       what belongs to no line:"
        yield from _columns(without, [line for line in sass if line.place is None])


def _columns(ptx: list[Line], sass: list[Line]) -> Iterator[str]:
    for number in range(max(len(ptx), len(sass))):
        left = ptx[number].text.strip() if number < len(ptx) else ""
        right = f"{sass[number].number}  {sass[number].text}" if number < len(sass) else ""
        yield f"       {left:<{_PTX_WIDTH}}  {right}".rstrip()


SECTIONS: dict[str, Callable[[Inspection], Iterator[str]]] = {
    "summary": _summary,
    "passes": _passes,
    "memory": _memory,
    "banks": _banks,
    "code": _code,
}
