"""Parsing of operands: registers, literals, addresses, vectors. One table a function."""

from __future__ import annotations

import re
import struct
from functools import lru_cache

from .syntax import FloatBits, Int, Mem, Not, Operand, Pair, Reg, Sink, Symbol, TensorMem, Vector
from .types import TYPES, Type

_SPECIALS_32 = (
    [f"{base}.{axis}" for base in ("%tid", "%ntid", "%ctaid", "%nctaid") for axis in "xyz"]
    + [f"%cluster{base}.{axis}" for base in ("id", "_ctaid", "_nctaid") for axis in "xyz"]
    + [f"%ncluster{base}.{axis}" for base in ("id",) for axis in "xyz"]
    + ["%cluster_ctarank", "%cluster_nctarank", "%is_explicit_cluster"]
    + ["%laneid", "%warpid", "%nwarpid", "%smid", "%nsmid", "%clock", "%clock_hi"]
    + ["%dynamic_smem_size", "%total_smem_size", "%globaltimer_lo", "%globaltimer_hi"]
    + [f"%lanemask_{relation}" for relation in ("eq", "le", "lt", "ge", "gt")]
)
SPECIALS: dict[str, Type] = {name: TYPES["u32"] for name in _SPECIALS_32} | {
    "%clock64": TYPES["u64"],
    "%globaltimer": TYPES["u64"],
    "%gridid": TYPES["u64"],
}

_DIGITS = "0123456789"
_NUMERIC = frozenset(_DIGITS + "+-.")
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9]\d*)U?\Z")
_HEX_FLOAT = re.compile(r"0(?:[fF]([0-9a-fA-F]{8})|[dD]([0-9a-fA-F]{16}))\Z")
_DECIMAL_FLOAT = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?\Z")
_NAME = re.compile(r"[A-Za-z_$%][\w$.]*\Z")
_ADDRESS = re.compile(r"\[[^\[\]]*\]\Z")
_SPLIT = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}|[^\s,\[\]{}](?:[^,\[\]{}]*[^\s,\[\]{}])?")


class OperandError(ValueError):
    """Text that is no operand; the parser adds the line."""


def split_operands(text: str) -> list[str]:
    """Top-level operands of an instruction; braces and brackets keep their commas.

    Raises OperandError when anything but single commas stands between them.
    """
    if "{" not in text:
        parts = [part.strip() for part in text.split(",")]
        if parts == [""]:
            return []
        addresses = [part for part in parts if "[" in part or "]" in part]
        if not addresses or (len(addresses) == 1 and _ADDRESS.match(addresses[0])):
            if "" in parts:
                raise OperandError("an operand is missing beside a comma")
            return parts
    parts = _SPLIT.findall(text)
    rest = _SPLIT.sub("", text).replace(" ", "").replace("\t", "").replace("\n", "")
    if rest != "," * (len(parts) - 1):
        raise OperandError("operands must be separated by single commas")
    return parts


def parse_integer(text: str) -> int | None:
    """The value of a PTX integer literal, or None if `text` is none."""
    if not _INTEGER.match(text):
        return None
    digits = text.rstrip("U")
    body = digits.lstrip("+-")
    if body[:2] in ("0x", "0X", "0b", "0B"):
        value = int(body, 0)
    elif len(body) > 1 and body[0] == "0":
        value = int(body, 8)
    else:
        value = int(body)
    return -value if digits[0] == "-" else value


def parse_float(text: str) -> FloatBits | None:
    negative = text.startswith("-")
    if match := _HEX_FLOAT.match(text.lstrip("+-")):
        if match[1]:
            return FloatBits(32, int(match[1], 16) ^ (negative << 31))
        return FloatBits(64, int(match[2], 16) ^ (negative << 63))
    if _DECIMAL_FLOAT.match(text):
        return FloatBits(64, int.from_bytes(struct.pack("<d", float(text)), "little"))
    return None


