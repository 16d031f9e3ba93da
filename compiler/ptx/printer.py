"""Prints PTX modules as text, canonically and readably.

The text is a function of the module alone; source places appear only when asked for
(`with_locations`), because they must not enter cache keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tileloom.vm.diagnostics import Location

from .functions import STACK, call_lines, print_declarations
from .module import Comment, Instruction, Item, Kernel, Label, Module, Parameter
from .operands import (
    Address,
    Float32,
    LabelRef,
    Operand,
    Pair,
    Register,
    RegisterKind,
    Symbol,
    TensorAddress,
    Vector,
)


@dataclass
class Printed:
    """PTX text and, per text line (1-based), the source place of the code on it."""

    text: str
    lines: dict[int, Location] = field(default_factory=dict)


def print_module(module: Module, with_locations: bool = False) -> Printed:
    """The text of a module; `with_locations` adds `.file` and `.loc` directives."""
    out = [
        f".version {module.version[0]}.{module.version[1]}",
        f".target {module.target}",
        ".address_size 64",
        "",
    ]
    if module.shared_symbol is not None:
        out.append(
            f".extern .shared .align {module.shared_alignment} .b8 {module.shared_symbol}[];"
        )
        out.append("")
    files = _file_numbers(module) if with_locations else {}
    for path, number in files.items():
        out.append(f'.file {number} "{path}"')
    lines: dict[int, Location] = {}
    for kernel in module.kernels:
        out += print_declarations(kernel)
        _print_kernel(kernel, out, lines, files)
    return Printed("\n".join(out) + "\n", lines)


def print_operand(operand: Operand) -> str:
    """One operand as PTX text."""
    if type(operand) is Register:
        return operand.name
    if type(operand) is int:
        return str(operand)
    if isinstance(operand, Float32):
        return f"0f{operand.bits:08X}"
    if isinstance(operand, Vector):
        return f"{{{', '.join([print_operand(e) for e in operand.elements])}}}"
    if isinstance(operand, Address):
        base = operand.base.name
        if operand.offset == 0:
            return f"[{base}]"
        return f"[{base}+{operand.offset}]"
    if isinstance(operand, TensorAddress):
        return f"[{operand.map.name}, {print_operand(Vector(operand.coordinates))}]"
    if isinstance(operand, Pair):
        return "|".join(each.name for each in operand)
    assert isinstance(operand, Symbol | LabelRef), operand
    return operand.name


def print_instruction(instruction: Instruction) -> str:
    """One instruction, without indentation."""
    operands = ", ".join(
        [
            o.name if type(o) is Register else str(o) if type(o) is int else print_operand(o)
            for o in instruction.dsts + instruction.srcs
        ]
    )
    text = f"{instruction.opcode} {operands};" if operands else f"{instruction.opcode};"
    if instruction.predicate is None:
        return text
    return f"@{'!' if instruction.negated else ''}{instruction.predicate.name} {text}"


def _print_kernel(
    kernel: Kernel, out: list[str], lines: dict[int, Location], files: dict[str, int]
) -> None:
    out.append(f".visible .entry {kernel.name}(")
    parameters = [f"    {_print_parameter(p)}" for p in kernel.parameters]
    if parameters:
        out.append(",\n".join(parameters))
    out.append(")")
    out.append(f".maxntid {kernel.num_threads}, 1, 1")
    if kernel.min_blocks is not None:
        out.append(f".minnctapersm {kernel.min_blocks}")
    if kernel.max_registers is not None:
        out.append(f".maxnreg {kernel.max_registers}")
    if kernel.cluster is not None:
        x, y, z = kernel.cluster
        out += [".explicitcluster", f".reqnctapercluster {x}, {y}, {z}"]
    out.append("{")
    for kind in RegisterKind:
        count = kernel.register_counts.get(kind, 0)
        if count:
            out.append(f"    .reg .{kind.ptx_type} %{kind.prefix}<{count}>;")
    if kernel.local_bytes:
        out.append(f"    .local .align 16 .b8 {STACK.name}[{kernel.local_bytes}];")
    line_number = sum(text.count("\n") + 1 for text in out)
    place: Location | None = None
    for item in kernel.body:
        texts = _print_item(item, files)
        out += texts
        if type(item) is Comment:
            place = item.location
        elif place is not None and type(item) is Instruction:
            for number in range(len(texts)):
                lines[line_number + number + 1] = place
        line_number += len(texts)
    out.append("}")


def _print_item(item: Item, files: dict[str, int]) -> list[str]:
    if type(item) is Instruction:
        if item.opcode == "call":
            return [f"    {line}" for line in call_lines(item.srcs)]
        return ["    " + print_instruction(item)]
    if type(item) is Label:
        return [f"{item.name}:"]
    assert type(item) is Comment
    texts = [f"    // {line}" for line in item.text.split("\n")]
    if files and item.location is not None:
        number = files[item.location.display_file()]
        texts.append(f"    .loc {number} {item.location.line} {item.location.column}")
    return texts


def _print_parameter(parameter: Parameter) -> str:
    if parameter.array_bytes is not None:
        return f".param .align {parameter.alignment} .b8 {parameter.name}[{parameter.array_bytes}]"
    return f".param .{parameter.ptx_type} {parameter.name}"


def _file_numbers(module: Module) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for kernel in module.kernels:
        for item in kernel.body:
            if type(item) is Comment and item.location is not None:
                numbers.setdefault(item.location.display_file(), len(numbers) + 1)
    return numbers
