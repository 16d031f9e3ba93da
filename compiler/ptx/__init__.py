"""PTX as data: registers, instructions, modules, a builder and a printer."""

from .builder import Builder, Region
from .effects import has_effect, reads_memory
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
    registers_of,
    special,
)
from .printer import Printed, print_instruction, print_module, print_operand

__all__ = [
    "Address",
    "Builder",
    "Comment",
    "Float32",
    "Instruction",
    "Item",
    "Kernel",
    "Label",
    "LabelRef",
    "Module",
    "Operand",
    "Pair",
    "Parameter",
    "Printed",
    "Region",
    "Register",
    "RegisterKind",
    "Symbol",
    "TensorAddress",
    "Vector",
    "has_effect",
    "print_instruction",
    "print_module",
    "print_operand",
    "reads_memory",
    "registers_of",
    "special",
]
