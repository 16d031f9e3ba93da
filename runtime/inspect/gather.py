"""Everything there is to see of one compiled kernel, gathered for the reports.

What needs a tool that isn't installed is left out, and `notes` say why: a report never fails
because of a missing assembler.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tileloom.layouts import MemoryLayout, RegisterLayout, row_major
from tileloom.vm.diagnostics import Location, VMError
from tileloom.vm.instructions.memory import AllocShared
from tileloom.vm.ir import Function, instructions, walk
from tileloom.vm.types import RegType, SharedType

from ..assemble import assemble
from ..compiled import CompiledKernel, lower
from ..override import OverriddenKernel
from ..resources import Resources
from ..sass import disassemble
from .accesses import SharedAccess, shared_accesses
from .listing import Line, place_of, ptx_lines, sass_lines, source_lines


@dataclass(frozen=True)
class Pass:
    """A stage of the compilation: its text, and what it changed in the one before (lines of a
    unified diff without headers; empty for the first, and where the language changes)."""

    name: str
    text: str
    diff: tuple[str, ...]


@dataclass(frozen=True)
class SharedTile:
    """Bytes of shared memory, from `start` on: a tile, or the scratch of conversions."""

    name: str
    start: int
    size: int
    type: str
    layout: MemoryLayout | None
    element_bits: int = 8


@dataclass(frozen=True)
class Placed:
    """A register layout, and the tiles that have it."""

    layout: RegisterLayout
    names: tuple[str, ...]
    element_bits: int


@dataclass(frozen=True)
class Inspection:
    """One kernel, inspected. `resources` and `sass` are None where a tool for them is missing."""

    name: str
    target: str
    num_threads: int
    dynamic_shared: int
    passes: tuple[Pass, ...]
    source: list[Line]
    ptx: list[Line]
    sass: list[Line] | None
    resources: Resources | None
    assembler: str
    warnings: tuple[str, ...]
    shared: tuple[SharedTile, ...]
    accesses: list[SharedAccess]
    layouts: tuple[Placed, ...]
    conversions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def mix(self) -> list[tuple[str, int]]:
        """How often each opcode of the machine code (or, without it, the PTX) stands in the text,
        the most frequent first."""
        lines = self.ptx if self.sass is None else self.sass
        counts = Counter(opcode_of(line.text) for line in lines if line.is_code)
        return counts.most_common()

    @property
    def conflicts(self) -> list[SharedAccess]:
        """The accesses whose lanes wait for banks."""
        return [access for access in self.accesses if access.is_conflicting]


def opcode_of(text: str) -> str:
    """An instruction's opcode without its guard and modifiers."""
    words = text.split()
    if words and words[0].startswith("@"):
        words = words[1:]
    return words[0].partition(".")[0].rstrip(";") if words else ""


def inspect_kernel(kernel: CompiledKernel) -> Inspection:
    """Gathers it all; compiles the program again, to see its stages.

    Raises:
        VMError: the program can't be compiled.
    """
    lowered = lower(kernel.function, kernel.target, keep_stages=True)
    notes: list[str] = []
    places = _places(kernel, lowered.lines)
    resources, assembler, warnings = _assembled(kernel, notes)
    return Inspection(
        name=kernel.name,
        target=kernel.target,
        num_threads=kernel.num_threads,
        dynamic_shared=kernel.dynamic_shared,
        passes=tuple(_passes({**lowered.stages, "ptx": kernel.ptx})),
        source=source_lines(_locations(kernel.function)),
        ptx=ptx_lines(kernel.ptx, places),
        sass=_sass(kernel, notes),
        resources=resources,
        assembler=assembler,
        warnings=warnings,
        shared=tuple(_shared_tiles(lowered.function, kernel.target)),
        accesses=shared_accesses(kernel.ptx, kernel.name, kernel.num_threads),
        layouts=tuple(_layouts(lowered.function)),
        conversions=tuple(map(str, lowered.conversions)),
        notes=tuple(notes),
    )


def _places(kernel: CompiledKernel, lines: dict[int, Location]) -> dict[int, Location]:
    if not isinstance(kernel, OverriddenKernel):
        return lines
    return {new: lines[old] for new, old in kernel.kept_lines.items() if old in lines}


def _locations(function: Function) -> Iterator[Location]:
    for statement in walk(function.body):
        if statement.location is not None:
            yield statement.location


def _passes(stages: dict[str, str]) -> Iterator[Pass]:
    before: str | None = None
    for name, text in stages.items():
        is_program = name != "ptx"
        diff = _diff(before, text) if before is not None and is_program else ()
        yield Pass(name, text, diff)
        before = text


def _diff(before: str, after: str) -> tuple[str, ...]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    return tuple(lines)[2:]  # without the files' names


def _assembled(
    kernel: CompiledKernel, notes: list[str]
) -> tuple[Resources | None, str, tuple[str, ...]]:
    try:
        assembled = kernel.assembled
        return kernel.resources, assembled.assembler, assembled.warnings
    except VMError as error:
        notes.append(f"no machine code: {error.message}")
        return None, "", ()


def _sass(kernel: CompiledKernel, notes: list[str]) -> list[Line] | None:
    try:
        if isinstance(kernel, OverriddenKernel):
            cubin = kernel.cubin
        else:
            # The PTX that launches use names no files; the same with places gives the same code.
            located = lower(kernel.function, kernel.target, with_locations=True)
            cubin = assemble(located.ptx, kernel.target).cubin
        return sass_lines(disassemble(cubin, line_info=True), kernel.name)
    except VMError as error:
        if not notes:
            notes.append(f"no SASS: {error.message}")
        return None


def _shared_tiles(function: Function, target: str) -> Iterator[SharedTile]:
    """The tiles in shared memory and the scratch area, as the compiler places them."""
    from tileloom.compiler.passes.shared import plan_shared, tile_bytes
    from tileloom.compiler.targets import target_named

    plan = plan_shared(function, target_named(target))
    for instruction in instructions(function.body):
        value = instruction.result
        if not isinstance(instruction, AllocShared) or value is None:
            continue
        assert isinstance(value.type, SharedType)
        layout = value.type.layout or row_major(value.type.shape)
        dtype = value.type.dtype
        text = f"{dtype.name} {list(value.type.shape)}"
        size = tile_bytes(value.type)
        yield SharedTile(value.label, plan.offsets[value], size, text, layout, dtype.bits)
    if plan.scratch:
        start = min(plan.scratch.values())
        yield SharedTile("scratch", start, plan.total - start, "conversions, reductions", None)


def _layouts(function: Function) -> Iterator[Placed]:
    names: dict[RegisterLayout, list[str]] = {}
    bits: dict[RegisterLayout, int] = {}
    for instruction in instructions(function.body):
        value = instruction.result
        if value is not None and isinstance(value.type, RegType) and value.type.layout is not None:
            names.setdefault(value.type.layout, []).append(value.label)
            bits.setdefault(value.type.layout, value.type.dtype.bits)
    for layout, found in names.items():
        yield Placed(layout, tuple(dict.fromkeys(found)), bits[layout])


def code_by_place(lines: Iterable[Line]) -> dict[tuple[str, int], list[Line]]:
    """The code of a listing by the source line it belongs to."""
    found: dict[tuple[str, int], list[Line]] = {}
    for line in lines:
        if line.place is not None and line.is_code:
            found.setdefault(line.place, []).append(line)
    return found


__all__ = ["Inspection", "Pass", "Placed", "SharedTile", "inspect_kernel", "place_of"]
