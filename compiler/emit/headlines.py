"""The line of VM text that stands above a statement's code."""

from __future__ import annotations

from tileloom.vm.instruction import Instruction
from tileloom.vm.ir import Break, For, Group, If, Return, Statement, While
from tileloom.vm.text import print_expr, print_group, print_instruction


def headline(statement: Statement) -> str:
    """The statement as the text form writes it, without nested blocks."""
    match statement:
        case Instruction():
            return print_instruction(statement)
        case For(index=index, lower=lower, upper=upper, step=step):
            bounds = f"{print_expr(lower)} to {print_expr(upper)} step {print_expr(step)}"
            return f"for %{index.name} in {bounds}"
        case While(condition=condition):
            return f"while {print_expr(condition)}"
        case If(condition=condition):
            return f"if {print_expr(condition)}"
        case Break():
            return "break"
        case Return():
            return "return"
        case Group():
            return print_group(statement)
