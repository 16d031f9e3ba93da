"""Code that speaks to the user: `printf` and failed assertions, by one thread of the block."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tileloom.vm.diagnostics import Location
from tileloom.vm.dtypes import Dtype
from tileloom.vm.instructions.debug import number_format

from ..ptx import Address, Operand, Register, RegisterKind, Symbol
from .context import Context

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64


def first_thread(context: Context) -> Register:
    """True in thread 0."""
    return context.builder.pure("setp.eq.s32", PRED, context.thread(), 0)


def specifier(dtype: Dtype) -> str:
    """The `printf` specifier of a number that `printed_value` made."""
    form = number_format(dtype)
    return f"%ll{form}" if dtype.bits == 64 and not dtype.is_float else f"%{form}"


def printed_value(context: Context, element: Operand, dtype: Dtype) -> Register:
    """An element in arithmetic's form as `printf` takes it: floats are doubles."""
    builder = context.builder
    if dtype.kind == "bool":
        return builder.compute("selp.b32", B32, 1, 0, element)
    if dtype.bits == 64:
        return _register(context, element, B64)
    if dtype.kind in ("int", "uint"):
        return _register(context, element, B32)
    return builder.compute("cvt.f64.f32", B64, element)


def _register(context: Context, element: Operand, kind: RegisterKind) -> Register:
    if isinstance(element, Register):
        return element
    return context.builder.compute(f"mov.{kind.ptx_type}", kind, element)


def emit_printf(context: Context, form: str, values: Sequence[Register]) -> None:
    """`printf(form, values...)` by each thread that gets here."""
    builder, offset, places = context.builder, 0, []
    for value in values:
        width = 8 if value.kind is B64 else 4
        offset = -(-offset // width) * width
        places.append(offset)
        offset += width
    stack = builder.stack(max(offset, 8))
    for value, place in zip(values, places, strict=True):
        builder.emit(f"st.local.{value.kind.ptx_type}", (), (Address(stack, place), value))
    start = builder.compute("mov.u64", B64, stack)
    generic = builder.compute("cvta.local.u64", B64, start)
    builder.emit("call", (), (Symbol("vprintf"), text_address(context, form), generic))


def text_address(context: Context, text: str) -> Register:
    """The generic address of a constant text."""
    builder = context.builder
    return builder.pure("cvta.global.u64", B64, builder.pure("mov.u64", B64, builder.text(text)))


def emit_failure(context: Context, message: str, location: Location | None) -> None:
    """Stops the program with a message; the first thread tells it, the others wait for the end."""
    # The whole path would make a program's code depend on where it lies.
    file = os.path.basename(location.file) if location is not None else "?"
    line = context.builder.compute("mov.b32", B32, location.line if location is not None else 0)
    size = context.builder.compute("mov.b64", B64, 1)
    with context.guarded(first_thread(context)):
        texts = [text_address(context, text) for text in (message, file, context.function.name)]
        arguments = (texts[0], texts[1], line, texts[2], size)
        context.builder.emit("call", (), (Symbol("__assertfail"), *arguments))
    context.barrier()
