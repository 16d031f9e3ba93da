"""Lowering of `print`: the first thread prints, a tile line by line.

A tile's elements come together in a line's worth of shared memory: for each line, in a loop, the
threads that hold one of its elements put it there, all meet, and the first thread prints it with
one call, so that lines of different blocks never mix within.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from tileloom.vm.dtypes import Dtype, f32
from tileloom.vm.expr import Expr, expr_dtype
from tileloom.vm.instructions.debug import LINE, Print
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType, ScalarType

from ..emit.calls import emit_printf, first_thread, printed_value, specifier
from ..emit.casts import cast_tile
from ..emit.context import Context
from ..emit.elements import unpack_elements
from ..emit.exchange import Carrier
from ..emit.linear import Linear
from ..emit.tiles import Tile
from ..ptx import Address, Operand, Register, RegisterKind
from .registry import lowering, scratch
from .scalars import scalar_value

PRED, B32 = RegisterKind.PRED, RegisterKind.B32


@lowering(Print)
def lower_print(context: Context, instruction: Print) -> None:
    value = instruction.value
    if isinstance(value, Value) and isinstance(value.type, RegType):
        tile = context.tile(value)
        lines = _Lines(context, instruction, tile)
        if tile.type.rank == 0 or prod(tile.type.shape[:-1]) * lines.per_row == 1:
            lines.print_line(0)
        else:
            lines.print_all()
        return
    dtype = expr_dtype(value) if isinstance(value, Expr) else _scalar_dtype(value)
    element = _scalar(context, value, dtype)
    form = f"{_escaped(instruction.label)} " if instruction.label else ""
    with context.guarded(first_thread(context)):
        shown = printed_value(context, element, dtype)
        emit_printf(context, f"{form}{specifier(dtype)}\n", [shown])


def _scalar_dtype(value: Value) -> Dtype:
    assert isinstance(value.type, ScalarType)
    return value.type.dtype


def _scalar(context: Context, value: Value | Expr, dtype: Dtype) -> Operand:
    """A scalar in arithmetic's form."""
    assert isinstance(value, Expr), "scalars are expressions"
    if dtype.is_float:
        return context.scalars.floating(value, double=dtype.bits == 64)
    return scalar_value(context, value, dtype)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


class _Lines:
    """The lines of a tile: `per_row` of up to 16 elements for each index of outer dimensions."""

    def __init__(self, context: Context, instruction: Print, tile: Tile) -> None:
        self.context = context
        self.label = _escaped(instruction.label)
        self.shape = tile.type.shape
        self.dtype = tile.type.dtype
        if self.dtype.kind not in ("int", "uint", "bool") and self.dtype.bits < 16:
            tile = _as_f32(context, tile)
        self.form = self.dtype if tile.type.dtype == self.dtype else tile.type.dtype
        self.layout = tile.type.placed
        self.elements = unpack_elements(context, tile, range(tile.num_locals))
        self.carrier = Carrier(context, self.form)
        self.scratch = context.scratch[instruction]
        self.columns = self.shape[-1] if self.shape else 1
        self.per_row = -(-self.columns // LINE)

    def print_all(self) -> None:
        """A loop over the lines."""
        builder = self.context.builder
        count = prod(self.shape[:-1]) * self.per_row
        line, top = builder.storage(), builder.fresh_label("print")
        builder.emit("mov.b32", (line,), (0,))
        with builder.region():
            builder.place(top)
            self.print_line(line)
            builder.emit("add.s32", (line,), (line, 1))
            again = builder.storage(PRED)
            builder.emit("setp.lt.s32", (again,), (line, count))
            builder.branch(top, again)

    def print_line(self, line: Register | int) -> None:
        """Brings one line together and prints it."""
        context = self.context
        context.barrier()
        self._put(line)
        context.barrier()
        with context.guarded(first_thread(context)):
            self._print(line)

    def _put(self, line: Register | int) -> None:
        context, scalars, size = self.context, self.context.scalars, self.carrier.size
        owns = context.owns(self.layout)
        base = Linear.of(context.shared_base())
        for number, element in enumerate(self.elements):
            row, column = self._index(number)
            own_line = row * self.per_row + scalars.floor_divide(column, LINE)
            place = scalars.in_register(base + scalars.modulo(column, LINE) * size)
            here: Register | bool = True
            if isinstance(line, Register):
                mine = scalars.in_register(own_line)
                here = context.builder.compute("setp.eq.s32", PRED, mine, line)
            condition = scalars.conjunction(owns, here)
            predicate = condition if isinstance(condition, Register) else None
            self.carrier.put(Address(place, self.scratch), element, predicate)

    def _index(self, number: int) -> tuple[Linear, Linear]:
        """An element's row number, its outer dimensions taken together, and its column."""
        local = self.layout.local_table[number].tolist()
        index = [self.context.spatial_index(self.layout, d) + v for d, v in enumerate(local)]
        row = Linear({}, 0)
        for extent, part in zip(self.shape[:-1], index[:-1], strict=True):
            row = row * extent + part
        return row, index[-1] if index else Linear({}, 0)

    def _print(self, line: Register | int) -> None:
        """One call for a full line; another one for a row's last, shorter line."""
        last = self.columns - (self.per_row - 1) * LINE
        if last == LINE or self.per_row == 1:
            self._call(line, min(last, LINE))
            return
        builder, short = self.context.builder, self.context.builder.fresh_label("short")
        end = builder.fresh_label("end")
        chunk = self._digit(line, 1, self.per_row)
        is_last = builder.compute("setp.eq.s32", PRED, chunk, self.per_row - 1)
        with builder.region():
            builder.branch(short, is_last)
            with builder.region():
                self._call(line, LINE)
            builder.branch(end)
            builder.place(short)
            with builder.region():
                self._call(line, last)
            builder.place(end)

    def _call(self, line: Register | int, count: int) -> None:
        context, step = self.context, self.per_row
        values: list[Register] = []
        form: list[str] = []
        for extent in reversed(self.shape[:-1]):
            values.insert(0, self._digit(line, step, extent))
            form.append("%d")
            step *= extent
        if self.shape:
            start = self._digit(line, 1, self.per_row)
            start = context.builder.compute("mul.lo.s32", B32, start, LINE)
            values += [start, context.builder.compute("add.s32", B32, start, count)]
            form.append("%d:%d")
        head = f"{self.label}[{', '.join(form)}]" if self.shape else self.label
        base = context.shared_base()
        for number in range(count):
            address = Address(base, self.scratch + number * self.carrier.size)
            element = self.carrier.get(address, None)
            values.append(printed_value(context, element, self.form))
        numbers = " ".join([specifier(self.dtype)] * count)
        emit_printf(context, f"{head} {numbers}\n" if head else f"{numbers}\n", values)

    def _digit(self, line: Register | int, step: int, extent: int) -> Register:
        """line // step % extent"""
        compute = self.context.builder.compute
        if isinstance(line, int):
            return compute("mov.b32", B32, line // step % extent)
        quotient = compute("div.u32", B32, line, step)
        return compute("rem.u32", B32, quotient, extent)


def _as_f32(context: Context, tile: Tile) -> Tile:
    """The numbers of a code's dtype."""
    type_ = RegType(f32, tile.type.shape, tile.type.layout)
    return replace(tile, type=type_, registers=cast_tile(context, tile, type_))


@scratch(Print)
def print_scratch(instruction: Print, num_threads: int) -> int:
    """Bytes of a line."""
    value = instruction.value
    return 8 * LINE if isinstance(value, Value) and isinstance(value.type, RegType) else 0
