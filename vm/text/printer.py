"""Programs, types and expressions as text; `parse` reads the same program back.

Nothing here knows an instruction by name: operands and attributes are printed by the fields'
roles. Attributes at their default and types that the operands imply are left away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any

from tileloom.layouts import RegisterLayout

from ..diagnostics import VMError
from ..dtypes import Dtype
from ..expr import Binary, Const, Expr, Ref, Select, Special, Unary
from ..instruction import Instruction, Role, roles
from ..ir import Block, Break, For, Function, Group, If, Return, Statement, Value, While
from ..packing import CONTIGUOUS
from ..types import (
    BarrierType,
    GlobalType,
    PointerType,
    RegType,
    ScalarType,
    SharedType,
    Type,
    row_major_strides,
)
from .names import Names, PlainNames, UserNames
from .strings import escape
from .words import KEYWORDS

_PRECEDENCE = {
    op: level
    for level, ops in enumerate(
        [("or",), ("and",), (), ("==", "!=", "<", "<=", ">", ">="), ("|",), ("^",), ("&",),
         ("<<", ">>"), ("+", "-"), ("*", "/", "%")],
        start=1,
    )
    for op in ops
}  # fmt: skip
_NOT, _COMPARISON, _SIGN, _PRIMARY = 3, 4, 11, 12
_INDENT = "  "
_RESERVED = (KEYWORDS - {"and", "or"}) | {"true", "false", "inf", "nan", "none"}


def print_expr(expr: Expr, names: PlainNames | None = None) -> str:
    """A scalar expression with the fewest parentheses; in the user's names without `names`."""
    return _expr(expr, names or UserNames(), 0)


def _expr(expr: Expr, names: PlainNames, level: int) -> str:
    """`level` is the precedence the surroundings need."""
    if isinstance(expr, Const):
        return print_number(expr.value)
    if isinstance(expr, Ref):
        return names.value(expr.value)
    if isinstance(expr, Binary):
        op = expr.op
        if op in ("min", "max"):
            return f"{op}({_expr(expr.lhs, names, 0)}, {_expr(expr.rhs, names, 0)})"
        own = _PRECEDENCE[op]
        left = own + 1 if own == _COMPARISON else own
        text = f"{_expr(expr.lhs, names, left)} {op} {_expr(expr.rhs, names, own + 1)}"
        return text if own >= level else f"({text})"
    return _rarer_expr(expr, names, level)


def _rarer_expr(expr: Expr, names: PlainNames, level: int) -> str:
    match expr:
        case Special(name):
            return name
        case Select(condition, then, otherwise):
            inner = ", ".join(_expr(e, names, 0) for e in (condition, then, otherwise))
            return f"select({inner})"
        case Unary("not", operand):
            own, text = _NOT, f"not {_expr(operand, names, _NOT)}"
        case Unary(op, operand):
            own, text = _SIGN, f"{op}{_expr(operand, names, _SIGN)}"
        case _:
            raise AssertionError(f"no expression: {expr!r}")
    return text if own >= level else f"({text})"


def print_number(value: float) -> str:
    """A constant; `true`, `false`, `inf` and `nan` are words."""
    if type(value) is int:
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return repr(value)


def print_type(type_: Type, names: PlainNames | None = None) -> str:
    """A type as the text form writes it; layouts in full unless `names` has names for them."""
    names = names or UserNames()
    match type_:
        case ScalarType(dtype):
            return names.dtype(dtype)
        case PointerType(element):
            return f"*{names.dtype(element)}"
        case GlobalType(dtype, shape, strides):
            rest = []
            if strides != row_major_strides(shape):
                rest = [f"strides = {_list(print_expr(s, names) for s in strides)}"]
            extents = _list(print_expr(e, names) for e in shape)
            return _angled("global", names.dtype(dtype), extents, *rest)
        case SharedType(dtype, shape, layout):
            rest = [names.layout(layout)] if layout is not None else []
            return _angled("shared", names.dtype(dtype), _list(map(str, shape)), *rest)
        case RegType(dtype, shape, layout, packing):
            rest = [names.layout(layout)] if layout is not None else []
            rest += [packing.name] if packing != CONTIGUOUS else []
            return _angled("reg", names.dtype(dtype), _list(map(str, shape)), *rest)
        case BarrierType(shape):
            return _angled("mbarrier", _list(map(str, shape)))
    raise AssertionError(f"no type: {type_!r}")


def _angled(space: str, *arguments: str) -> str:
    return f"{space}<{', '.join(arguments)}>"


def _list(items: Iterable[str]) -> str:
    return f"[{', '.join(items)}]"


def print_function(function: Function) -> str:
    """A function with the layouts and code books it uses; ends with a line end."""
    return print_functions([function])


def print_functions(functions: Iterable[Function]) -> str:
    """Several functions as one text, sharing the definitions of layouts and code books."""
    names = Names()
    bodies = []
    for function in functions:
        names.start(function)
        bodies.append("\n".join(_function(function, names)) + "\n")
    definitions = "".join(f"{line}\n" for line in names.definitions())
    return "\n".join([definitions, *bodies] if definitions else bodies)


