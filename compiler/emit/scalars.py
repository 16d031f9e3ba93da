"""Lowers scalar expressions: integers as linear forms, conditions as predicates, floats in f32.

Each is computed in its dtype (`tileloom.vm.expr`): a form stands for the number that dtype holds.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import (
    COMPARISONS,
    Binary,
    Const,
    Expr,
    Ref,
    Select,
    Special,
    Unary,
    common_dtype,
    expr_dtype,
)
from tileloom.vm.types import ScalarType

from ..ptx import Builder, Float32, Operand, Register, RegisterKind, special
from .arithmetic import BITWISE, COMPARE, Arithmetic
from .linear import Facts, FactTable, Linear, gcd

if TYPE_CHECKING:
    from tileloom.vm.ir import Value

B32, B64, PRED = RegisterKind.B32, RegisterKind.B64, RegisterKind.PRED

_SPECIAL = {
    "block.x": "ctaid.x", "block.y": "ctaid.y", "block.z": "ctaid.z",
    "grid.x": "nctaid.x", "grid.y": "nctaid.y", "grid.z": "nctaid.z",
}  # fmt: skip
_MAX_BLOCKS = {"x": 2**31 - 1, "y": 65535, "z": 65535}


def scalar_kind(expr: Expr) -> str:
    """`int`, `float` or `bool`: how an expression is computed."""
    kind = expr_dtype(expr).kind
    return "int" if kind == "uint" else kind


class Scalars(Arithmetic):
    """Computes scalar expressions in a builder, under the current bindings of scalar values."""

    def __init__(self, builder: Builder, facts: FactTable) -> None:
        super().__init__(builder, facts)
        self.bindings: dict[Value, Linear | Register] = {}
        self.grid: tuple[Expr, ...] = ()
        self.cluster = (1, 1, 1)  # blocks along x, y, z

    # Integers

    def integer(self, expr: Expr) -> Linear:
        """The linear form of an integer expression."""
        if isinstance(expr, Const):
            return Linear({}, int(expr.value))
        dtype = expr_dtype(expr)
        if dtype.kind != "bool":
            match expr:
                case Ref(value):
                    return self._bound(value)
                case Binary(op, lhs, rhs):
                    return self._binary(op, self.integer(lhs), self.integer(rhs), dtype)
                case Special(name):
                    return self._special(name)
                case Unary("-", operand):
                    return self.wrapped(self.integer(operand) * -1, dtype)
                case Select(condition, then, otherwise):
                    return self._select(self.predicate(condition), then, otherwise, dtype)
        predicate = self.predicate(expr)
        if isinstance(predicate, bool):
            return Linear({}, int(predicate))
        return Linear.of(self._pure("selp.b32", Facts(0, 1), 1, 0, predicate))

    def extended(self, expr: Expr) -> Register | int:
        """The value of an integer expression in 64 bits: computed in its own dtype first."""
        form, dtype = self.integer(expr), expr_dtype(expr)
        if dtype.bits <= 32 and dtype.kind == "int" and not self.exact and not self.fits(form):
            form = Linear.of(self.narrow(form))
        return self.register(form, wide=True)

    def _bound(self, value: Value) -> Linear:
        bound = self.bindings[value]
        if isinstance(bound, Linear):
            return bound
        assert bound.kind in (B32, B64), f"{value.name} is no integer"
        if bound.region is None:
            bound = self.builder.pure(f"mov.{bound.kind.ptx_type}", bound.kind, bound)
        assert isinstance(value.type, ScalarType)
        dtype = value.type.dtype
        if dtype.kind == "uint":
            self.mark_unsigned(bound, dtype.bits)
        elif dtype.bits < 32:
            self.facts.learn(bound, Facts(-(1 << dtype.bits - 1), (1 << dtype.bits - 1) - 1))
        return Linear.of(bound)

    def _special(self, name: str) -> Linear:
        if name.startswith("cluster"):
            return self._place_in_cluster(name)
        register = self.builder.pure("mov.u32", B32, special(_SPECIAL[name]))
        axis = name[-1]
        count = "xyz".index(axis)
        self.facts.learn(register, Facts(0 if name[0] == "b" else 1, _MAX_BLOCKS[axis]))
        if count < len(self.grid):
            extent = self.integer(self.grid[count])
            if name[0] == "g":
                return extent
            self.facts.bound_above(register, extent + -1)
            if extent.is_const:
                self.facts.learn(register, Facts(0, max(extent.const - 1, 0)))
        elif name[0] == "b":
            return Linear({}, 0)
        return Linear.of(register)

    def _binary(self, op: str, a: Linear, b: Linear, dtype: Dtype) -> Linear:
        """a op b, computed in a dtype."""
        if dtype.kind == "uint":
            lower = [self.facts.lower(form) for form in (a, b)]
            if self.has_large(a, b) or any(x is None or x < 0 for x in lower):
                return self.unsigned_binary(op, a, b, dtype.bits)
        elif dtype.bits == 64 and op not in ("<<", ">>"):
            a, b = self.wrapped(a, dtype), self.wrapped(b, dtype)
        return self.wrapped(self._signed_binary(op, a, b), dtype)

    def _signed_binary(self, op: str, a: Linear, b: Linear) -> Linear:
        match op:
            case "+":
                return a + b
            case "-":
                return a - b
            case "*":
                return self.product(a, b)
            case "<<" if b.is_const:
                return self.product(a, Linear({}, 1 << b.const))
            case ">>" if b.is_const:
                return self.floor_divide(a, 1 << b.const)
            case "/" | "%" if b.is_const and b.const > 0:
                return self.floor_divide(a, b.const) if op == "/" else self.modulo(a, b.const)
            case "&" if b.is_const and b.const >= 0 and b.const & (b.const + 1) == 0:
                return self.modulo(a, b.const + 1)
            case "min" | "max":
                return self.extreme(op, a, b)
        if op in BITWISE or op in ("<<", ">>"):
            return self.bits(op, a, b)
        assert op in "/%", f"no integer operation {op}"
        return self.divide(op, a, b)

    def _place_in_cluster(self, name: str) -> Linear:
        """The block's place along an axis of its cluster, or its number in it."""
        if name == "cluster_rank":
            x, y, z = (self._place_in_cluster(axis) for axis in "xyz")
            return x + (y + z * self.cluster[1]) * self.cluster[0]
        axis = name[-1]
        # Clusters tile the grid. The assembler divides by a run-time extent for %cluster_ctaid.
        return self.modulo(self._special(f"block.{axis}"), self.cluster["xyz".index(axis)])

    def _select(
        self, condition: Register | bool, then: Expr, otherwise: Expr, dtype: Dtype
    ) -> Linear:
        a, b = (self.wrapped(self.integer(side), dtype) for side in (then, otherwise))
        if isinstance(condition, bool):
            return a if condition else b
        wide = dtype.bits == 64 or self.is_wide(a) or self.is_wide(b)
        suffix, kind = ("b64", B64) if wide else ("b32", B32)
        x, y = self.register(a, wide), self.register(b, wide)
        register = self.builder.pure(f"selp.{suffix}", kind, x, y, condition)
        fa, fb = self.facts.facts(a), self.facts.facts(b)
        lo = None if fa.lo is None or fb.lo is None else min(fa.lo, fb.lo)
        hi = None if fa.hi is None or fb.hi is None else max(fa.hi, fb.hi)
        self.facts.learn(register, Facts(lo, hi, gcd(fa.divisor, fb.divisor)))
        if dtype.kind == "uint":
            self.mark_unsigned(register, dtype.bits)
        return Linear.of(register)

    def _pure(self, opcode: str, facts: Facts, *srcs: Operand) -> Register:
        register = self.builder.pure(opcode, B32, *srcs)
        self.facts.learn(register, facts)
        return register

    # Conditions

    def predicate(self, expr: Expr) -> Register | bool:
        """A condition as a predicate register, or its value where it is known."""
        match expr:
            case Const(value):
                return bool(value)
            case Unary("not", operand):
                inner = self.predicate(operand)
                if isinstance(inner, bool):
                    return not inner
                return self.builder.pure("not.pred", PRED, inner)
            case Binary("and" | "or" as op, lhs, rhs):
                return self._logical(op, self.predicate(lhs), self.predicate(rhs))
            case Binary(op, lhs, rhs) if op in COMPARISONS:
                kinds = (scalar_kind(lhs), scalar_kind(rhs))
                if "float" in kinds:
                    return self._compare_floats(op, lhs, rhs)
                return self.compare(op, self.integer(lhs), self.integer(rhs))
            case Binary(op, lhs, rhs) if _is_bool(expr):
                return self._bitwise(op, self.predicate(lhs), self.predicate(rhs))
            case Select(condition, then, otherwise) if _is_bool(expr):
                return self._chosen(*map(self.predicate, (condition, then, otherwise)))
            case Ref(value) if scalar_kind(expr) == "bool":
                bound = self.bindings[value]
                if isinstance(bound, Linear):
                    return bool(bound.const)
                if bound.region is None:
                    return self.builder.pure("mov.pred", PRED, bound)
                return bound
        return self.compare("!=", self.integer(expr), Linear({}, 0))

    def _chosen(
        self, condition: Register | bool, then: Register | bool, otherwise: Register | bool
    ) -> Register | bool:
        """One of two truth values."""
        if isinstance(condition, bool):
            return then if condition else otherwise
        inverse = self.builder.pure("not.pred", PRED, condition)
        one = self._logical("and", condition, then)
        return self._logical("or", one, self._logical("and", inverse, otherwise))

    def _compare_floats(self, op: str, lhs: Expr, rhs: Expr) -> Register:
        double = common_dtype(lhs, expr_dtype(lhs), rhs, expr_dtype(rhs)).bits == 64
        a, b = self.floating(lhs, double), self.floating(rhs, double)
        name = COMPARE[op] + ("u" if op == "!=" else "")
        return self.builder.pure(f"setp.{name}.{'f64' if double else 'f32'}", PRED, a, b)

    def _bitwise(self, op: str, a: Register | bool, b: Register | bool) -> Register | bool:
        """`& | ^` of truth values."""
        if op != "^":
            return self._logical("and" if op == "&" else "or", a, b)
        for one, other in ((a, b), (b, a)):
            if isinstance(one, bool):
                inverse = isinstance(other, Register) and one
                if isinstance(other, bool):
                    return one != other
                return self.builder.pure("not.pred", PRED, other) if inverse else other
        assert isinstance(a, Register) and isinstance(b, Register)
        return self.builder.pure("xor.pred", PRED, a, b)

    # Floats

    def floating(self, expr: Expr, double: bool = False) -> Operand:
        """The value of a scalar expression in f32, or in f64."""
        dtype = expr_dtype(expr)
        if isinstance(expr, Const):
            return self._literal(float(expr.value), double)
        if not dtype.is_float:
            return self._from_integer(self.integer(expr), "f64" if double else "f32")
        own = dtype.bits == 64
        value = self._computed(expr, own)
        if own == double:
            return value
        if double:
            return self.builder.pure("cvt.f64.f32", B64, value)
        return self.builder.pure("cvt.rn.f32.f64", B32, value)

    def _computed(self, expr: Expr, double: bool) -> Operand:
        """A float expression that is no constant, in its own dtype."""
        pure, kind, suffix = self.builder.pure, B64 if double else B32, "f64" if double else "f32"
        match expr:
            case Ref(value):
                return self._float_reference(value)
            case Unary("-", operand):
                return pure(f"neg.{suffix}", kind, self.floating(operand, double))
            case Select(condition, then, otherwise):
                predicate = self.predicate(condition)
                a, b = self.floating(then, double), self.floating(otherwise, double)
                if isinstance(predicate, bool):
                    return a if predicate else b
                return pure(f"selp.{kind.ptx_type}", kind, a, b, predicate)
        assert isinstance(expr, Binary), f"no float expression {expr}"
        a, b = self.floating(expr.lhs, double), self.floating(expr.rhs, double)
        names = {"+": "add.rn", "-": "sub.rn", "*": "mul.rn", "/": "div.rn"}
        return pure(f"{names.get(expr.op, expr.op)}.{suffix}", kind, a, b)

    def _literal(self, value: float, double: bool) -> Operand:
        if not double:
            return Float32.of(value)
        (code,) = struct.unpack("<q", struct.pack("<d", value))
        return self.builder.pure("mov.b64", B64, code)

    def _from_integer(self, form: Linear, suffix: str) -> Operand:
        if form.is_const:
            return self._literal(float(form.const), suffix == "f64")
        wide, kind = self.is_wide(form), B64 if suffix == "f64" else B32
        lowest = self.facts.lower(form)
        sign = "u" if wide and lowest is not None and lowest >= 0 else "s"
        source = self.in_register(form, wide)
        return self.builder.pure(f"cvt.rn.{suffix}.{sign}{64 if wide else 32}", kind, source)

    def _float_reference(self, value: Value) -> Register:
        bound = self.bindings[value]
        assert isinstance(bound, Register) and isinstance(value.type, ScalarType)
        name = value.type.dtype.name
        if name in ("f32", "f64", "tf32"):
            opcode = f"mov.{bound.kind.ptx_type}"
            return self.builder.pure(opcode, bound.kind, bound) if bound.region is None else bound
        if name == "bf16":
            return self.builder.pure("shl.b32", B32, bound, 16)
        assert name == "f16", f"no scalar arithmetic on {name}"
        half = self.builder.pure("cvt.u16.u32", RegisterKind.B16, bound)
        return self.builder.pure("cvt.f32.f16", B32, half)


def _is_bool(expr: Expr) -> bool:
    return expr_dtype(expr).kind == "bool"
