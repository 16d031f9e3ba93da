"""What `tileloom compile` writes: for each kernel `k` the files `k.vm`, `k.ptx` and, where there is
an assembler, `k.cubin`; and one `resources.json` for all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tileloom import vm
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.ir import Function
from tileloom.vm.text import parse_module

from .assemble import Assembled, assemble
from .compiled import CompiledKernel, compile_kernel
from .toolkit import available_assembler, find_assembler


@dataclass
class Written:
    """The files written, what `resources.json` holds, and what the user should know."""

    folder: Path
    paths: list[Path] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def write(self, name: str, data: str | bytes) -> None:
        """Writes one file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
        self.paths.append(path)


def compile_file(source: Path, target: str, folder: Path, opt_level: int = 3) -> Written:
    """Compiles a file of VM text, or assembles one of PTX.

    Raises:
        VMError: a mistake in the file.
        UsageError: it can't be read.
    """
    if source.suffix == ".ptx":
        return _assemble_file(source.stem, _read(source), target, folder, opt_level)
    return write_kernels(read_functions(source), target, folder, opt_level)


def read_functions(source: Path) -> list[Function]:
    """The functions of a file of VM text.

    Raises:
        VMError: a mistake in the file.
        UsageError: it can't be read.
    """
    text = _read(source)
    return list(parse_module(text, str(source)).functions) or [vm.parse(text, str(source))]


def _read(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"`{source}` can't be read: {reason}") from None


def write_kernels(
    kernels: Iterable[CompiledKernel | Function], target: str, folder: Path, opt_level: int = 3
) -> Written:
    """Writes everything about some kernels into a folder, which is made if needed."""
    written = Written(folder)
    for item in kernels:
        kernel = compile_kernel(item, target) if isinstance(item, Function) else item
        name = _free_name(kernel.name, written.report)
        written.write(f"{name}.vm", kernel.text())
        written.write(f"{name}.ptx", kernel.ptx)
        facts: dict[str, Any] = {
            "target": kernel.target,
            "threads": kernel.num_threads,
            "dynamic_shared": kernel.dynamic_shared,
        }
        if available_assembler() is None:
            written.notes.append(f"there is no assembler, so no `{name}.cubin`")
        else:
            facts |= _assembled_facts(kernel, opt_level)
            written.write(f"{name}.cubin", facts.pop("cubin"))
        written.report[name] = facts
    _finish(written)
    return written


def _assembled_facts(kernel: CompiledKernel, opt_level: int) -> dict[str, Any]:
    if opt_level != 3:  # not what launches use, so neither kept nor taken from the cache
        assembled = assemble(kernel.ptx, kernel.target, opt_level=opt_level)
        return {**_facts(assembled), "cubin": assembled.cubin}
    facts = {**_facts(kernel.assembled), **kernel.resources.as_dict()}
    return {**facts, "cubin": kernel.cubin}


def _facts(assembled: Assembled) -> dict[str, Any]:
    return {
        "registers": assembled.registers,
        "spill_stores": assembled.spill_stores,
        "spill_loads": assembled.spill_loads,
        "static_shared": assembled.shared,
        "assembler": assembled.assembler,
        "flags": list(assembled.flags),
        "warnings": list(assembled.warnings),
    }


def _assemble_file(name: str, ptx: str, target: str, folder: Path, opt_level: int) -> Written:
    written = Written(folder)
    assembled = assemble(ptx, target, opt_level=opt_level, assembler=find_assembler())
    written.write(f"{name}.cubin", assembled.cubin)
    written.report[name] = {"target": target, **_facts(assembled)}
    _finish(written)
    return written


def _free_name(name: str, taken: dict[str, Any]) -> str:
    """`name`, or `name_2` and so on for variants of one program."""
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free


def _finish(written: Written) -> None:
    written.write("resources.json", json.dumps(written.report, indent=2, sort_keys=True) + "\n")
