"""Integers without a sign: what needs other instructions than numbers with one.

A register may hold a u32 or u64 whose upper bit is set. Such registers are known by `large`: they
are extended with zeros, divided, shifted and compared without a sign, and sums that may pass the
dtype's range are wrapped at once, so that a linear form is always the number it stands for.
"""

from __future__ import annotations

from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import apply_binary

from ..ptx import Builder, Register, RegisterKind
from .linear import Facts, FactTable, Linear

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64
_NAMES = {
    "+": "add.u", "-": "sub.u", "*": "mul.lo.u", "/": "div.u", "%": "rem.u", "min": "min.u",
    "max": "max.u", "&": "and.b", "|": "or.b", "^": "xor.b", "<<": "shl.b", ">>": "shr.u",
}  # fmt: skip


class Unsigned:
    """Registers whose values have no sign, and operations on them."""

    builder: Builder
    facts: FactTable
    exact: bool = False  # no i32 arithmetic wraps (`vm.ranges`)

    def __init__(self) -> None:
        self._unsigned: set[Register] = set()

    def mark_unsigned(self, register: Register, bits: int) -> None:
        """Notes that a register holds any number of so many bits, none of them a sign."""
        self._unsigned.add(register)
        self.facts.learn(register, Facts(0, (1 << bits) - 1))

    def is_large(self, register: Register) -> bool:
        """True if a register's upper bit may be set without meaning a sign."""
        if register not in self._unsigned:
            return False
        highest = self.facts.of(register).hi
        return highest is None or highest >> (63 if register.kind is B64 else 31) != 0

    def has_large(self, *forms: Linear) -> bool:
        """True if a term of a form may have its upper bit set."""
        if not self._unsigned:
            return False
        return any(self.is_large(register) for form in forms for register in form.terms)

    def wrapped(self, form: Linear, dtype: Dtype) -> Linear:
        """The form's value as the dtype holds it."""
        if dtype.kind != "uint":
            if self.exact and dtype.bits == 32:
                return form
            return self._signed(form) if dtype.bits == 64 else _reduced(form)
        lower, upper = self.facts.lower(form), self.facts.upper(form)
        inside = lower is not None and lower >= 0 and upper is not None
        if inside and upper >> dtype.bits - 1 == 0:  # type: ignore[operator]
            return form
        if form.const == 0 and list(form.terms.values()) == [1] and self.has_large(form):
            (register,) = form.terms
            if (register.kind is B64) == (dtype.bits == 64):
                return form
        return self._marked(self.whole(form, dtype.bits), dtype.bits)

    def _signed(self, form: Linear) -> Linear:
        """The form with the upper bit of its 64-bit registers read as a sign."""
        form = Linear(form.terms, signed(form.const, 64))
        if not any(self.is_large(register) and register.kind is B64 for register in form.terms):
            return form
        # A register of its own: what is known of the old one does not hold for it.
        whole = self.register(form, True)
        return Linear.of(self.builder.pure("add.s64", B64, whole, 0))

    def _marked(self, value: Register | int, bits: int, facts: Facts | None = None) -> Linear:
        """A register of its own, so that what is learned of it holds for it alone."""
        if isinstance(value, int):
            return Linear({}, value)
        kind = B64 if bits == 64 else B32
        register = self.builder.pure(f"mov.b{bits}", kind, value)
        self.mark_unsigned(register, bits)
        if facts is not None:
            self.facts.learn(register, facts)
        return Linear.of(register)

    def as_offset(self, form: Linear) -> Linear:
        """The form, no larger than 2**62: so far outside any memory that what is added to it is
        outside too, and does not wrap around to its beginning."""
        if not self.has_large(form):
            return form
        if not any(self.is_large(register) and register.kind is B64 for register in form.terms):
            return form
        value = self.builder.pure("min.u64", B64, self.register(form, True), 1 << 62)
        self.facts.learn(value, Facts(0, 1 << 62))
        return Linear.of(value)

    def whole(self, form: Linear, bits: int) -> Register | int:
        """The form's value modulo 2^bits."""
        if form.is_const:
            return form.const % (1 << bits)
        return self.register(form, True) if bits == 64 else self.narrow(form)

    def unsigned_binary(self, op: str, a: Linear, b: Linear, bits: int) -> Linear:
        """a op b in a dtype without a sign."""
        x, y = self.whole(a, bits), self.whole(b, bits)
        if isinstance(x, int) and isinstance(y, int):
            return Linear({}, apply_binary(op, x, y) % (1 << bits))
        if op in ("<<", ">>") and isinstance(y, int) and y >= bits:
            return Linear({}, 0)
        if op in ("<<", ">>") and isinstance(y, Register) and y.kind is B64:
            y = self.builder.pure("cvt.sat.u32.u64", B32, y)
        mine = self._top(a, bits) if isinstance(x, Register) else x
        if isinstance(x, int):
            x = self.builder.pure(f"mov.b{bits}", B64 if bits == 64 else B32, signed(x, bits))
        kind = B64 if bits == 64 else B32
        if op == "/" and isinstance(y, int) and y & (y - 1) == 0 and y:
            op, y = ">>", y.bit_length() - 1
        if op == "%" and isinstance(y, int) and y & (y - 1) == 0 and y:
            op, y = "&", y - 1
        result = self.builder.pure(f"{_NAMES[op]}{bits}", kind, x, y)
        return self._marked(result, bits, Facts(0, _highest(op, mine, y, (1 << bits) - 1)))

    def _top(self, form: Linear, bits: int) -> int:
        """What a form's value modulo 2^bits does not exceed."""
        lower, upper = self.facts.lower(form), self.facts.upper(form)
        top = (1 << bits) - 1
        return top if lower is None or lower < 0 or upper is None else min(upper, top)

    def compare_large(self, op: str, a: Linear, b: Linear) -> Register | None:
        """`a op b` where 32 bits without a sign, or 64, decide it; None if 64 with a sign do."""
        lower = [self.facts.lower(form) for form in (a, b)]
        upper = [self.facts.upper(form) for form in (a, b)]
        natural = [x is not None and x >= 0 for x in lower]
        tops = [1 << 64 if x is None else x for x in upper]
        kinds = {register.kind for form in (a, b) for register in form.terms}
        if all(natural) and max(tops) < 1 << 32 and B64 not in kinds:
            return self._set(op, "u32", self.narrow(a), self.narrow(b))
        if max(tops) < 1 << 63 or not self.has_large(a, b) or B64 not in kinds:
            return None
        whole = self._set(op, "u64", self.register(a, True), self.register(b, True))
        for form, other, known in ((a, op in ("<", "<=", "!="), natural[0]),
                                   (b, op in (">", ">=", "!="), natural[1])):  # fmt: skip
            if known:
                continue
            negative = self._set("<", "s64", self.register(form, True), 0)
            if other:
                whole = self.builder.pure("or.pred", PRED, whole, negative)
            else:
                positive = self.builder.pure("not.pred", PRED, negative)
                whole = self.builder.pure("and.pred", PRED, whole, positive)
        return whole

    def _set(self, op: str, kind: str, x: Register | int, y: Register | int) -> Register:
        wide = kind.endswith("64")
        name = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}[op]
        if isinstance(x, int):
            x = self.builder.pure("mov.b64" if wide else "mov.b32", B64 if wide else B32, x)
        return self.builder.pure(f"setp.{name}.{kind}", PRED, x, y)

    # Given by the class this is mixed into.

    def register(self, form: Linear, wide: bool = False) -> Register | int:
        raise NotImplementedError

    def narrow(self, form: Linear) -> Register | int:
        raise NotImplementedError


def _highest(op: str, mine: int, y: Register | int, top: int) -> int:
    """What `x op y` does not exceed, where x is at most `mine` and all is at most `top`."""
    if not isinstance(y, int):
        return mine if op in ("/", ">>", "min", "&") else top
    known = {"/": mine // y if y else top, ">>": mine >> y, "%": y - 1, "min": min(mine, y), "&": y}
    return known.get(op, top)


def _reduced(form: Linear) -> Linear:
    """The form with coefficients and constant as 32 bits hold them."""
    if form.has_small_numbers():
        return form
    if any(register.kind is B64 for register in form.terms):
        return form
    terms = {register: signed(c) for register, c in form.terms.items()}
    return Linear({r: c for r, c in terms.items() if c}, signed(form.const))


def signed(value: int, bits: int = 32) -> int:
    """A number modulo 2^bits, with a sign."""
    half = 1 << bits - 1
    return (value + half) % (1 << bits) - half
