"""Integer values as linear forms over registers, with what is known about each register.

    value = const + sum(coefficient * register)

Index arithmetic stays in this form until a register is really needed, so constants reach immediate
offsets, equal parts cancel, and each part can be computed in the outermost region that knows it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..ptx import Register


class Facts(NamedTuple):
    """What is known of an integer: lo <= value <= hi (None: unknown) and divisor | value."""

    lo: int | None = None
    hi: int | None = None
    divisor: int = 1


ANYTHING = Facts()


class Linear:
    """An immutable linear form; equal forms may be distinct objects."""

    __slots__ = ("const", "terms")

    def __init__(self, terms: dict[Register, int], const: int = 0) -> None:
        self.terms = terms
        self.const = const

    @staticmethod
    def of(value: Register | int) -> Linear:
        """The form of one register or constant."""
        return Linear({}, value) if isinstance(value, int) else Linear({value: 1})

    @property
    def is_const(self) -> bool:
        return not self.terms

    def __add__(self, other: Linear | int) -> Linear:
        if isinstance(other, int):
            return Linear(self.terms, self.const + other)
        if not other.terms:
            return Linear(self.terms, self.const + other.const)
        if not self.terms:
            return Linear(other.terms, self.const + other.const)
        terms = dict(self.terms)
        for register, coefficient in other.terms.items():
            total = terms.get(register, 0) + coefficient
            if total:
                terms[register] = total
            else:
                del terms[register]
        return Linear(terms, self.const + other.const)

    def __sub__(self, other: Linear) -> Linear:
        return self + other * -1

    def __mul__(self, factor: int) -> Linear:
        if factor == 1:
            return self
        if factor == 0:
            return ZERO
        return Linear({r: c * factor for r, c in self.terms.items()}, self.const * factor)

    def has_small_numbers(self) -> bool:
        """Whether 32 bits hold each of its numbers."""
        if not -(2**31) <= self.const < 2**31:
            return False
        for coefficient in self.terms.values():  # noqa: SIM110 - `all` is slower
            if not -(2**31) <= coefficient < 2**31:
                return False
        return True

    def without_const(self) -> Linear:
        """The form less its constant."""
        return Linear(self.terms, 0)

    def by_region(self) -> list[Linear]:
        """The terms grouped by the region that knows them, outermost first; no constant."""
        if len(self.terms) <= 1:
            return [Linear(self.terms)] if self.terms else []
        groups: dict[int, dict[Register, int]] = {}
        for register, coefficient in self.terms.items():
            depth = register.region if register.region is not None else 1 << 30
            groups.setdefault(depth, {})[register] = coefficient
        return [Linear(groups[depth]) for depth in sorted(groups)]

    def __repr__(self) -> str:
        return " + ".join([f"{c}*{r.name}" for r, c in self.terms.items()] + [str(self.const)])


ZERO = Linear({}, 0)


class FactTable:
    """Facts about registers, and symbolic upper bounds of some (loop indices, block indices)."""

    def __init__(self) -> None:
        self._facts: dict[Register, Facts] = {}
        self._upper: dict[Register, tuple[int, Linear]] = {}

    def learn(self, register: Register, facts: Facts) -> None:
        """Records facts in addition to what is known of the register."""
        old = self._facts.get(register, ANYTHING)
        lo = facts.lo if old.lo is None else old.lo if facts.lo is None else max(old.lo, facts.lo)
        hi = facts.hi if old.hi is None else old.hi if facts.hi is None else min(old.hi, facts.hi)
        divisor = old.divisor * facts.divisor // math.gcd(old.divisor, facts.divisor) or 1
        self._facts[register] = Facts(lo, hi, divisor)

    def bound_above(self, register: Register, upper: Linear, scale: int = 1) -> None:
        """Records scale * register <= upper."""
        self._upper[register] = (scale, upper)

    def of(self, register: Register) -> Facts:
        """What is known of a register."""
        return self._facts.get(register, ANYTHING)

    def divisor(self, form: Linear) -> int:
        """A number that divides the form's value; 0 if the value is 0."""
        result = abs(form.const)
        for register, coefficient in form.terms.items():
            result = math.gcd(result, coefficient * self.of(register).divisor)
        return result

    def lower(self, form: Linear) -> int | None:
        """A number the form's value never falls below."""
        total = form.const
        for register, coefficient in form.terms.items():
            facts = self._facts.get(register)
            if facts is None:
                return None
            bound = facts.lo if coefficient > 0 else facts.hi
            if bound is None:
                return None
            total += coefficient * bound
        return total

    def upper(self, form: Linear) -> int | None:
        """A number the form's value never exceeds."""
        total = form.const
        for register, coefficient in form.terms.items():
            facts = self._facts.get(register)
            if facts is None:
                return None
            bound = facts.hi if coefficient > 0 else facts.lo
            if bound is None:
                return None
            total += coefficient * bound
        return total

    def facts(self, form: Linear) -> Facts:
        """All that is known of a form's value."""
        return Facts(self.lower(form), self.upper(form), self.divisor(form) or 1 << 30)

    def is_nonnegative(self, form: Linear) -> bool:
        """True if the value is provably never negative, symbolic upper bounds included."""
        lower = self.lower(form)
        if lower is not None and lower >= 0:
            return True
        for register, coefficient in form.terms.items():
            scale, upper = self._upper.get(register, (0, ZERO))
            if scale and coefficient < 0 and coefficient % scale == 0:
                rest = {r: c for r, c in form.terms.items() if r is not register}
                replaced = Linear(rest, form.const) + upper * (coefficient // scale)
                if self.is_nonnegative(replaced):
                    return True
        return False


def gcd(a: int, b: int) -> int:
    """The greatest common divisor of two known divisors, 1 where both are 0."""
    return math.gcd(a, b) or 1
