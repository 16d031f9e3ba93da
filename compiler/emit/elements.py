"""Single elements of tiles in the registers that arithmetic works on.

| dtype | one element is computed as |
|---|---|
| f32, tf32, f16, bf16 | f32 in a 32-bit register |
| integers up to 32 bits | a 32-bit integer, zero- or sign-extended |
| 64-bit types | a 64-bit register |
| bool | a predicate |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import Const, Expr
from tileloom.vm.types import RegType

from ..ptx import Float32, Operand, Register, RegisterKind, Vector
from .bits import Piece, assemble, extract, split_at_words
from .context import Context, LoweringError
from .packed import element_positions
from .scalars import scalar_kind
from .tiles import Tile

PRED, B16, B32, B64 = RegisterKind.PRED, RegisterKind.B16, RegisterKind.B32, RegisterKind.B64


def is_half(dtype: Dtype) -> bool:
    """f16 or bf16: two to a word, with packed arithmetic."""
    return dtype.name in ("f16", "bf16")


def unpack_elements(context: Context, tile: Tile, numbers: Sequence[int]) -> list[Register]:
    """The elements with these local numbers, each as arithmetic wants it."""
    if tile.type.dtype.kind == "bool" or tile.bits >= 32:
        return [tile.registers[number] for number in numbers]
    positions = element_positions(tile.type.packing, tile.bits, tile.num_locals)
    found: dict[int, Register] = {}
    for number in numbers:
        if number not in found:
            word, bit = divmod(positions[number], 32)
            found[number] = _unpack(context, tile, word, bit)
    return [found[number] for number in numbers]


def _unpack(context: Context, tile: Tile, word: int, bit: int) -> Register:
    dtype, register, builder = tile.type.dtype, tile.registers[word], context.builder
    if dtype.name == "bf16":
        if bit == 0:
            return builder.compute("shl.b32", B32, register, 16)
        return builder.compute("and.b32", B32, register, 0xFFFF0000)
    if dtype.name == "f16":
        low, high = builder.once(B16), builder.once(B16)
        builder.emit("mov.b32", (Vector((low, high)),), (register,))
        return builder.compute("cvt.f32.f16", B32, low if bit == 0 else high)
    if bit + tile.bits > 32:
        other = tile.registers[word + 1]
        pieces = [
            Piece(register, bit, 32 - bit, 0),
            Piece(other, 0, bit + tile.bits - 32, 32 - bit),
        ]
        register, bit = assemble(builder, pieces), 0
    if dtype.kind not in ("int", "uint"):
        raise LoweringError(f"no arithmetic on `{dtype.name}`", hint="cast it to f16 or f32 first")
    return extract(builder, register, bit, tile.bits, dtype.kind == "int")


def pack_elements(context: Context, type_: RegType, elements: Sequence[Operand]) -> list[Register]:
    """Registers of a tile from its elements in the representation of `unpack_elements`."""
    dtype = type_.dtype
    if dtype.kind == "bool":
        return cast(list[Register], list(elements))
    if dtype.name == "tf32":
        return [to_tf32(context, _as_register(context, e, B32)) for e in elements]
    if dtype.bits >= 32:
        kind = B64 if dtype.bits == 64 else B32
        return [_as_register(context, element, kind) for element in elements]
    if is_half(dtype):
        return _pack_halves(context, dtype, elements)
    pieces: list[list[Piece]] = [[] for _ in range(-(-len(elements) * dtype.bits // 32))]
    for number, element in enumerate(elements):
        register = _as_register(context, element, B32)
        for _, bit, width, to, to_bit in split_at_words(0, dtype.bits, number * dtype.bits):
            pieces[to].append(Piece(register, bit, width, to_bit))
    return [assemble(context.builder, parts) for parts in pieces]


def to_tf32(context: Context, x: Register) -> Register:
    """Rounds away 13 mantissa bits, ties to even; infinities and NaNs keep their upper bits."""
    compute = context.builder.compute
    odd = compute("bfe.u32", B32, x, 13, 1)
    raised = compute("add.s32", B32, x, odd)
    raised = compute("add.s32", B32, raised, 0xFFF)
    magnitude = compute("and.b32", B32, x, 0x7FFFFFFF)
    special = compute("setp.ge.u32", PRED, magnitude, 0x7F800000)
    chosen = compute("selp.b32", B32, x, raised, special)
    return compute("and.b32", B32, chosen, 0xFFFFE000)


def _pack_halves(context: Context, dtype: Dtype, elements: Sequence[Operand]) -> list[Register]:
    words = []
    for i in range(0, len(elements), 2):
        low = elements[i]
        high = elements[i + 1] if i + 1 < len(elements) else Float32(0)
        words.append(context.builder.compute(f"cvt.rn.{dtype.name}x2.f32", B32, high, low))
    return words


def _as_register(context: Context, element: Operand, kind: RegisterKind) -> Register:
    if isinstance(element, Register):
        return element
    return context.builder.compute(f"mov.{kind.ptx_type}", kind, element)


def scalar_element(context: Context, expr: Expr, dtype: Dtype) -> Operand:
    """A scalar operand as an element of `dtype`: rounded to it, then in arithmetic's form."""
    if dtype.kind == "bool":
        predicate = context.scalars.predicate(expr)
        if isinstance(predicate, bool):
            return context.builder.pure("setp.ne.s32", PRED, int(predicate), 0)
        return predicate
    if dtype.bits == 64 and dtype.is_float:
        return context.scalars.floating(expr, double=True)
    if isinstance(expr, Const):
        return _constant(dtype, expr.value)
    if dtype.bits == 64:
        return context.scalars.extended(expr)
    if not dtype.is_float:
        assert scalar_kind(expr) != "float", "a float scalar for an integer tile"
        number = context.scalars.narrow(context.scalars.integer(expr))
        return extended(context, number, dtype)
    value = context.scalars.floating(expr)
    if is_half(dtype):
        word = context.builder.pure(f"cvt.rn.{dtype.name}x2.f32", B32, value, value)
        if dtype.name == "bf16":
            return context.builder.pure("shl.b32", B32, word, 16)
        half = context.builder.pure("cvt.u16.u32", B16, word)
        return context.builder.pure("cvt.f32.f16", B32, half)
    if dtype.name == "tf32":
        return to_tf32(context, _as_register(context, value, B32))
    return value


