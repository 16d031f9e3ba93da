"""The instruction sequences of single elementwise operations, by operation and dtype."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tileloom.vm.dtypes import Dtype
from tileloom.vm.instruction import Instruction
from tileloom.vm.instructions import elementwise as vm

from ..emit.context import Context, LoweringError
from ..ptx import Float32, Operand, Register, RegisterKind
from ..targets import Target

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64
Emit = Callable[..., Register]

_LOG2_E = Float32.of(1.4426950408889634)
_LN_2 = Float32.of(0.6931471805599453)
_ONE = Float32.of(1.0)


def _simple(opcode: str, context: Context, *operands: Operand) -> Register:
    kind = B64 if opcode.endswith("64") else PRED if opcode.endswith(".pred") else B32
    return context.builder.compute(opcode, kind, *operands)


def _compare(opcode: str, context: Context, *operands: Operand) -> Register:
    return context.builder.compute(opcode, PRED, *operands)


def _exp(context: Context, x: Operand) -> Register:
    scaled = context.builder.compute("mul.rn.f32", B32, x, _LOG2_E)
    return context.builder.compute("ex2.approx.f32", B32, scaled)


def _log(context: Context, x: Operand) -> Register:
    binary = context.builder.compute("lg2.approx.f32", B32, x)
    return context.builder.compute("mul.rn.f32", B32, binary, _LN_2)


def _sigmoid(context: Context, x: Operand) -> Register:
    negated = context.builder.compute("neg.f32", B32, x)
    grown = context.builder.compute("add.rn.f32", B32, _exp(context, negated), _ONE)
    return context.builder.compute("rcp.approx.f32", B32, grown)


def _clip(suffix: str, context: Context, x: Operand, lower: Operand, upper: Operand) -> Register:
    kind = B64 if suffix.endswith("64") else B32
    raised = context.builder.compute(f"max.{suffix}", kind, x, lower)
    return context.builder.compute(f"min.{suffix}", kind, raised, upper)


_FLOAT: dict[type[Instruction], str] = {
    vm.Add: "add.rn", vm.Sub: "sub.rn", vm.Mul: "mul.rn", vm.Div: "div.rn",
    vm.Min: "min", vm.Max: "max", vm.Neg: "neg", vm.Abs: "abs",
    vm.FusedMultiplyAdd: "fma.rn", vm.Sqrt: "sqrt.rn", vm.Rcp: "rcp.rn",
}  # fmt: skip
_FLOAT32: dict[type[Instruction], Emit] = {
    vm.Exp2: partial(_simple, "ex2.approx.f32"),
    vm.Exp: _exp,
    vm.Log2: partial(_simple, "lg2.approx.f32"),
    vm.Log: _log,
    vm.Rsqrt: partial(_simple, "rsqrt.approx.f32"),
    vm.Tanh: partial(_simple, "tanh.approx.f32"),
    vm.Sigmoid: _sigmoid,
    vm.Round: partial(_simple, "cvt.rni.f32.f32"),
    vm.Floor: partial(_simple, "cvt.rmi.f32.f32"),
    vm.Ceil: partial(_simple, "cvt.rpi.f32.f32"),
    vm.Trunc: partial(_simple, "cvt.rzi.f32.f32"),
}
_COMPARISONS: dict[type[Instruction], str] = {
    vm.Equal: "eq", vm.NotEqual: "ne", vm.Less: "lt",
    vm.LessEqual: "le", vm.Greater: "gt", vm.GreaterEqual: "ge",
}  # fmt: skip
_INTEGER: dict[type[Instruction], str] = {
    vm.Add: "add.s{w}", vm.Sub: "sub.s{w}", vm.Mul: "mul.lo.s{w}",
    vm.Min: "min.{s}{w}", vm.Max: "max.{s}{w}", vm.Neg: "neg.s{w}",
    vm.And: "and.b{w}", vm.Or: "or.b{w}", vm.Xor: "xor.b{w}", vm.Not: "not.b{w}",
    vm.ShiftLeft: "shl.b{w}", vm.ShiftRight: "shr.{s}{w}", vm.FusedMultiplyAdd: "mad.lo.s{w}",
}  # fmt: skip
_BOOLEAN: dict[type[Instruction], str] = {
    vm.And: "and.pred", vm.Or: "or.pred", vm.Xor: "xor.pred", vm.Not: "not.pred",
}  # fmt: skip


def element_operation(cls: type[Instruction], dtype: Dtype) -> Emit:
    """Emits one element's operation on operands in `unpack_elements` form.

    Raises:
        LoweringError: the operation does not exist for the dtype.
    """
    found: Emit | None = None
    if cls is vm.Where:
        found = partial(_where, dtype)
    elif dtype.kind == "bool":
        found = partial(_simple, _BOOLEAN[cls]) if cls in _BOOLEAN else None
    elif dtype.is_float:
        found = _float_operation(cls, "f64" if dtype.bits == 64 else "f32")
    else:
        found = _integer_operation(cls, dtype)
    if found is None:
        raise LoweringError(f"`{cls.name}` has no form for `{dtype.name}`")
    return found


def _where(dtype: Dtype, context: Context, condition: Operand, a: Operand, b: Operand) -> Register:
    builder = context.builder
    if dtype.kind == "bool":
        chosen = builder.compute("and.pred", PRED, condition, a)
        inverse = builder.compute("not.pred", PRED, condition)
        other = builder.compute("and.pred", PRED, inverse, b)
        return builder.compute("or.pred", PRED, chosen, other)
    wide = dtype.bits == 64
    return builder.compute(
        "selp.b64" if wide else "selp.b32", B64 if wide else B32, a, b, condition
    )


def _float_operation(cls: type[Instruction], suffix: str) -> Emit | None:
    if cls in _FLOAT:
        return partial(_simple, f"{_FLOAT[cls]}.{suffix}")
    if cls in _COMPARISONS:
        name = "neu" if cls is vm.NotEqual else _COMPARISONS[cls]
        return partial(_compare, f"setp.{name}.{suffix}")
    if cls is vm.Clip:
        return partial(_clip, suffix)
    return _FLOAT32.get(cls) if suffix == "f32" else None


def _integer_operation(cls: type[Instruction], dtype: Dtype) -> Emit | None:
    sign = "s" if dtype.kind == "int" else "u"
    width = "64" if dtype.bits == 64 else "32"
    if cls in _INTEGER:
        opcode = _INTEGER[cls].format(s=sign, w=width)
        if cls in (vm.ShiftLeft, vm.ShiftRight) and width == "64":
            return partial(_wide_shift, opcode)
        return partial(_simple, opcode)
    if cls in _COMPARISONS:
        return partial(_compare, f"setp.{_COMPARISONS[cls]}.{sign}{width}")
    if cls is vm.Clip:
        return partial(_clip, sign + width)
    if cls is vm.Abs:
        return partial(_simple, f"abs.s{width}") if sign == "s" else _identity
    if cls in (vm.Div, vm.Mod):
        return partial(_floor_division, cls is vm.Div, sign, width)
    return None


def _identity(context: Context, x: Operand) -> Register:
    assert isinstance(x, Register)
    return x


def _wide_shift(opcode: str, context: Context, x: Operand, amount: Operand) -> Register:
    """A 64-bit shift takes its amount from a 32-bit register; too large ones stay too large."""
    if isinstance(amount, Register):
        amount = context.builder.compute("cvt.sat.u32.u64", B32, amount)
    return context.builder.compute(opcode, B64, x, amount)


def _floor_division(
    quotient: bool, sign: str, width: str, context: Context, x: Operand, y: Operand
) -> Register:
    """Division that rounds toward minus infinity: corrected where the signs differ."""
    kind = B64 if width == "64" else B32
    compute = context.builder.compute
    if sign == "u":
        return compute(f"{'div' if quotient else 'rem'}.u{width}", kind, x, y)
    remainder = compute(f"rem.s{width}", kind, x, y)
    nonzero = compute(f"setp.ne.s{width}", PRED, remainder, 0)
    signs = compute(f"xor.b{width}", kind, remainder, y)
    opposite = compute(f"setp.lt.s{width}", PRED, signs, 0)
    correct = compute("and.pred", PRED, nonzero, opposite)
    if not quotient:
        moved = compute(f"add.s{width}", kind, remainder, y)
        return compute(f"selp.b{width}", kind, moved, remainder, correct)
    whole = compute(f"div.s{width}", kind, x, y)
    lower = compute(f"add.s{width}", kind, whole, -1)
    return compute(f"selp.b{width}", kind, lower, whole, correct)


def packed_operation(cls: type[Instruction], dtype: Dtype, target: Target) -> Emit | None:
    """Emits an operation on two f16 or bf16 at once; None if the target has none."""
    suffix = f"{dtype.name}x2"
    simple = {
        vm.Min: "min", vm.Max: "max", vm.Neg: "neg", vm.Abs: "abs",
        vm.FusedMultiplyAdd: "fma.rn",
    }  # fmt: skip
    if cls in simple:
        return partial(_simple, f"{simple[cls]}.{suffix}")
    rounded = {vm.Add: "add.rn", vm.Sub: "sub.rn", vm.Mul: "mul.rn"}
    if cls not in rounded:
        return None
    if dtype.name == "f16" or target.has("add.bf16x2"):
        return partial(_simple, f"{rounded[cls]}.{suffix}")
    return partial(_bf16_by_fma, cls)


def _bf16_by_fma(cls: type[Instruction], context: Context, a: Operand, b: Operand) -> Register:
    """bf16 sums and products where only fma exists: a * 1 + b, b * -1 + a, a * b + -0."""
    one, minus_one, minus_zero = 0x3F803F80, 0xBF80BF80, 0x80008000
    operands = {
        vm.Add: (a, one, b), vm.Sub: (b, minus_one, a), vm.Mul: (a, b, minus_zero),
    }[cls]  # type: ignore[index]  # fmt: skip
    registers = [
        o if isinstance(o, Register) else context.builder.pure("mov.b32", B32, o) for o in operands
    ]
    return context.builder.compute("fma.rn.bf16x2", B32, *registers)
