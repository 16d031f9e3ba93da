"""Casts and decodes of tiles: the planner's sequences for narrow types, `cvt` for wide ones."""

from __future__ import annotations

from tileloom.vm.dtypes import Dtype
from tileloom.vm.types import RegType

from ..casts import can_cast, emit_plan, plan_cast, plan_decode
from ..ptx import Float32, Operand, Register, RegisterKind
from .context import Context, LoweringError
from .elements import pack_elements, unpack_elements
from .tiles import Tile

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64
_WIDE_FLOATS = ("f16", "bf16", "f32", "tf32", "f64")
_SHORT_FLOATS = ("bf16", "tf32")  # f32's exponents, fewer digits


def decode_tile(context: Context, source: Tile, type_: RegType, form: str = "") -> list[Register]:
    """The registers of a decoded tile."""
    old, count = source.type, source.num_locals
    plan = plan_decode(old.dtype, type_.dtype, old.packing, count, context.target.name, form)
    return emit_plan(context.builder, plan, source.registers)


def cast_tile(context: Context, source: Tile, type_: RegType) -> list[Register]:
    """The registers of a tile cast to another dtype (same layout)."""
    old, new = source.type.dtype, type_.dtype
    if _is_planned(old, new):
        plan = plan_cast(old, new, source.type.packing, source.num_locals, context.target.name)
        return emit_plan(context.builder, plan, source.registers)
    if not (_is_wide(old) and (_is_wide(new) or new.kind in ("int", "uint"))):
        raise LoweringError(f"`cast`: no conversion from `{old.name}` to `{new.name}` yet")
    elements = unpack_elements(context, source, range(source.num_locals))
    return pack_elements(context, type_, [_convert(context, old, new, e) for e in elements])


def _is_wide(dtype: Dtype) -> bool:
    if dtype.kind in ("int", "uint"):
        return dtype.bits in (8, 16, 32, 64)
    return dtype.kind == "bool" or dtype.name in _WIDE_FLOATS


def _is_planned(old: Dtype, new: Dtype) -> bool:
    """Narrow types are the planner's, and 8-bit integers too where they become floats."""
    narrow = old.bits <= 8 or new.bits <= 8
    to_float = old.bits <= 8 and new.name in ("f16", "bf16", "f32")
    return narrow and can_cast(old, new) and (to_float or not (_is_wide(old) and _is_wide(new)))


def _convert(context: Context, old: Dtype, new: Dtype, x: Register) -> Operand:
    """One element from `unpack_elements` form of `old` to `pack_elements` form of `new`."""
    compute = context.builder.compute
    if old.kind == "bool":
        one: Operand = 1
        if new.is_float:
            one = Float32.of(1.0) if new.bits < 64 else 0x3FF0000000000000
        wide = new.bits == 64
        return compute("selp.b64" if wide else "selp.b32", B64 if wide else B32, one, 0, x)
    if new.kind == "bool":
        if not old.is_float:
            return compute(f"setp.ne.{_type(old)}", PRED, x, 0)
        wide = old.bits == 64
        zero = context.builder.pure("mov.b64", B64, 0) if wide else Float32.of(0.0)
        return compute(f"setp.neu.{_type(old)}", PRED, x, zero)
    if old.is_float and new.is_float:
        return _float_to_float(context, old, new, x)
    if old.is_float:
        return _float_to_int(context, old, new, x)
    if new.name in _SHORT_FLOATS and old.bits >= 32:
        return _to_odd(context, _type(old), x)
    if new.is_float:
        target = "f64" if new.bits == 64 else "f32"
        return compute(f"cvt.rn.{target}.{_type(old)}", B64 if new.bits == 64 else B32, x)
    return _int_to_int(context, old, new, x)


def _type(dtype: Dtype) -> str:
    """The PTX type in which an element is computed."""
    width = 64 if dtype.bits == 64 else 32
    sign = {"int": "s", "uint": "u"}.get(dtype.kind, "f")
    return f"{sign}{width}"


def _float_to_float(context: Context, old: Dtype, new: Dtype, x: Register) -> Register:
    compute = context.builder.compute
    if old.bits == 64 and new.bits < 64:
        # Halves would be rounded twice.
        if new.bits == 16:
            raise LoweringError(f"`cast`: no conversion from `f64` to `{new.name}` yet")
        x = (
            _to_odd(context, "f64", x)
            if new.name in _SHORT_FLOATS
            else compute("cvt.rn.f32.f64", B32, x)
        )
    elif new.bits == 64:
        return compute("cvt.f64.f32", B64, x) if old.bits < 64 else x
    return x


def _to_odd(context: Context, source: str, x: Register) -> Register:
    """f32 of a number of more digits, its last bit set where some were cut off, so that rounding to
    fewer digits is the only one. (f16 needs it not: integers that f32 rounds are too large for it.)
    """
    compute = context.builder.compute
    cut, below, above = (compute(f"cvt.{mode}.f32.{source}", B32, x) for mode in ("rz", "rm", "rp"))
    inexact = compute("setp.ne.b32", PRED, below, above)
    return compute("or.b32", B32, cut, compute("selp.b32", B32, 1, 0, inexact))


def _float_to_int(context: Context, old: Dtype, new: Dtype, x: Register) -> Register:
    """To the nearest integer, ties to even, saturating; zero for NaNs."""
    source = "f64" if old.bits == 64 else "f32"
    kind = B64 if new.bits == 64 else B32
    compute = context.builder.compute
    rounded = compute(f"cvt.rni.{_type(new)}.{source}", kind, x)
    if 64 in (old.bits, new.bits):  # where `cvt` makes the top bit of a NaN
        number = compute(f"setp.eq.{source}", PRED, x, x)
        rounded = compute(f"selp.b{new.bits if new.bits == 64 else 32}", kind, rounded, 0, number)
    return _clamp(context, new, rounded) if new.bits < 32 else rounded


def _int_to_int(context: Context, old: Dtype, new: Dtype, x: Register) -> Register:
    """Saturating conversion between integers."""
    compute = context.builder.compute
    if old.bits == 64 or new.bits == 64:
        if old.bits == new.bits and old.kind == new.kind:
            return x
        if new.bits == 64 and old.bits < 64 and (old.kind, new.kind) != ("int", "uint"):
            return compute(f"cvt.{_type(new)}.{_type(old)}", B64, x)
        kind = B64 if new.bits == 64 else B32
        limited = compute(f"cvt.sat.{_type(new)}.{_type(old)}", kind, x)
        return _clamp(context, new, limited) if new.bits < 32 else limited
    fits = new.min_finite <= old.min_finite and old.max_finite <= new.max_finite
    if fits:
        return x
    if new.bits == 32:
        bound = compute("max.s32", B32, x, 0) if new.kind == "uint" else x
        return compute("min.u32", B32, bound, 0x7FFFFFFF) if new.kind == "int" else bound
    if old.kind == "uint":
        return compute("min.u32", B32, x, int(new.max_finite))
    return _clamp_signed(context, new, x)


def _clamp(context: Context, new: Dtype, x: Register) -> Register:
    if new.kind == "uint":
        return context.builder.compute("min.u32", B32, x, int(new.max_finite))
    return _clamp_signed(context, new, x)


def _clamp_signed(context: Context, new: Dtype, x: Register) -> Register:
    raised = context.builder.compute("max.s32", B32, x, int(new.min_finite))
    return context.builder.compute("min.s32", B32, raised, int(new.max_finite))
