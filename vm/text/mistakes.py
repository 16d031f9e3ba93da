"""What a syntax error says: what was expected, what was found, and what was probably meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..diagnostics import quote
from .lexer import Token
from .words import PUNCTUATION

_SPELLED = {kind: text for text, kind in PUNCTUATION.items()}
_DESCRIBED = {
    "_END": "the end of the text",
    "_NEWLINE": "the end of the line",
    "VALUE": "a value `%name`",
    "LAYOUT_NAME": "a layout `#name`",
    "FUNCTION_NAME": "a function's name `@name`",
    "INTEGER": "an integer",
    "FLOAT": "a number",
    "NAME": "a name",
    "STRING": "a string",
}
_OPERATORS = frozenset([
    "EQ", "NE", "LESS", "LE", "MORE", "GE", "SHL", "SHR", "PLUS", "MINUS",
    "STAR", "SLASH", "PERCENT", "AMPERSAND", "BAR", "CARET",
])  # fmt: skip
_EXPRESSION = frozenset({"VALUE", "INTEGER", "FLOAT", "_LPAR", "MINUS"})
_NAMES = frozenset(["STEP", "TO", "IN", "LAYOUT", "UNROLL", "FOR", "FUNC", "CODEBOOK"])


def expected_text(kinds: set[str]) -> str:
    """ "a, b or c" for the terminals a parser would take, with large sets summed up."""
    parts: list[str] = []
    if kinds >= _EXPRESSION:
        parts.append("an expression")
        kinds -= _EXPRESSION | {"NAME", "NOT"}
        if kinds >= {"AND", "OR"}:
            kinds -= {"AND", "OR"} | _NAMES
    if len(kinds & _OPERATORS) > 3:
        parts.append("an operator")
        kinds -= _OPERATORS | {"AND", "OR"}
    if "NAME" in kinds:
        if {"FOR", "WHILE"} <= kinds:
            parts.append("a statement")
            kinds -= {"VALUE", "FOR", "WHILE", "IF", "BREAK", "RETURN", "AND", "OR", "NOT"}
            kinds -= {"WARP_GROUP", "SINGLE_THREAD"}
        elif kinds >= {"AND", "OR", "NOT"}:
            parts.append("an instruction")
            kinds -= {"AND", "OR", "NOT"}
        else:
            parts.append("a name")
            kinds -= _NAMES
        kinds.discard("NAME")
    parts += sorted(describe_kind(kind) for kind in kinds)
    return " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def describe_kind(kind: str) -> str:
    """A terminal in words, or as it is spelt."""
    if kind in _DESCRIBED:
        return _DESCRIBED[kind]
    return quote(_SPELLED.get(kind, kind.lower()))


def shown(token: Token) -> str:
    """A token as it stands in the text."""
    return _DESCRIBED[token.type] if token.type in ("_END", "_NEWLINE") else quote(token.text)


Rule = Callable[[Sequence[Token], int], str | None]
_RULES: list[Rule] = []


def hint(tokens: Sequence[Token], index: int) -> str | None:
    """What a user who wrote this unexpected token probably meant."""
    for rule in _RULES:
        advice = rule(tokens, index)
        if advice is not None:
            return advice
    return None


def _rule(function: Rule) -> Rule:
    _RULES.append(function)
    return function


def _texts(tokens: Sequence[Token], index: int, before: int, after: int) -> list[str]:
    wanted = range(index - before, index + after + 1)
    return [tokens[i].text if 0 <= i < len(tokens) else "" for i in wanted]


@_rule
def _for_loop(tokens: Sequence[Token], index: int) -> str | None:
    line = _line(tokens, index)
    if line and line[0].type == "FOR" and tokens[index].type not in ("_LBRACE", "_NEWLINE"):
        return "a loop is written `for %k in 0 to %n step 2 {`"
    return None


@_rule
def _missing_brace(tokens: Sequence[Token], index: int) -> str | None:
    line = _line(tokens, index)
    opens = bool(line) and line[0].type in ("FOR", "WHILE", "IF", "FUNC", "WARP_GROUP")
    if opens and tokens[index].type in ("_NEWLINE", "_END", "_COLON"):
        return "the body is written in braces: end the line with `{`"
    return None


@_rule
def _else_on_its_own_line(tokens: Sequence[Token], index: int) -> str | None:
    if tokens[index].text == "else" and tokens[index - 1].type == "_NEWLINE":
        return "`else` stands on the line of the brace before it: `} else {`"
    return None


@_rule
def _value_without_percent(tokens: Sequence[Token], index: int) -> str | None:
    before, found, after = tokens[index - 1], tokens[index], _texts(tokens, index, 0, 1)[1]
    if found.type == "_LSQB" and before.type == "NAME":
        return f"values are written with `%`: `%{before.text}`"
    if found.type == "_EQUALS" and before.type == "NAME" and len(_line(tokens, index)) == 1:
        return f"values are written with `%`: `%{before.text} = ...`"
    if found.type == "NAME" and after in ("in", ":"):
        return f"values are written with `%`: `%{found.text}`"
    return None


@_rule
def _assignment_for_a_comparison(tokens: Sequence[Token], index: int) -> str | None:
    line = _line(tokens, index)
    if line and line[0].type in ("IF", "WHILE") and tokens[index].type == "_EQUALS":
        return "equality is written `==`"
    return None


@_rule
def _call_of_an_instruction(tokens: Sequence[Token], index: int) -> str | None:
    line = [token.text for token in _line(tokens, index)]
    name = 2 if line[1:2] == ["="] else 0
    if line[name + 1 : name + 2] == ["("]:
        return "operands follow the instruction's name without parentheses: `store %view[0], %tile`"
    return None


@_rule
def _foreign_operators(tokens: Sequence[Token], index: int) -> str | None:
    before, found, after = _texts(tokens, index, 1, 1)
    meant = {
        "&&": "and is written `and`",
        "||": "or is written `or`",
        "//": "a quotient is written `/` and rounds down; `//` starts a comment",
        "**": "there is no power operator",
    }
    for pair in (before + found, found + after):
        if pair in meant:
            return meant[pair]
    if after == "=" and found and found in "+-*/%&|^":
        return f"write it out: `assign %x, %x {found} ...`"
    return None


@_rule
def _expression_as_statement(tokens: Sequence[Token], index: int) -> str | None:
    found, before = tokens[index], tokens[index - 1]
    if before.type == "_EQUALS" and found.type in ("VALUE", "INTEGER", "FLOAT", "MINUS", "_LPAR"):
        return "the right side names an instruction: `%i = var %k + 1 : i32`, `assign %i, %k + 1`"
    return None


@_rule
def _instruction_called(tokens: Sequence[Token], index: int) -> str | None:
    line = _line(tokens, index)
    if tokens[index].type == "_EQUALS" and tokens[index - 1].type == "NAME" and line:
        return "attributes are written in braces: `{name = value}`"
    if tokens[index].type == "VALUE" and tokens[index - 1].type in ("VALUE", "_RSQB"):
        return "operands are separated by `,`; a remainder is written with spaces: `%a % 4`"
    return None


@_rule
def _missing_comma(tokens: Sequence[Token], index: int) -> str | None:
    if tokens[index].type == "STRING" and tokens[index - 1].type == "NAME":
        return f"attributes are written `{tokens[index - 1].text} = {tokens[index].text}`"
    if tokens[index].type == "STRING":
        return 'text is an attribute: `{label = "..."}`'
    if tokens[index].type == "_RSQB" and tokens[index - 1].type == "_COMMA":
        return "an index list has one entry a dimension"
    return None


@_rule
def _outside_function(tokens: Sequence[Token], index: int) -> str | None:
    found = tokens[index]
    if found.text in ("def", "kernel", "function", "fn"):
        return "a function is written `func @name(%x: *f16) warps = 1 {`"
    if found.type == "NAME" and index and tokens[index - 1].type == "FUNC":
        return f"functions are written with `@`: `@{found.text}`"
    return None


def _line(tokens: Sequence[Token], index: int) -> list[Token]:
    """The tokens from the statement's first up to, without, `index`."""
    start = index
    while start > 0 and tokens[start - 1].type not in ("_NEWLINE", "_LBRACE", "_RBRACE"):
        start -= 1
    return list(tokens[start:index])
