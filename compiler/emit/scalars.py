"""Lowers scalar expressions: integers as linear forms, conditions as predicates, floats in f32.

Expressions are mathematical integers; they are computed in 32 bits, or 64 where an operand has 64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tileloom.vm.expr import COMPARISONS, Binary, Const, Expr, Ref, Select, Special, Unary
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
    match expr:
        case Const(value):
            return (
                "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
            )
        case Ref(value):
            assert isinstance(value.type, ScalarType)
            kind = value.type.dtype.kind
            return {"bool": "bool", "float": "float"}.get(kind, "int")
        case Unary(op, operand):
            return "bool" if op == "not" else scalar_kind(operand)
        case Binary(op, lhs, rhs):
            if op in COMPARE or op in ("and", "or"):
                return "bool"
            return "float" if "float" in (scalar_kind(lhs), scalar_kind(rhs)) else "int"
        case Select(_, then, otherwise):
            return "float" if "float" in (scalar_kind(then), scalar_kind(otherwise)) else "int"
    return "int"


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
        match expr:
            case Const(value):
                return Linear({}, int(value))
            case Ref(value):
                return self._bound(value)
            case Special(name):
                return self._special(name)
            case Unary("-", operand):
                return self.integer(operand) * -1
            case Binary(op, lhs, rhs) if op not in COMPARE and op not in ("and", "or"):
                return self._binary(op, self.integer(lhs), self.integer(rhs))
            case Select(condition, then, otherwise):
                return self._select(self.predicate(condition), then, otherwise)
        predicate = self.predicate(expr)
        if isinstance(predicate, bool):
            return Linear({}, int(predicate))
        return Linear.of(self._pure("selp.b32", Facts(0, 1), 1, 0, predicate))

    def _bound(self, value: Value) -> Linear:
        bound = self.bindings[value]
        if isinstance(bound, Linear):
            return bound
        assert bound.kind in (B32, B64), f"{value.name} is no integer"
        if bound.region is not None:
            return Linear.of(bound)
        wide = bound.kind is B64
        return Linear.of(self.builder.pure("mov.b64" if wide else "mov.b32", bound.kind, bound))

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

    def _binary(self, op: str, a: Linear, b: Linear) -> Linear:
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

    def _select(self, condition: Register | bool, then: Expr, otherwise: Expr) -> Linear:
        a, b = self.integer(then), self.integer(otherwise)
        if isinstance(condition, bool):
            return a if condition else b
        wide = self.is_wide(a) or self.is_wide(b)
        suffix, kind = ("b64", B64) if wide else ("b32", B32)
        x, y = self.register(a, wide), self.register(b, wide)
        register = self.builder.pure(f"selp.{suffix}", kind, x, y, condition)
        fa, fb = self.facts.facts(a), self.facts.facts(b)
        lo = None if fa.lo is None or fb.lo is None else min(fa.lo, fb.lo)
        hi = None if fa.hi is None or fb.hi is None else max(fa.hi, fb.hi)
        self.facts.learn(register, Facts(lo, hi, gcd(fa.divisor, fb.divisor)))
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
                if "float" in (scalar_kind(lhs), scalar_kind(rhs)):
                    a, b = self.floating(lhs), self.floating(rhs)
                    name = COMPARE[op] + ("u" if op == "!=" else "")
                    return self.builder.pure(f"setp.{name}.f32", PRED, a, b)
                return self.compare(op, self.integer(lhs), self.integer(rhs), _unsigned(expr))
            case Ref(value) if scalar_kind(expr) == "bool":
                bound = self.bindings[value]
                if isinstance(bound, Linear):
                    return bool(bound.const)
                if bound.region is None:
                    return self.builder.pure("mov.pred", PRED, bound)
                return bound
        return self.compare("!=", self.integer(expr), Linear({}, 0))

    # Floats

    def floating(self, expr: Expr) -> Operand:
        """The f32 value of a scalar expression."""
        if scalar_kind(expr) != "float":
            form = self.integer(expr)
            if form.is_const:
                return Float32.of(float(form.const))
            wide = self.is_wide(form)
            source = self.in_register(form, wide)
            return self.builder.pure(f"cvt.rn.f32.{'s64' if wide else 's32'}", B32, source)
        match expr:
            case Const(value):
                return Float32.of(float(value))
            case Ref(value):
                return self._float_reference(value)
            case Unary("-", operand):
                return self.builder.pure("neg.f32", B32, self.floating(operand))
            case Select(condition, then, otherwise):
                predicate = self.predicate(condition)
                a, b = self.floating(then), self.floating(otherwise)
                if isinstance(predicate, bool):
                    return a if predicate else b
                return self.builder.pure("selp.b32", B32, a, b, predicate)
        assert isinstance(expr, Binary), f"no float expression {expr}"
        a, b = self.floating(expr.lhs), self.floating(expr.rhs)
        names = {"+": "add.rn", "-": "sub.rn", "*": "mul.rn", "/": "div.rn"}
        name = names.get(expr.op, expr.op)
        return self.builder.pure(f"{name}.f32", B32, a, b)

    def _float_reference(self, value: Value) -> Register:
        bound = self.bindings[value]
        assert isinstance(bound, Register) and isinstance(value.type, ScalarType)
        name = value.type.dtype.name
        if name == "f32":
            return self.builder.pure("mov.b32", B32, bound) if bound.region is None else bound
        if name == "bf16":
            return self.builder.pure("shl.b32", B32, bound, 16)
        assert name == "f16", f"no scalar arithmetic on {name}"
        half = self.builder.pure("cvt.u16.u32", RegisterKind.B16, bound)
        return self.builder.pure("cvt.f32.f16", B32, half)


def _unsigned(expr: Binary) -> bool:
    """A comparison is unsigned where an operand is a u32 or u64 itself."""
    for side in (expr.lhs, expr.rhs):
        if isinstance(side, Ref) and isinstance(side.value.type, ScalarType):
            dtype = side.value.type.dtype
            if dtype.kind == "uint" and dtype.bits >= 32:
                return True
    return False
