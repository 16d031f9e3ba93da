"""Arithmetic on linear forms: the operations that need instructions, and what is known of them.

`/` and `%` round toward minus infinity, which is shifts, masks and unsigned division wherever the
operands are known not to be negative.
"""

from __future__ import annotations

from collections.abc import Callable

from tileloom.vm.expr import apply_binary

from ..ptx import Builder, Operand, Register, RegisterKind
from .linear import Facts, FactTable, Linear, gcd
from .unsigned import Unsigned, signed

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64

COMPARE = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
BITWISE = {"&": "and", "|": "or", "^": "xor"}


class Arithmetic(Unsigned):
    """Computes with linear forms in a builder; facts of new registers are learned."""

    def __init__(self, builder: Builder, facts: FactTable) -> None:
        super().__init__()
        self.builder = builder
        self.facts = facts

    def product(self, a: Linear, b: Linear) -> Linear:
        """a * b; constants distribute over the terms, two unknowns are multiplied."""
        if b.is_const:
            return a * b.const
        if a.is_const:
            return b * a.const
        fa, fb = self.facts.facts(a), self.facts.facts(b)
        wide = self.is_wide(a) or self.is_wide(b) or (self.exact and not _is_small(fa, fb))
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
            register = self._unsigned_quotient(value, divisor, wide)
        else:
            register = self._signed_floor("div", value, divisor, wide)
        self.facts.learn(register, facts)
        self.facts.bound_above(register, a, divisor)
        return Linear.of(register)

    def _unsigned_quotient(self, value: Operand, divisor: int, wide: bool) -> Register:
        """value / divisor of a number below 2^31, or of 64 bits: ptxas divides by a constant as by
        anything else, some 20 instructions one after the other."""
        if wide:
            return self.builder.pure("div.u64", B64, value, divisor)
        # 2^shift < divisor <= 2^(shift + 1): the factor has 32 bits, and is too large by less than
        # divisor / 2^(32 + shift), which 31 bits don't bring to 1 / divisor.
        shift = (divisor - 1).bit_length() - 1
        factor = -(-(1 << (32 + shift)) // divisor)
        high = self.builder.pure("mul.hi.u32", B32, value, factor)
        return self.builder.pure("shr.u32", B32, high, shift) if shift else high

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
            if wide:
                register = self.builder.pure("rem.u64", B64, value, divisor)
            else:
                quotient = self._unsigned_quotient(value, divisor, wide)
                register = self.builder.pure("mad.lo.s32", B32, quotient, -divisor, value)
        else:
            register = self._signed_floor("rem", value, divisor, wide)
        known = self.facts.divisor(rest)
        common = gcd(known, divisor)
        self.facts.learn(register, Facts(0, divisor - common, common))
        return Linear.of(register)

    def divide(self, op: str, a: Linear, b: Linear) -> Linear:
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
        if isinstance(y, Register):  # a long sequence, which one serves where both are asked for
            quotient = pure(f"div.s{s}", kind, x, y)
            inverse = pure(f"neg.s{s}", kind, y)
            remainder = pure(f"mad.lo.s{s}", kind, quotient, inverse, x)
        else:
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

    def extreme(self, op: str, a: Linear, b: Linear) -> Linear:
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
        self.facts.learn(register, Facts(lo, hi, gcd(fa.divisor, fb.divisor)))
        return Linear.of(register)

    def bits(self, op: str, a: Linear, b: Linear) -> Linear:
        wide = self.is_wide(a) or self.is_wide(b) or (self.exact and op == "<<")
        suffix, kind = ("64", B64) if wide else ("32", B32)
        name = {"<<": f"shl.b{suffix}", ">>": f"shr.s{suffix}"}.get(op)
        name = name or f"{BITWISE[op]}.b{suffix}"
        shifts = op in ("<<", ">>")
        x, y = self.register(a, wide), self.narrow(b) if shifts else self.register(b, wide)
        register = self.builder.pure(name, kind, x, y)
        fa, fb = self.facts.facts(a), self.facts.facts(b)
        if (fa.lo is not None and fa.lo >= 0) and (shifts or (fb.lo is not None and fb.lo >= 0)):
            hi = {"&": fa.hi, ">>": fa.hi}.get(op)
            self.facts.learn(register, Facts(0, hi))
        return Linear.of(register)

    # From forms to registers

    def is_wide(self, form: Linear) -> bool:
        """True if a term has 64 bits, or 32 and no sign, or a number in the form needs more."""
        if not form.has_small_numbers():
            return True
        for register in form.terms:
            if register.kind is B64 or self.is_large(register):
                return True
        return self.exact and not self.fits(form)

    def fits(self, form: Linear) -> bool:
        """Whether 32 bits hold the form's value, provably."""
        if form.const == 0 and list(form.terms.values()) == [1]:
            return True
        lower, upper = self.facts.lower(form), self.facts.upper(form)
        return lower is not None and lower >= -(2**31) and upper is not None and upper < 2**31

    def register(self, form: Linear, wide: bool = False) -> Register | int:
        """The form's value in one register of 32 (or 64) bits, or a constant."""
        total: Register | None = None
        for group in form.by_region():
            for term, coefficient in group.terms.items():
                total = self._accumulate(total, term, coefficient, wide)
        const = signed(form.const, 64) if wide else form.const
        if total is None:
            return const
        if const:
            suffix, kind = ("s64", B64) if wide else ("s32", B32)
            return self.builder.pure(f"add.{suffix}", kind, total, const)
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
        if form.is_const:
            return signed(form.const)
        if all(register.kind is B32 for register in form.terms):
            terms = {register: signed(c) for register, c in form.terms.items()}
            return self.register(Linear(terms, signed(form.const)))
        value = self.register(form, wide=True)
        assert isinstance(value, Register)
        return self.builder.pure("cvt.u32.u64", B32, value)

    def narrow_register(self, form: Linear) -> Register:
        """As `narrow`, with constants moved into a register."""
        value = self.narrow(form)
        return value if isinstance(value, Register) else self.in_register(Linear({}, value))

    def _accumulate(
        self, total: Register | None, term: Register, coefficient: int, wide: bool
    ) -> Register:
        """total + term * coefficient."""
        pure = self.builder.pure
        if not wide:
            # Modulo 2**32 the low half of a 64-bit term says all.
            if term.kind is B64:
                term = pure("cvt.u32.u64", B32, term)
            if coefficient == 1:
                return term if total is None else pure("add.s32", B32, total, term)
            if total is None:
                return pure("mul.lo.s32", B32, term, coefficient)
            return pure("mad.lo.s32", B32, term, coefficient, total)
        if self.is_large(term) and term.kind is B32:
            term = pure("cvt.u64.u32", B64, term)
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

    # Conditions

    def decided(self, op: str, a: Linear, b: Linear) -> bool | None:
        """The value of `a op b` where the facts decide it."""
        difference = b - a
        nonnegative = self.facts.is_nonnegative
        proofs = {
            "<": (difference + -1, difference * -1),
            "<=": (difference, difference * -1 + -1),
            ">": (difference * -1 + -1, difference),
            ">=": (difference * -1, difference + -1),
        }
        if difference.is_const:
            return bool(apply_binary(op, 0, difference.const))
        if op in proofs:
            always, never = proofs[op]
            if nonnegative(always):
                return True
            if nonnegative(never):
                return False
        return None

    def compare(self, op: str, a: Linear, b: Linear) -> Register | bool:
        """The predicate `a op b`, or its value where the facts decide it."""
        known = self.decided(op, a, b)
        if known is not None:
            return known
        found = self.compare_large(op, a, b) if self.has_large(a, b) else None
        if found is not None:
            return found
        wide = self.is_wide(a) or self.is_wide(b)
        kind = "s64" if wide else "s32"
        x, y = self.in_register(a, wide), self.register(b, wide)
        return self.builder.pure(f"setp.{COMPARE[op]}.{kind}", PRED, x, y)

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

    def disjunction(self, *parts: Register | bool) -> Register | bool:
        """Any of them."""
        result: Register | bool = False
        for part in parts:
            result = self._logical("or", result, part)
        return result


def _is_small(a: Facts, b: Facts) -> bool:
    """Whether 32 bits hold a product of two values, provably."""
    bounds = (a.lo, a.hi, b.lo, b.hi)
    if None in bounds:
        return False
    corners = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]  # type: ignore[operator]
    return all(-(2**31) <= corner < 2**31 for corner in corners)