class RegisterTable:
    """Declared registers by name, given slots when first used. Scopes nest and may shadow."""

    def __init__(self) -> None:
        self.registers: list[Reg] = []
        self.specials: dict[str, Reg] = {}
        self._scopes: list[dict[str, Reg | Type]] = [{}]
        self._ranges: list[dict[str, tuple[int, Type]]] = [{}]
        self._cache: dict[str, Operand] = {}

    def push(self) -> None:
        self._scopes.append({})
        self._ranges.append({})

    def pop(self) -> None:
        self._scopes.pop()
        self._ranges.pop()
        self._cache.clear()

    def declare(self, name: str, type_: Type, count: int | None) -> None:
        """`name` alone, or `name<count>`: name0 .. name(count-1)."""
        if len(self._scopes) > 1:
            self._cache.clear()
        if count is None:
            self._scopes[-1][name] = type_
        else:
            self._ranges[-1][name] = (count, type_)

    def find(self, name: str) -> Reg | None:
        entry = self._scopes[-1].get(name)
        return entry if isinstance(entry, Reg) else self._first_use(name)

    def _first_use(self, name: str) -> Reg | None:
        """A register that the innermost scope has not used yet."""
        base = name.rstrip(_DIGITS)
        digits = name[len(base) :]
        if (
            len(self._scopes) == 1
            and digits
            and base in self._ranges[0]
            and name not in self._scopes[0]
        ):
            count, type_ = self._ranges[0][base]
            if int(digits) < count:
                reg = self._scopes[0][name] = self._new(name, type_)
                return reg
        for scope, ranges in zip(reversed(self._scopes), reversed(self._ranges), strict=True):
            entry = scope.get(name)
            if isinstance(entry, Reg):
                return entry
            if entry is None and digits and base in ranges:
                count, type_ = ranges[base]
                if int(digits) < count:
                    entry = type_
            if entry is not None:
                reg = self._new(name, entry)
                scope[name] = reg
                return reg
        return self._special(name)

    def _special(self, name: str) -> Reg | None:
        if name in SPECIALS and name not in self.specials:
            self.specials[name] = self._new(name, SPECIALS[name])
        return self.specials.get(name)

    def _new(self, name: str, type_: Type) -> Reg:
        reg = Reg(name, type_, len(self.registers))
        self.registers.append(reg)
        return reg

    def operands(self, text: str) -> tuple[Operand, ...]:
        """The operands of an instruction."""
        seen = self._cache.get
        parts = text.split(", ")
        if "[" in text or "{" in text or "" in parts or text.count(",") >= len(parts):
            parts = split_operands(text)
        return tuple([seen(part) or self.operand(part.strip()) for part in parts])

    def operand(self, text: str) -> Operand:
        """The operand that `text` spells, from a cache where it was seen before."""
        found = self._cache.get(text)
        if found is None:
            found = self.find(text) if text[:1] == "%" else None
            found = self._parse(text) if found is None else found
            self._cache[text] = found
        return found

    def _parse(self, text: str) -> Operand:
        if not text:
            raise OperandError("an operand is missing")
        head = text[0]
        if head == "[" and "{" in text:
            return self._tensor(text[1:-1])
        if head == "[":
            return self._memory(text[1:-1].strip())
        if head == "{":
            return Vector(tuple(self.operand(part) for part in split_operands(text[1:-1])))
        if "|" in text:
            first, second = (part.strip() for part in text.split("|", 1))
            return Pair(self.operand(first), self.operand(second))
        if head == "!":
            return Not(self._register(text[1:].strip()))
        if text == "_":
            return Sink()
        return self._scalar(text)

    def _scalar(self, text: str) -> Operand:
        found = _number(text) if text[0] in _NUMERIC else self.find(text)
        if found is not None:
            return found
        base, sign, offset = _cut_offset(text)
        if sign and (value := parse_integer(offset)) is not None and _NAME.match(base):
            return Symbol(base, -value if sign == "-" else value)
        if text[0] == "%":
            raise OperandError(f"register `{text}` is not declared")
        if not _NAME.match(text):
            raise OperandError(f"`{text}` is no operand")
        return Symbol(text)

    def _register(self, name: str) -> Reg:
        reg = self.find(name)
        if reg is None:
            raise OperandError(f"register `{name}` is not declared")
        return reg

    def _tensor(self, text: str) -> TensorMem:
        parts = split_operands(text)
        if len(parts) != 2:
            raise OperandError(f"`{text}` is no place in a tensor")
        place = self.operand(parts[1])
        if not isinstance(place, Vector):
            raise OperandError(f"`{parts[1]}` are no coordinates")
        return TensorMem(self.operand(parts[0]), place.items)

    def _memory(self, text: str) -> Mem:
        base, sign, offset = _cut_offset(text)
        displacement = 0
        if sign:
            value = parse_integer(offset)
            if value is None:
                raise OperandError(f"`{offset}` is no constant offset")
            displacement = -value if sign == "-" else value
        operand = self.operand(base)
        if not isinstance(operand, Reg | Symbol | Int):
            raise OperandError(f"`{base}` is no address")
        return Mem(operand, displacement)

    def guard(self, name: str) -> Reg:
        reg = self._register(name)
        if reg.type.bits != 1:
            raise OperandError(f"the guard `{name}` is no predicate")
        return reg


@lru_cache(maxsize=4096)
def _number(text: str) -> Int | FloatBits | None:
    value = parse_integer(text)
    return parse_float(text) if value is None else Int(value)


def _cut_offset(text: str) -> tuple[str, str, str]:
    """`base + 16`, `base+-16` or `base-16` -> (base, sign, digits); no offset: an empty sign."""
    for sign in "+-":
        base, found, offset = text.partition(sign)
        if found and base:
            return base.strip(), sign, offset.strip()
    return text, "", ""
