"""Layouts of shared tiles that tensor cores read and for which the program states none.

The left operand lies along k, the right one row by row as it is written, [k, n], where elements
have 16 bits, else along k too; both in the widest swizzled rows that fit. The layouts of registers
must be known: they say how wide the instructions are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tileloom.layouts import LayoutError, MemoryLayout, matrix_operand, row_major
from tileloom.vm.instructions.wgmma import Wgmma
from tileloom.vm.ir import Function, Value, instructions, map_values
from tileloom.vm.types import SharedType

from ..emit.tiles import tile_type
from ..emit.warp_groups import ROWS, accumulator_blocks


def place_shared_operands(function: Function) -> Function:
    """The function with a layout for each shared operand of a product of warp groups."""
    renamed: dict[Value, Value] = {}
    for value, is_left, box in _operands(function):
        layout = None if value in renamed else _layout(value, is_left, box)
        if layout is not None:
            assert isinstance(value.type, SharedType)
            renamed[value] = Value(value.name, replace(value.type, layout=layout), value.location)
    if not renamed:
        return function
    return replace(function, body=map_values(function.body, lambda v: renamed.get(v, v)))


def _operands(function: Function) -> Iterator[tuple[Value, bool, int]]:
    """Each shared operand, whether it is a left one, and the extent of one instruction along it."""
    for instruction in instructions(function.body):
        if not isinstance(instruction, Wgmma):
            continue
        for operand, is_left in ((instruction.a, True), (instruction.b, False)):
            if isinstance(operand, Value) and isinstance(operand.type, SharedType):
                dtype = operand.type.dtype.name
                blocks = accumulator_blocks(tile_type(instruction.acc).placed, dtype)
                if blocks:  # lowering says what is wrong otherwise
                    yield operand, is_left, ROWS if is_left else blocks[0].width


def _layout(value: Value, is_left: bool, box: int) -> MemoryLayout | None:
    """None where the tile has one, or where none would be legal: lowering says so."""
    type_ = value.type
    assert isinstance(type_, SharedType)
    if type_.layout is not None:
        return None
    *lead, rows, columns = type_.shape
    bits = type_.dtype.bits
    try:
        if is_left:
            inner = matrix_operand(rows, columns, bits, box=box)
        else:
            inner = matrix_operand(columns, rows, bits, bits == 16, box).permute(1, 0)
    except LayoutError:
        return None
    inner = inner.unsqueeze(list(range(len(lead))))
    return row_major(*lead, 1, 1) * inner
