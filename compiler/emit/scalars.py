"""Lowers scalar expressions: integers as linear forms, conditions as predicates, floats in f32.

Expressions are mathematical integers; they are computed in 32 bits, or 64 where an operand has 64.
`/` and `%` round toward minus infinity, which is shifts, masks and unsigned division wherever the
operands are known not to be negative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tileloom.vm.expr import COMPARISONS, Binary, Const, Expr, Ref, Select, Special, Unary, binary
from tileloom.vm.types import ScalarType

from ..ptx import Builder, Float32, Operand, Register, RegisterKind, special
from .linear import Facts, FactTable, Linear

if TYPE_CHECKING:
    from tileloom.vm.ir import Value

B32, B64, PRED = RegisterKind.B32, RegisterKind.B64, RegisterKind.PRED

_SPECIAL = {
    "block.x": "ctaid.x", "block.y": "ctaid.y", "block.z": "ctaid.z",
    "grid.x": "nctaid.x", "grid.y": "nctaid.y", "grid.z": "nctaid.z",
}  # fmt: skip
_COMPARE = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_BITWISE = {"&": "and", "|": "or", "^": "xor"}
_MAX_BLOCKS = {"x": 2**31 - 1, "y": 65535, "z": 65535}


def scalar_kind(expr: Expr) -> str:
    """`int`, `float` or `bool`: how an expression is computed."""
    match expr:
        case Const(value):
            return "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
        case Ref(value):
            assert isinstance(value.type, ScalarType)
            kind = value.type.dtype.kind
            return {"bool": "bool", "float": "float"}.get(kind, "int")
        case Unary(op, operand):
            return "bool" if op == "not" else scalar_kind(operand)
        case Binary(op, lhs, rhs):
            if op in _COMPARE or op in ("and", "or"):
                return "bool"
            return "float" if "float" in (scalar_kind(lhs), scalar_kind(rhs)) else "int"
        case Select(_, then, otherwise):
            return "float" if "float" in (scalar_kind(then), scalar_kind(otherwise)) else "int"
    return "int"


class Scalars:
    """Computes scalar expressions in a builder, under the current bindings of scalar values."""

    def __init__(self, builder: Builder, facts: FactTable) -> None:
        self.builder = builder
        self.facts = facts
        self.bindings: dict[Value, Linear | Register] = {}
        self.grid: tuple[Expr, ...] = ()

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
            case Binary(op, lhs, rhs) if op not in _COMPARE and op not in ("and", "or"):
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
                return self._extreme(op, a, b)
        if op in _BITWISE or op in ("<<", ">>"):
            return self._bits(op, a, b)
        assert op in "/%", f"no integer operation {op}"
        return self._divide(op, a, b)

    def product(self, a: Linear, b: Linear) -> Linear:
        """a * b; constants distribute over the terms, two unknowns are multiplied."""
        if b.is_const:
            return a * b.const
        if a.is_const:
            return b * a.const
        fa, fb = self.facts.facts(a), self.facts.facts(b)
        wide = self.is_wide(a) or self.is_wide(b)
        opcode = "mul.lo.s64" if wide else "mul.lo.s32"
        register = self.builder.pure(
            opcode, B64 if wide else B32, self.register(a, wide), self.register(b, wide)
        )
        facts = Facts(divisor=fa.divisor * fb.divisor)
        if fa.lo is not None and fb.lo is not None and fa.lo >= 0 and fb.lo >= 0:
            hi = fa.hi * fb.hi if fa.hi is not None and fb.hi is not None else None
            facts = Facts(fa.lo * fb.lo, hi, facts.divisor)
        self.facts.learn(register, facts)
        return Linear.of(register)

    def floor_divide(self, a: Linear, divisor: int) -> Linear:
        """a / divisor rounded down, the parts that divide exactly taken out first."""
        exact = Linear({r: c for r, c in a.terms.items() if c % divisor == 0})
        rest = Linear({r: c for r, c in a.terms.items() if c % divisor})
        whole, left = divmod(a.const, divisor)
        quotient = Linear({r: c // divisor for r, c in exact.terms.items()}, whole)
        rest = rest + left
        lo, hi = self.facts.lower(rest), self.facts.upper(rest)
        if lo is not None and hi is not None and lo // divisor == hi // divisor:
            return quotient + lo // divisor
        # A remainder of the division that is known lets the quotient drop it: x/8 + 7 of 8.
        if self.facts.divisor(rest.without_const()) % divisor == 0:
            rest = rest.without_const()
        return quotient + self._quotient(rest, divisor)

    def _quotient(self, a: Linear, divisor: int) -> Linear:
        wide = self.is_wide(a)
        suffix, kind = ("64", B64) if wide else ("32", B32)
        lo, hi = self.facts.lower(a), self.facts.upper(a)
        known = self.facts.divisor(a)
        facts = Facts(
            None if lo is None else lo // divisor,
            None if hi is None else hi // divisor,
            known // divisor if known and known % divisor == 0 else 1,
        )
        value = self.register(a, wide)
        shift = divisor.bit_length() - 1
        if divisor == 1 << shift:
            sign = "u" if lo is not None and lo >= 0 else "s"
            register = self.builder.pure(f"shr.{sign}{suffix}", kind, value, shift)
        elif lo is not None and lo >= 0:
            register = self.builder.pure(f"div.u{suffix}", kind, value, divisor)
        else:
            register = self._signed_floor("div", value, divisor, wide)
        self.facts.learn(register, facts)
        self.facts.bound_above(register, a, divisor)
        return Linear.of(register)

    def modulo(self, a: Linear, divisor: int) -> Linear:
        """a % divisor, in [0, divisor)."""
        rest = Linear({r: c for r, c in a.terms.items() if c % divisor}, a.const % divisor)
        lo, hi = self.facts.lower(rest), self.facts.upper(rest)
        if lo is not None and hi is not None and lo // divisor == hi // divisor:
            return rest + -(lo // divisor) * divisor
        wide = self.is_wide(rest)
        suffix, kind = ("64", B64) if wide else ("32", B32)
        value = self.register(rest, wide)
        if divisor & (divisor - 1) == 0:
            register = self.builder.pure(f"and.b{suffix}", kind, value, divisor - 1)
        elif lo is not None and lo >= 0:
            register = self.builder.pure(f"rem.u{suffix}", kind, value, divisor)
        else:
            register = self._signed_floor("rem", value, divisor, wide)
        known = self.facts.divisor(rest)
        common = _gcd(known, divisor)
        self.facts.learn(register, Facts(0, divisor - common, common))
        return Linear.of(register)

    def _divide(self, op: str, a: Linear, b: Linear) -> Linear:
        wide = self.is_wide(a) or self.is_wide(b)
        suffix, kind = ("64", B64) if wide else ("32", B32)
        x, y = self.register(a, wide), self.register(b, wide)
        name = "div" if op == "/" else "rem"
        fa, fb = self.facts.facts(a), self.facts.facts(b)
        if all(f.lo is not None and f.lo >= 0 for f in (fa, fb)):
            register = self.builder.pure(f"{name}.u{suffix}", kind, x, y)
            hi = fa.hi if op == "/" else fb.hi
            self.facts.learn(register, Facts(0, hi))
            return Linear.of(register)
        return Linear.of(self._signed_floor(name, x, y, wide))

    def _signed_floor(self, name: str, x: Operand, y: Operand, wide: bool) -> Register:
        """div or rem of signed numbers, corrected to round toward minus infinity."""
        pure, s, kind = self.builder.pure, "64" if wide else "32", B64 if wide else B32
        remainder = pure(f"rem.s{s}", kind, x, y)
        nonzero = pure(f"setp.ne.s{s}", PRED, remainder, 0)
        signs = pure(f"xor.b{s}", kind, remainder, y)
        opposite = pure(f"setp.lt.s{s}", PRED, signs, 0)
        correct = pure("and.pred", PRED, nonzero, opposite)
        if name == "rem":
            moved = pure(f"add.s{s}", kind, remainder, y)
            return pure(f"selp.b{s}", kind, moved, remainder, correct)
        quotient = pure(f"div.s{s}", kind, x, y)
        lower = pure(f"add.s{s}", kind, quotient, -1)
        return pure(f"selp.b{s}", kind, lower, quotient, correct)

    def _extreme(self, op: str, a: Linear, b: Linear) -> Linear:
        if self.facts.is_nonnegative(b - a):
            return a if op == "min" else b
        if self.facts.is_nonnegative(a - b):
            return b if op == "min" else a
        wide = self.is_wide(a) or self.is_wide(b)
        suffix, kind = ("s64", B64) if wide else ("s32", B32)
        register = self.builder.pure(
            f"{op}.{suffix}", kind, self.register(a, wide), self.register(b, wide)
        )
        fa, fb = self.facts.facts(a), self.facts.facts(b)
        choose: Callable[..., int] = min if op == "min" else max
        los = [x for x in (fa.lo, fb.lo) if x is not None]
        his = [x for x in (fa.hi, fb.hi) if x is not None]
        lo = choose(los) if len(los) == 2 or (op == "max" and los) else None
        hi = choose(his) if len(his) == 2 or (op == "min" and his) else None
        self.facts.learn(register, Facts(lo, hi, _gcd(fa.divisor, fb.divisor)))
        return Linear.of(register)

    def _bits(self, op: str, a: Linear, b: Linear) -> Linear:
        wide = self.is_wide(a) or self.is_wide(b)
        suffix, kind = ("64", B64) if wide else ("32", B32)
        name = {"<<": f"shl.b{suffix}", ">>": f"shr.s{suffix}"}.get(op)
        name = name or f"{_BITWISE[op]}.b{suffix}"
        shifts = op in ("<<", ">>")
        x, y = self.register(a, wide), self.register(b, wide and not shifts)
        register = self.builder.pure(name, kind, x, y)
        fa, fb = self.facts.facts(a), self.facts.facts(b)
        if (fa.lo is not None and fa.lo >= 0) and (shifts or (fb.lo is not None and fb.lo >= 0)):
            hi = {"&": fa.hi, ">>": fa.hi}.get(op)
            self.facts.learn(register, Facts(0, hi))
        return Linear.of(register)

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
        self.facts.learn(register, Facts(lo, hi, _gcd(fa.divisor, fb.divisor)))
        return Linear.of(register)

    # From forms to registers

    def is_wide(self, form: Linear) -> bool:
        """True if a term has 64 bits, or the constant needs them."""
        if not -(2**31) <= form.const < 2**31:
            return True
        return any(register.kind is B64 for register in form.terms)

    def register(self, form: Linear, wide: bool = False) -> Register | int:
        """The form's value in one register of 32 (or 64) bits, or a constant."""
        total: Register | None = None
        for group in form.by_region():
            for term, coefficient in group.terms.items():
                total = self._accumulate(total, term, coefficient, wide)
        if total is None:
            return form.const
        if form.const:
            suffix, kind = ("s64", B64) if wide else ("s32", B32)
            return self.builder.pure(f"add.{suffix}", kind, total, form.const)
        return total

    def in_register(self, form: Linear, wide: bool = False) -> Register:
        """As `register`, with constants moved into one."""
        value = self.register(form, wide)
        if isinstance(value, Register):
            return value
        suffix, kind = ("b64", B64) if wide else ("b32", B32)
        return self.builder.pure(f"mov.{suffix}", kind, value)

    def narrow(self, form: Linear) -> Register | int:
        """The low 32 bits of the form's value."""
        if not self.is_wide(form):
            return self.register(form)
        value = self.register(form, wide=True)
        if isinstance(value, int):
            return (value + 2**31) % 2**32 - 2**31
        return self.builder.pure("cvt.u32.u64", B32, value)

    def _accumulate(
        self, total: Register | None, term: Register, coefficient: int, wide: bool
    ) -> Register:
        """total + term * coefficient."""
        pure = self.builder.pure
        if not wide:
            if coefficient == 1:
                return term if total is None else pure("add.s32", B32, total, term)
            if total is None:
                return pure("mul.lo.s32", B32, term, coefficient)
            return pure("mad.lo.s32", B32, term, coefficient, total)
        if term.kind is B32 and -(2**31) <= coefficient < 2**31:
            if total is None:
                return pure("mul.wide.s32", B64, term, coefficient)
            return pure("mad.wide.s32", B64, term, coefficient, total)
        if term.kind is B32:
            term = pure("cvt.s64.s32", B64, term)
        if coefficient == 1:
            return term if total is None else pure("add.s64", B64, total, term)
        if total is None:
            return pure("mul.lo.s64", B64, term, coefficient)
        return pure("mad.lo.s64", B64, term, coefficient, total)

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
                    name = _COMPARE[op] + ("u" if op == "!=" else "")
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

    def compare(self, op: str, a: Linear, b: Linear, unsigned: bool = False) -> Register | bool:
        """The predicate `a op b`, or its value where the facts decide it."""
        difference = b - a
        nonnegative = self.facts.is_nonnegative
        proofs = {
            "<": (difference + -1, difference * -1),
            "<=": (difference, difference * -1 + -1),
            ">": (difference * -1 + -1, difference),
            ">=": (difference * -1, difference + -1),
        }
        if difference.is_const:
            return bool(binary(op, 0, difference.const).value)  # type: ignore[attr-defined]
        if op in proofs:
            always, never = proofs[op]
            if nonnegative(always):
                return True
            if nonnegative(never):
                return False
        wide = self.is_wide(a) or self.is_wide(b)
        kind = ("u" if unsigned else "s") + ("64" if wide else "32")
        x, y = self.in_register(a, wide), self.register(b, wide)
        return self.builder.pure(f"setp.{_COMPARE[op]}.{kind}", PRED, x, y)

    def _logical(self, op: str, a: Register | bool, b: Register | bool) -> Register | bool:
        for one, other in ((a, b), (b, a)):
            if isinstance(one, bool):
                return other if one == (op == "and") else one
        assert isinstance(a, Register) and isinstance(b, Register)
        return self.builder.pure(f"{op}.pred", PRED, a, b)

    def conjunction(self, *parts: Register | bool) -> Register | bool:
        """All of them."""
        result: Register | bool = True
        for part in parts:
            result = self._logical("and", result, part)
        return result

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


def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a or 1


def _unsigned(expr: Binary) -> bool:
    """A comparison is unsigned where an operand is a u32 or u64 itself."""
    for side in (expr.lhs, expr.rhs):
        if isinstance(side, Ref) and isinstance(side.value.type, ScalarType):
            dtype = side.value.type.dtype
            if dtype.kind == "uint" and dtype.bits >= 32:
                return True
    return False
