"""The text form of programs: parser and printer. `parse(print_function(f)).text()` is stable.

layout #a = spatial(8, 4) * local(1, 2)

func @double(%x: *f32, %n: i32) warps = 1, grid = [(%n + 63) / 64] {
  %view = global_view %x : global<f32, [%n]>
  ...
}
"""

from .parse import Module, parse, parse_module
from .printer import (
    print_expr,
    print_function,
    print_functions,
    print_group,
    print_instruction,
    print_type,
)

__all__ = [
    "Module",
    "parse",
    "parse_module",
    "print_expr",
    "print_function",
    "print_functions",
    "print_group",
    "print_instruction",
    "print_type",
]
