"""One instruction from its syntax tree, driven by the fields of its class alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..diagnostics import (
    Location,
    VMError,
    VMNameError,
    VMSyntaxError,
    VMTypeError,
    at_location,
    did_you_mean,
    quote,
)
from ..expr import Expr
from ..instruction import REGISTRY, Instruction, Role, attribute_hints, roles
from ..ir import Value
from ..types import ScalarType
from .attributes import AttributeReader
from .expressions import ExpressionReader
from .printer import print_type
from .scope import Scope
from .tree import node, nodes, span
from .type_reader import TypeReader
from .usage import usage

if TYPE_CHECKING:
    from .tree import Node, Part


class InstructionReader:
    """Builds instructions, checks them by their own `result_type`, and defines their results."""

    def __init__(self, scope: Scope, expressions: ExpressionReader, types: TypeReader) -> None:
        self._scope = scope
        self._expressions = expressions
        self._types = types
        self._attributes = AttributeReader(scope, expressions)

    def read(self, tree: Node) -> Instruction:
        """The instruction of an `instruction` tree, its result defined in the scope."""
        result, mnemonic, operands, attributes, annotation = map(node, tree.children)
        cls = self._class(mnemonic)
        fields = self._operand_fields(cls, operands.children, tree)
        fields |= self._attribute_fields(cls, nodes(attributes.children, "attribute"), tree)
        self._check_result(cls, bool(result.children), annotation, tree)
        place = self._scope.source.location(span(tree))
        type_ = self._types.read(annotation.children[0]) if annotation.children else None
        with at_location(place, f"`{cls.name}`: "), self._comment_advice(tree):
            draft = cls(**fields, location=place)
            result_type = draft.result_type(type_)
        if not result.children:
            return draft
        assert result_type is not None, f"{cls.name} gives no type to its result"
        token = result.children[0]
        value = self._scope.define(str(token)[1:], result_type, span(token))
        return dataclasses.replace(draft, result=value)

    @contextmanager
    def _comment_advice(self, tree: Node) -> Iterator[None]:
        """Tells who writes `%n // 2` that the rest of the line was a comment."""
        try:
            yield
        except VMError as error:
            rest = self._scope.source.text[span(tree)[1] :].partition("\n")[0].strip()
            if rest.startswith("//") and rest[2:].strip()[:1] in "%(0123456789":
                error.note("`//` starts a comment; a quotient is written `/` and rounds down")
            raise

    def _class(self, mnemonic: Node) -> type[Instruction]:
        name = str(mnemonic.children[0])
        if name in REGISTRY:
            return REGISTRY[name]
        raise VMNameError(
            f"unknown instruction {quote(name)}",
            self._at(mnemonic),
            hint=did_you_mean(name, REGISTRY),
        )

    def _operand_fields(
        self, cls: type[Instruction], parts: list[Part], tree: Node
    ) -> dict[str, Any]:
        """The operand fields in order; an index list belongs to the operand before it."""
        slots = [(n, role) for n, role in roles(cls).items() if role is not Role.ATTRIBUTE]
        wanted = [n for n, role in slots if role is not Role.INDICES]
        needed = [n for n in wanted if _required(cls, n)]
        if not len(needed) <= len(parts) <= len(wanted):
            count = f"{len(wanted)} operand{'s' * (len(wanted) != 1)}"
            raise VMTypeError(
                f"`{cls.name}` takes {count if wanted else 'no operands'}, not {len(parts)}",
                self._at(tree),
                hint=usage(cls),
            )
        fields: dict[str, Any] = {}
        given = dict(zip(wanted, map(node, parts), strict=False))
        for position, (name, role) in enumerate(slots):
            if role is Role.INDICES or name not in given:
                continue
            indices = slots[position + 1 : position + 2]
            index_field = indices[0][0] if indices and indices[0][1] is Role.INDICES else None
            fields |= self._operand(cls, name, role, index_field, given[name])
        return fields

    def _operand(
        self, cls: type[Instruction], name: str, role: Role, index_field: str | None, part: Node
    ) -> dict[str, Any]:
        if part.data != "indexed":
            if index_field is not None and _required(cls, index_field):
                raise VMTypeError(
                    f"`{cls.name}`: {name} needs an index list", self._at(part), hint=usage(cls)
                )
            return {name: self._value(cls, name, role, part)}
        token, index_list = part.children
        if index_field is None:
            raise VMTypeError(
                f"`{cls.name}`: {name} takes no index list",
                self._at(index_list),
                hint=usage(cls),
            )
        indices = tuple(self._expressions.read(each) for each in node(index_list).children)
        return {name: self._scope.lookup(str(token)[1:], span(token)), index_field: indices}

    def _value(self, cls: type[Instruction], name: str, role: Role, part: Node) -> Value | Expr:
        value = None
        if part.data == "reference":
            token = part.children[0]
            value = self._scope.lookup(str(token)[1:], span(token))
        if role is Role.MUTATED:
            if value is None:
                raise VMTypeError(
                    f"`{cls.name}`: {name} is written to and must be a value", self._at(part)
                )
            return value
        if role is Role.OPERAND and value is not None and not isinstance(value.type, ScalarType):
            return value
        if value is not None and not isinstance(value.type, ScalarType):
            raise VMTypeError(
                f"`{cls.name}`: {name} must be a scalar",
                self._at(part),
                notes=[(f"`%{value.name}` is `{print_type(value.type)}`", value.location)],
            )
        return self._expressions.read(part)

    def _attribute_fields(
        self, cls: type[Instruction], attributes: list[Node], tree: Node
    ) -> dict[str, Any]:
        hints = attribute_hints(cls)
        fields: dict[str, Any] = {}
        for attribute in attributes:
            name_node, value = map(node, attribute.children)
            name = str(name_node.children[0])
            if name not in hints:
                known = ", ".join(f"`{each}`" for each in hints) or "none"
                raise VMNameError(
                    f"`{cls.name}` has no attribute {quote(name)}",
                    self._at(name_node),
                    hint=did_you_mean(name, hints) or f"its attributes: {known}",
                )
            if name in fields:
                raise VMNameError(f"attribute {quote(name)} is given twice", self._at(name_node))
            fields[name] = self._attributes.read(value, hints[name], f"`{cls.name}`: `{name}`")
        for name in hints:
            if name not in fields and _required(cls, name):
                raise VMTypeError(
                    f"`{cls.name}` needs the attribute `{name}`", self._at(tree), hint=usage(cls)
                )
        return fields

    def _check_result(
        self, cls: type[Instruction], named: bool, annotation: Node, tree: Node
    ) -> None:
        if cls.has_result is True and not named:
            raise VMSyntaxError(
                f"`{cls.name}` gives a result that is not named", self._at(tree), hint=usage(cls)
            )
        if cls.has_result is False and named:
            raise VMSyntaxError(f"`{cls.name}` gives no result", self._at(tree), hint=usage(cls))
        if annotation.children and not named:
            raise VMSyntaxError(
                f"`{cls.name}` gives no result that could have a type", self._at(annotation)
            )

    def _at(self, part: Part) -> Location:
        return self._scope.source.location(span(part))


def _required(cls: type[Instruction], name: str) -> bool:
    field = {f.name: f for f in dataclasses.fields(cls)}[name]
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing
