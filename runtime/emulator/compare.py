"""Comparisons and selection: setp set selp slct testp."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .floats import flush
from .opcode import Custom, Form, Mods, OpcodeError, Pure, opcode
from .rounding import decode
from .step import Flow
from .syntax import Not, Pair, Sink
from .types import PRED, TYPES, Array, Type

if TYPE_CHECKING:
    from .linker import Linker
    from .step import Step
    from .syntax import Instruction, Operand

Compare = Callable[[Array, Array], Array]

_ORDERED: dict[str, Compare] = {
    "eq": np.equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_UNSIGNED_NAMES = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
_JOIN: dict[str, Callable[..., Any]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}


def _values(type_: Type, ftz: bool) -> Callable[[Array], Array]:
    if type_.bits == 16 or type_.lanes == 2:
        return decode(type_) if type_.is_float else (lambda raw: raw.view(type_.view))
    if ftz:
        return lambda raw: flush(raw.view(np.float32))
    return lambda raw: raw.view(type_.view)


def _float_comparison(name: str) -> Compare | None:
    """ne and the unordered comparisons; numpy's ordered ones are false on NaN like PTX's."""
    if name == "ne":
        return lambda a, b: (a != b) & ~np.isnan(a) & ~np.isnan(b)
    if name == "num":
        return lambda a, b: ~(np.isnan(a) | np.isnan(b))
    if name == "nan":
        return lambda a, b: np.isnan(a) | np.isnan(b)
    if name == "neu":
        return np.not_equal
    opposite = {"equ": np.equal, "ltu": np.less, "leu": np.less_equal}
    opposite |= {"gtu": np.greater, "geu": np.greater_equal}
    if name in opposite:
        ordered: Any = opposite[name]
        return lambda a, b: ordered(a, b) | np.isnan(a) | np.isnan(b)
    return None


_FLOAT_NAMES = ("ne", "num", "nan", "neu", "equ", "ltu", "leu", "gtu", "geu")


def _comparison(mods: Mods) -> tuple[Compare, Type]:
    """The comparison on raw arrays, and the type compared."""
    name = mods.choice(*_ORDERED, *_UNSIGNED_NAMES, *_FLOAT_NAMES)
    ftz = mods.flag("ftz")
    type_ = mods.type()
    name = _UNSIGNED_NAMES.get(name, name)
    fn = _ORDERED.get(name)
    if type_.is_float:
        fn = fn or _float_comparison(name)
    elif name == "ne":
        fn = np.not_equal
    if fn is None or (type_.kind == "b" and name not in ("eq", "ne")):
        raise OpcodeError(f"`{mods.text}`: no such comparison of `.{type_.name}`")
    found, read = fn, _values(type_, ftz)
    return (lambda a, b: found(read(a), read(b))), type_


def _boolean(mods: Mods) -> str:
    return mods.choice("and", "or", "xor", default="")


@opcode("setp")
def setp(mods: Mods) -> Form:
    join = _boolean(mods)
    compare, type_ = _comparison(mods)
    return Custom(
        lambda instruction, linker: _build_setp(instruction, linker, compare, type_, join)
    )


def _build_setp(
    instruction: Instruction, linker: Linker, compare: Compare, type_: Type, join: str
) -> Step:
    expected = 4 if join else 3
    if len(instruction.operands) != expected:
        raise OpcodeError(f"`{instruction.opcode}` takes {expected} operands")
    out, a, b, *rest = instruction.operands
    packed = type_.lanes == 2
    outs = _destinations(out, linker, packed)
    ins = [linker.source(a, type_), linker.source(b, type_)]
    joined = _JOIN.get(join)
    negated = False
    if rest:
        negated = isinstance(rest[0], Not)
        ins.append(linker.source(rest[0].reg if isinstance(rest[0], Not) else rest[0], PRED))

    def results(x: Array, y: Array, *other: Array) -> tuple[Array, ...]:
        found = compare(x, y)
        # p|q: q is the complement for one comparison, the upper element for a packed pair.
        both = (found[..., 0::2], found[..., 1::2]) if packed else (found, ~found)
        if joined is not None:
            third = ~other[0] if negated else other[0]
            both = joined(both[0], third), joined(both[1], third)
        return both[: len(outs)]

    if len(outs) == 1:
        return linker.pure_step(lambda *args: results(*args)[0], outs, tuple(ins))
    return linker.pure_step(results, outs, tuple(ins))


def _destinations(out: Operand, linker: Linker, packed: bool) -> tuple[int, ...]:
    if isinstance(out, Pair):
        return linker.dest(out.first, PRED), linker.dest(out.second, PRED)
    if packed and not isinstance(out, Sink):
        raise OpcodeError("a packed comparison needs two predicates, `p|q`")
    return (linker.dest(out, PRED),)


@opcode("set")
def set_(mods: Mods) -> Form:
    """set.cmp.dtype.stype: all ones (or 1.0) where the comparison holds."""
    join = _boolean(mods)
    if join:
        raise OpcodeError(f"`{mods.text}`: boolean operators are only supported on setp")
    # The result type comes first in the text, the compared type second.
    out = mods.type("u32", "s32", "f32", "f16", "bf16", "f16x2", "bf16x2", "u16", "s16")
    compare, type_ = _comparison(mods)
    yes = {"f32": 0x3F800000, "f16": 0x3C00, "bf16": 0x3F80, "f16x2": 0x3C00, "bf16x2": 0x3F80}
    width = out.bits // out.lanes if out.lanes == type_.lanes else out.bits // type_.lanes
    ones = np.dtype(f"u{width // 8}").type(yes.get(out.name, (1 << width) - 1))
    return Pure(
        (out,),
        (type_, type_),
        lambda a, b: np.where(compare(a, b), ones, ones.dtype.type(0)).view(out.raw),
    )


@opcode("selp")
def selp(mods: Mods) -> Form:
    type_ = mods.type()
    if type_.lanes > 1:
        raise OpcodeError(f"`{mods.text}`: type `.{type_.name}` is not supported")
    return Pure((type_,), (type_, type_, PRED), lambda a, b, p: np.where(p, a, b), Flow(2))


@opcode("slct")
def slct(mods: Mods) -> Form:
    """slct.dtype.s32/f32: a where c >= 0, else b (NaN selects b)."""
    ftz = mods.flag("ftz")
    out, by = mods.type(), mods.type("s32", "f32")
    read = _values(by, ftz)
    return Pure((out,), (out, out, by), lambda a, b, c: np.where(read(c) >= 0, a, b))


_TESTS: dict[str, Callable[..., Any]] = {
    "finite": np.isfinite,
    "infinite": np.isinf,
    "number": lambda x: ~np.isnan(x),
    "notanumber": np.isnan,
    # Zeros count as normal.
    "normal": lambda x: np.isfinite(x) & ((x == 0) | (np.abs(x) >= np.finfo(x.dtype).tiny)),
    "subnormal": lambda x: (x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny),
}


@opcode("testp")
def testp(mods: Mods) -> Form:
    test = _TESTS[mods.choice(*_TESTS)]
    type_ = TYPES[mods.type("f32", "f64").name]
    return Pure((PRED,), (type_,), lambda a: test(a.view(type_.view)))
