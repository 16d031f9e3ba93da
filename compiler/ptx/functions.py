"""Calls of the functions that every device has, and what they need around a kernel.

An instruction `call` has as sources the function's name and one register an argument.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .operands import Operand, Register, Symbol

if TYPE_CHECKING:
    from .module import Kernel

STACK = Symbol("stack")


class Function(NamedTuple):
    """The types of a function's parameters and of its result."""

    parameters: tuple[str, ...]
    result: str | None = None


FUNCTIONS = {
    # format, place of the values in generic memory; the number of values
    "vprintf": Function(("b64", "b64"), "b32"),
    # message, file, line, function, bytes a character
    "__assertfail": Function(("b64", "b64", "b32", "b64", "b64")),
}


def text_symbol(number: int) -> Symbol:
    """The name of a kernel's text."""
    return Symbol(f"text_{number}")


def print_declarations(kernel: Kernel) -> list[str]:
    """The functions a kernel calls and the texts it shows, as text."""
    names: dict[str, None] = {}
    for instruction in kernel.instructions():
        if instruction.opcode == "call":
            assert isinstance(instruction.srcs[0], Symbol)
            names[instruction.srcs[0].name] = None
    lines = [_declaration(name, FUNCTIONS[name]) for name in names]
    for number, text in enumerate(kernel.texts):
        data = text.encode() + b"\0"
        values = ", ".join(map(str, data))
        name = text_symbol(number).name
        lines.append(f"// {name}: {json.dumps(text)}")
        lines.append(f".global .align 1 .b8 {name}[{len(data)}] = {{{values}}};")
    return [*lines, ""] if lines else []


def _declaration(name: str, function: Function) -> str:
    result = f"(.param .{function.result} result) " if function.result else ""
    parameters = ", ".join(
        f".param .{ptx_type} argument_{number}"
        for number, ptx_type in enumerate(function.parameters)
    )
    return f".extern .func {result}{name}({parameters});"


def call_lines(sources: Sequence[Operand]) -> list[str]:
    """The lines of a call: its arguments travel in variables of a scope of their own."""
    name, *arguments = sources
    assert isinstance(name, Symbol)
    function = FUNCTIONS[name.name]
    lines = ["{"]
    for number, (ptx_type, argument) in enumerate(zip(function.parameters, arguments, strict=True)):
        assert isinstance(argument, Register)
        lines.append(f".param .{ptx_type} argument_{number};")
        lines.append(f"st.param.{ptx_type} [argument_{number}], {argument.name};")
    result = ""
    if function.result:
        lines.append(f".param .{function.result} result;")
        result = "(result), "
    given = ", ".join(f"argument_{number}" for number in range(len(arguments)))
    return [*lines, f"call {result}{name.name}, ({given});", "}"]