def _function(function: Function, names: Names) -> list[str]:
    with names.block():
        params = [f"{names.define(p)}: {print_type(p.type, names)}" for p in function.params]
        settings = [f"warps = {function.num_warps}"]
        if function.grid != (Const(1),):
            settings.append(f"grid = {_list(print_expr(e, names) for e in function.grid)}")
        if function.cluster:
            settings.append(f"cluster = {_list(map(str, function.cluster))}")
        if function.min_blocks:
            settings.append(f"min_blocks = {function.min_blocks}")
        head = f"func @{function.name}({', '.join(params)}) {', '.join(settings)} {{"
        return [head, *_block(function.body, names), "}"]


def _block(block: Block, names: Names) -> list[str]:
    with names.block():
        return [_INDENT + line for statement in block for line in _statement(statement, names)]


def _statement(statement: Statement, names: Names) -> list[str]:
    match statement:
        case Instruction():
            return [print_instruction(statement, names)]
        case For():
            return _for(statement, names)
        case While(condition, body):
            return [f"while {print_expr(condition, names)} {{", *_block(body, names), "}"]
        case If():
            return _if(statement, names)
        case Break():
            return ["break"]
        case Return():
            return ["return"]
        case Group(body=body):
            return [f"{print_group(statement)} {{", *_block(body, names), "}"]
    raise AssertionError(f"no statement: {statement!r}")


def print_group(group: Group) -> str:
    """The head of a group of threads."""
    if group.warps is None:
        return "single_thread"
    first, count = group.warps
    return f"warp_group {first} to {first + count}"


def _for(loop: For, names: Names) -> list[str]:
    bounds = f"{print_expr(loop.lower, names)} to {print_expr(loop.upper, names)}"
    if loop.step != Const(1):
        bounds += f" step {print_expr(loop.step, names)}"
    if loop.unroll != 1:
        bounds += f" unroll = {loop.unroll or 'all'}"
    with names.block():
        head = f"for {names.define(loop.index)} in {bounds} {{"
        return [head, *_block(loop.body, names), "}"]


def _if(statement: If, names: Names) -> list[str]:
    lines = [f"if {print_expr(statement.condition, names)} {{", *_block(statement.then, names)]
    match statement.orelse:
        case ():
            return [*lines, "}"]
        case (If() as inner,):
            first, *rest = _if(inner, names)
            return [*lines, f"}} else {first}", *rest]
    return [*lines, "} else {", *_block(statement.orelse, names), "}"]


def print_instruction(instruction: Instruction, names: PlainNames | None = None) -> str:
    """One instruction as a line of text."""
    names = names or PlainNames()
    text = instruction.name
    form = _form(type(instruction))
    operands = _operands(instruction, form, names)
    if operands:
        text += f" {operands}"
    attributes = _attributes(instruction, form, names)
    if attributes:
        text += f" {{{', '.join(attributes)}}}"
    result = instruction.result
    if result is None:
        return text
    if instruction.needs_type or not _is_implied(instruction, result.type):
        text += f" : {print_type(result.type, names)}"
    return f"{names.define(result)} = {text}"


@dataclass(frozen=True, slots=True)
class _Form:
    """How a class of instructions is printed: its operands, each with whether it is an index list
    and whether an empty one is left away, and its attributes, their defaults, and those as text."""

    operands: list[tuple[str, bool, bool]]
    attributes: list[tuple[str, Any, str]]


# A dictionary, not `functools.cache`: a class with `eq=False` is no `Hashable` to mypy.
_FORMS: dict[type[Instruction], _Form] = {}


def _form(cls: type[Instruction]) -> _Form:
    found = _FORMS.get(cls)
    if found is None:
        defaults = {f.name: f.default for f in fields(cls)}
        operands, attributes = [], []
        for name, role in roles(cls).items():
            if role is Role.ATTRIBUTE:
                attributes.append((name, defaults[name], repr(defaults[name])))
            else:
                optional = defaults[name] is not MISSING
                operands.append((name, role is Role.INDICES, optional))
        found = _FORMS[cls] = _Form(operands, attributes)
    return found


def _operands(instruction: Instruction, form: _Form, names: PlainNames) -> str:
    text = ""
    for name, are_indices, optional in form.operands:
        value: Any = getattr(instruction, name)
        if are_indices:
            if value or not optional:
                text += _list([_expr(e, names, 0) for e in value])
        elif value is not None:
            own = names.value(value) if isinstance(value, Value) else _expr(value, names, 0)
            text = f"{text}, {own}" if text else own
    return text


def _attributes(instruction: Instruction, form: _Form, names: PlainNames) -> list[str]:
    found = []
    for name, default, text in form.attributes:
        value = getattr(instruction, name)
        # By text, since 0 == 0.0 == -0.0 == False.
        if value is not default and repr(value) != text:
            found.append(f"{name} = {_attribute(value, names)}")
    return found


def _attribute(value: Any, names: PlainNames) -> str:
    if isinstance(value, int | float):
        return print_number(value)
    if isinstance(value, tuple):
        return _list([_attribute(item, names) for item in value])
    if value is None:
        return "none"
    if isinstance(value, Dtype):
        return names.dtype(value)
    if isinstance(value, str):
        return value if _is_plain_word(value) else escape(value)
    assert isinstance(value, RegisterLayout), f"no attribute: {value!r}"
    return names.layout(value)


def _is_plain_word(text: str) -> bool:
    return text.isidentifier() and text not in _RESERVED


def _is_implied(instruction: Instruction, type_: Type) -> bool:
    """Whether the parser finds the result's type without its being written."""
    if instruction.is_implied:
        return True
    try:
        return instruction.result_type(None) == type_
    except (VMError, ValueError):
        return False
