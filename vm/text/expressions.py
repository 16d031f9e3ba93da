"""Scalar expressions from a syntax tree. Constants are folded as the DSL folds them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..diagnostics import (
    Location,
    VMNameError,
    VMSyntaxError,
    VMTypeError,
    VMValueError,
    did_you_mean,
    quote,
)
from ..expr import SPECIALS, Binary, Const, Expr, Ref, Select, Special, Unary, binary
from ..types import ScalarType
from .printer import print_type
from .scope import Scope
from .tree import node, span

if TYPE_CHECKING:
    from .tree import Node, Part

_LITERALS: dict[str, bool | float] = {
    "true": True, "false": False, "inf": math.inf, "nan": math.nan
}  # fmt: skip
_FUNCTIONS = {"min": 2, "max": 2, "select": 3}
_MAX_SHIFT = 64
_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1


class ExpressionReader:
    """Turns expression trees into `Expr`, with the names of a scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def read(self, part: Part) -> Expr:
        """The expression of a tree.

        Raises:
            VMError: an unknown name, a value that is no scalar, or a constant beyond 64 bits.
        """
        tree = node(part)
        match tree.data:
            case "integer":
                digits = str(tree.children[0])
                base = 16 if digits[:2].lower() == "0x" else 10
                return self._in_range(Const(int(digits, base)), tree)
            case "float":
                return self._float(tree)
            case "reference":
                return self._reference(tree)
            case "word":
                return self._word(tree)
            case "group":
                return self.read(tree.children[0])
            case "call":
                return self._call(tree)
            case "unary":
                return self._unary(tree)
            case "binary":
                lhs, op, rhs = tree.children
                return self._binary(str(op), self.read(lhs), self.read(rhs), tree)
        raise VMSyntaxError("expected an expression, found a list", self._at(tree))

    def constant(self, part: Part, what: str) -> int:
        """The integer of a constant expression; `what` names it in the error."""
        expr = self.read(part)
        if isinstance(expr, Const) and type(expr.value) is int:
            return expr.value
        raise VMTypeError(f"{what} must be a constant integer", self._at(node(part)))

    def _at(self, tree: Node) -> Location:
        return self._scope.source.location(span(tree))

    def _float(self, tree: Node) -> Expr:
        value = float(str(tree.children[0]))
        if math.isinf(value):
            raise VMValueError(f"{quote(tree.children[0])} is too large", self._at(tree))
        return Const(value)

    def _reference(self, tree: Node) -> Expr:
        token = tree.children[0]
        value = self._scope.lookup(str(token)[1:], span(token))
        if not isinstance(value.type, ScalarType):
            raise VMTypeError(
                f"`%{value.name}` is no scalar",
                self._at(tree),
                notes=[(f"`%{value.name}` is `{print_type(value.type)}`", value.location)],
                hint="tiles are combined by instructions: `%c = add %a, %b`",
            )
        return Ref(value)

    def _word(self, tree: Node) -> Expr:
        word = str(tree.children[0])
        if word in _LITERALS:
            return Const(_LITERALS[word])
        if word in SPECIALS:
            return Special(word)
        hint = did_you_mean(word, [*SPECIALS, *_LITERALS])
        raise VMNameError(
            f"unknown name {quote(word)}",
            self._at(tree),
            hint=hint or f"values are written with `%`: `%{word}`",
        )

    def _call(self, tree: Node) -> Expr:
        name, *arguments = tree.children
        count = _FUNCTIONS.get(str(name))
        if count is None:
            raise VMNameError(
                f"unknown function {quote(name)}",
                self._at(tree),
                hint=did_you_mean(str(name), _FUNCTIONS) or "scalars have `min`, `max`, `select`",
            )
        if len(arguments) != count:
            raise VMTypeError(
                f"`{name}` takes {count} arguments, not {len(arguments)}", self._at(tree)
            )
        values = [self.read(argument) for argument in arguments]
        if count == 3:
            return Select(*values)
        return self._binary(str(name), values[0], values[1], tree)

    def _unary(self, tree: Node) -> Expr:
        op, operand = str(tree.children[0]), self.read(tree.children[1])
        match op, operand:
            case "-", Const(int() | float() as value) if not isinstance(value, bool):
                return self._in_range(Const(-value), tree)
            case "not", Const(bool() as value):
                return Const(not value)
        return Unary(op, operand)

    def _binary(self, op: str, lhs: Expr, rhs: Expr, tree: Node) -> Expr:
        match op, rhs:
            case "<<" | ">>", Const(value) if not 0 <= value < _MAX_SHIFT:
                raise VMValueError(f"a shift by {value}", self._at(tree), hint="0 to 63")
            case "/" | "%", Const(0):
                raise VMValueError("division by zero", self._at(tree))
        try:
            return self._in_range(binary(op, lhs, rhs), tree)
        except (TypeError, ArithmeticError):
            # Not foldable: the verifier says what is wrong with the types.
            return Binary(op, lhs, rhs)

    def _in_range(self, expr: Expr, tree: Node) -> Expr:
        match expr:
            case Const(int() as value) if not _SMALLEST <= value <= _LARGEST:
                raise VMValueError(f"{quote(value)} doesn't fit in 64 bits", self._at(tree))
        return expr
