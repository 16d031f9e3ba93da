"""What an instruction is: one frozen dataclass, from which everything else is derived.

The annotations of its fields are their roles; the class line states its name and effect:

    class Load(Instruction, name="load", effect=Effect.READS_MEMORY):
        source: Operand                # a value read
        offsets: Indices               # the index list behind it: `%source[i, j]`
        in_bounds: bool = False        # anything else is an attribute: `{in_bounds = true}`

Parser, printer, verifier, DSL and passes read the fields (`roles`); they know no instruction by
name. A new instruction touches four places: its class, its `@semantics` rule, its `@lowering` rule
and its test.

    Operand   a tile, pointer or scalar that is read: `Value`, or `Expr` for a scalar
    Mutated   a register tile or scalar that is read and written in place
    Indices   a tuple of scalar expressions: the index list of the operand before it, which may be
              left away where the field has a default
    Scalar    one scalar expression
    (other)   an attribute: bool, int, float, str, Dtype, a tuple of ints, or None
"""

from __future__ import annotations

import enum
import operator
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias

from .expr import Expr, substitute

if TYPE_CHECKING:
    from .diagnostics import Location
    from .ir import Value
    from .types import Type


class Role(enum.Enum):
    """What a field of an instruction is."""

    OPERAND = "operand"
    MUTATED = "mutated"
    INDICES = "indices"
    SCALAR = "scalar"
    ATTRIBUTE = "attribute"


class Effect(enum.Flag):
    """What an instruction does besides making its result and mutating its operands."""

    NONE = 0
    READS_MEMORY = enum.auto()
    WRITES_MEMORY = enum.auto()
    SYNCHRONIZES = enum.auto()
    OBSERVABLE = enum.auto()  # print, assert, trap: must stay, in order


# Through `Any` at run time only: type checkers see the real types.
Operand: TypeAlias = Annotated["Value | Expr", Role.OPERAND]
Mutated: TypeAlias = Annotated["Value", Role.MUTATED]
Indices: TypeAlias = Annotated[tuple[Expr, ...], Role.INDICES]
Scalar: TypeAlias = Annotated[Expr, Role.SCALAR]

REGISTRY: dict[str, type[Instruction]] = {}


AnyInstruction = typing.TypeVar("AnyInstruction")


Signature: TypeAlias = tuple[list[str], int, list[tuple[str, Any]]]
_SIGNATURES: dict[type[Any], Signature] = {}


def _signature(cls: type[Any]) -> Signature:
    """Names of what may come by position, the number of fields, and the defaults."""
    if cls not in _SIGNATURES:
        own = fields(cls)
        assert all(f.default_factory is MISSING for f in own), "defaults are shared: take a value"
        names = [f.name for f in own if not f.kw_only]
        defaults = [(f.name, f.default) for f in own if f.default is not MISSING]
        _SIGNATURES[cls] = names, len(own), defaults
    return _SIGNATURES[cls]


@typing.dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
def instruction(cls: type[AnyInstruction]) -> type[AnyInstruction]:
    """Makes a class an instruction: a frozen dataclass, compared by identity.

    Its methods are those of `Instruction`. What `dataclass` would generate for each of so many
    classes was most of what an import took.
    """
    return dataclass(eq=False, init=False, repr=False)(cls)


@instruction
class Instruction:
    """The base of every instruction: its result, and its place in the user's source."""

    name: ClassVar[str] = ""
    effect: ClassVar[Effect] = Effect.NONE
    has_result: ClassVar[bool | None] = True  # None: with or without, as the program says
    needs_type: ClassVar[bool] = False  # the text must say `: type`
    # Of a single instruction: `result_type(None)` is known to be the result's type.
    is_implied: ClassVar[bool] = False

    result: Value | None = field(default=None, kw_only=True)
    location: Location | None = field(default=None, kw_only=True, repr=False)

    def __init__(self, *values: Any, **named: Any) -> None:
        names, count, defaults = _signature(type(self))
        given = self.__dict__
        given.update(zip(names, values, strict=False), **named)
        known = len(given) == len(values) + len(named)
        for name, default in defaults:
            given.setdefault(name, default)
        assert known and len(given) == count, f"{type(self).__name__}: {values}, {named}"

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __repr__(self) -> str:
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.repr]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __init_subclass__(
        cls,
        name: str | None = None,
        effect: Effect = Effect.NONE,
        result: bool | None = True,
        needs_type: bool = False,
    ) -> None:
        if name is None:
            return  # an abstract family
        cls.name, cls.effect = name, effect
        cls.has_result, cls.needs_type = result, needs_type
        assert name not in REGISTRY, f"two instructions named {name}"
        REGISTRY[name] = cls

    def result_type(self, annotation: Type | None) -> Type | None:
        """The type of the result from the operands and the text's `: type`, None without a result.

        Raises:
            VMError: operands that don't fit, or an annotation that contradicts them.
        """
        raise NotImplementedError(self.name)

    def complete(self, result: Value, is_implied: bool) -> None:
        """Gives a new instruction, which nobody else has seen yet, the result it was made for, and
        says whether its operands alone give the result's type."""
        assert self.result is None
        self.__dict__.update(result=result, is_implied=is_implied)

    def operands(self) -> list[Value | Expr]:
        """Every operand read or mutated, index lists excluded."""
        own = self.__dict__
        return [own[name] for name in _operand_names(type(self))]

    def expressions(self) -> Iterator[Expr]:
        """Every scalar expression: index lists, scalars, and operands that are expressions."""
        for name, role in roles(type(self)).items():
            value = getattr(self, name)
            if role is Role.INDICES:
                yield from value
            elif (role is Role.SCALAR or role is Role.OPERAND) and isinstance(value, Expr):
                yield value

    def mutated(self) -> Iterator[Value]:
        """Every value written in place."""
        for name, role in roles(type(self)).items():
            if role is Role.MUTATED:
                yield getattr(self, name)

    def attributes(self) -> dict[str, Any]:
        """The attributes by name, those at their default included."""
        names = [n for n, role in roles(type(self)).items() if role is Role.ATTRIBUTE]
        return {name: getattr(self, name) for name in names}

    def with_values(self, mapping: Callable[[Value], Value]) -> Instruction:
        """The instruction with every value (operands, expressions, result) replaced."""
        own = self.__dict__
        changes: dict[str, Any] = {}
        for name, role in roles(type(self)).items():
            if role is not Role.ATTRIBUTE:
                value = own[name]
                mapped = _map_field(value, mapping)
                if mapped is not value:
                    changes[name] = mapped
        if self.result is not None:
            result = mapping(self.result)
            if result is not self.result:
                changes["result"] = result
        if not changes:
            return self
        # As `dataclasses.replace` does, without looking at every field.
        new = object.__new__(type(self))
        new.__dict__.update(own, **changes)
        new.__dict__.pop("is_implied", None)  # of other types it may not be
        return new


def _map_field(value: Any, mapping: Callable[[Value], Value]) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple):
        mapped = tuple([_map_field(item, mapping) for item in value])
        return value if all(map(operator.is_, value, mapped)) else mapped
    return substitute(value, mapping) if isinstance(value, Expr) else mapping(value)


# Dictionaries, not `functools.cache`: a class with `eq=False` is no `Hashable` to mypy.
_ROLES: dict[type[Instruction], dict[str, Role]] = {}
_OPERAND_NAMES: dict[type[Instruction], tuple[str, ...]] = {}
_ATTRIBUTE_HINTS: dict[type[Instruction], dict[str, Any]] = {}


def roles(cls: type[Instruction]) -> dict[str, Role]:
    """The role of each field of an instruction class, in the order they are written."""
    if cls not in _ROLES:
        _ROLES[cls] = _find_roles(cls)
    return _ROLES[cls]


def _operand_names(cls: type[Instruction]) -> tuple[str, ...]:
    if cls not in _OPERAND_NAMES:
        read = (Role.OPERAND, Role.MUTATED)
        _OPERAND_NAMES[cls] = tuple(name for name, role in roles(cls).items() if role in read)
    return _OPERAND_NAMES[cls]


def attribute_hints(cls: type[Instruction]) -> dict[str, Any]:
    """The Python type of each attribute of an instruction class."""
    if cls not in _ATTRIBUTE_HINTS:
        _ATTRIBUTE_HINTS[cls] = _find_attribute_hints(cls)
    return _ATTRIBUTE_HINTS[cls]


def _find_roles(cls: type[Instruction]) -> dict[str, Role]:
    from . import ir

    hints = typing.get_type_hints(
        cls,
        localns={"Value": ir.Value, "Location": object, "Type": object, **_hint_names()},
        include_extras=True,
    )
    own = [f.name for f in fields(cls) if f.name not in ("result", "location")]
    return {name: _role_of(hints[name]) for name in own}


def _hint_names() -> dict[str, Any]:
    from .dtypes import Dtype

    return {"Dtype": Dtype, "Expr": Expr}


def _role_of(hint: Any) -> Role:
    for candidate in (hint, *typing.get_args(hint)):
        for extra in getattr(candidate, "__metadata__", ()):
            if isinstance(extra, Role):
                return extra
    return Role.ATTRIBUTE


def _find_attribute_hints(cls: type[Instruction]) -> dict[str, Any]:
    hints = typing.get_type_hints(
        cls, localns={"Value": object, "Location": object, "Type": object, **_hint_names()}
    )
    return {n: hints[n] for n, role in roles(cls).items() if role is Role.ATTRIBUTE}
