"""Layouts as functions on integers: tiles in registers, tiles in memory, hardware fragments.

No dtypes and no IR here. Start with `RegisterLayout` (register_layout.py) and `MemoryLayout`
(memory_layout.py). `GlobalLayout` is a view with symbolic sizes; `fragments` has the operands of
tensor-core instructions.
"""

from . import fragments
from .atoms import auto, column_local, column_spatial, local, replicate, spatial
from .banks import access_wavefronts, bank_conflicts, ldmatrix_wavefronts, wavefronts
from .draw import draw, draw_banks, draw_banks_svg, draw_svg
from .errors import LayoutError
from .global_layout import GlobalLayout
from .holdings import access_costs, lines_of, registers_of
from .matrix_operand import MatrixDescriptor, describe_operand, matrix_operand
from .memory_layout import MemoryLayout, column_major, row_major, strided, swizzled
from .memory_parse import parse_memory_layout
from .page import memory_html, page, register_html
from .parse import parse_layout
from .register_layout import RegisterLayout
from .swizzle import Swizzle

__all__ = [
    "GlobalLayout",
    "LayoutError",
    "MatrixDescriptor",
    "MemoryLayout",
    "RegisterLayout",
    "Swizzle",
    "access_costs",
    "access_wavefronts",
    "auto",
    "bank_conflicts",
    "column_local",
    "column_major",
    "column_spatial",
    "describe_operand",
    "draw",
    "draw_banks",
    "draw_banks_svg",
    "draw_svg",
    "fragments",
    "ldmatrix_wavefronts",
    "lines_of",
    "local",
    "matrix_operand",
    "memory_html",
    "page",
    "parse_layout",
    "parse_memory_layout",
    "register_html",
    "registers_of",
    "replicate",
    "row_major",
    "spatial",
    "strided",
    "swizzled",
    "wavefronts",
]