def extended(context: Context, value: Register | int, dtype: Dtype) -> Register | int:
    """An integer wrapped to a dtype of up to 32 bits, extended to 32."""
    if dtype.bits == 32:
        return value
    if isinstance(value, int):
        value %= 1 << dtype.bits
        return value - (value >> dtype.bits - 1 << dtype.bits) if dtype.kind == "int" else value
    known = context.facts.of(value)
    bounded = known.lo is not None and known.hi is not None
    if dtype.kind == "uint" and bounded and known.lo >= 0 and known.hi >> dtype.bits == 0:  # type: ignore[operator]
        return value
    opcode = f"bfe.{'s' if dtype.kind == 'int' else 'u'}32"
    return context.builder.pure(opcode, B32, value, 0, dtype.bits)


def _constant(dtype: Dtype, value: float | int | bool) -> Operand:
    if dtype.is_float:
        return Float32.of(float(dtype.decode(dtype.encode(value))))
    code = int(value) % (1 << dtype.bits)
    return code - (code >> dtype.bits - 1 << dtype.bits) if dtype.kind == "int" else code


def scalar_word(context: Context, expr: Expr, dtype: Dtype) -> Operand:
    """A scalar operand in both halves of a word."""
    if isinstance(expr, Const):
        code = int(dtype.encode(expr.value))
        # Packed operations take no immediates.
        return context.builder.pure("mov.b32", B32, code << 16 | code)
    value = context.scalars.floating(expr)
    return context.builder.pure(f"cvt.rn.{dtype.name}x2.f32", B32, value, value)
