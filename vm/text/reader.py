"""From text to a syntax tree, and from a parser's complaint to a syntax error with advice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from ..diagnostics import LimitError, VMSyntaxError
from . import lexer, mistakes
from .source import Source

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

    Node: TypeAlias = "Tree[Token]"

MAX_DEPTH = 256


def read(source: Source) -> Node:
    """The syntax tree of a text, at most `MAX_DEPTH` deep.

    Raises:
        VMSyntaxError: the text isn't of the grammar.
        LimitError: the text is larger or deeper than the limits.
    """
    from lark.exceptions import UnexpectedToken

    reader = lexer.Lexer(source)
    tokens = reader.tokens()
    try:
        # The adapter below takes the tokens in place of a text.
        tree = _parser().parse(tokens)
    except UnexpectedToken as error:
        if reader.error is not None and reader.error_start <= (error.token.start_pos or 0):
            raise reader.error from None
        index = next(i for i, t in enumerate(tokens) if t.span[0] >= error.token.start_pos)
        raise _syntax_error(source, tokens, index, error.accepts or error.expected) from None
    _check_depth(source, tree)
    return tree


@cache
def _parser() -> Lark:
    from lark import Lark
    from lark import Token as LarkToken
    from lark.lexer import Lexer as LarkLexer

    from .grammar import GRAMMAR

    class Adapter(LarkLexer):
        """Hands our tokens to the parser."""

        def __init__(self, _configuration: Any) -> None:
            pass

        def lex(self, data: Any) -> Iterator[LarkToken]:  # type: ignore[override]
            for token in data:
                start, end = token.span
                yield LarkToken(token.type, token.text, start, 0, 0, 0, 0, end)

    return Lark(GRAMMAR, parser="lalr", lexer=Adapter, start="module", propagate_positions=True)


def _syntax_error(
    source: Source, tokens: list[lexer.Token], index: int, expected: Iterable[str]
) -> VMSyntaxError:
    found = tokens[index]
    message = f"expected {mistakes.expected_text(set(expected))}, found {mistakes.shown(found)}"
    return VMSyntaxError(message, source.location(found.span), hint=mistakes.hint(tokens, index))


def _check_depth(source: Source, tree: Node) -> None:
    level: list[Node] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in node.children if not isinstance(child, str)]
        if not level:
            return
    meta = level[0].meta
    place = None if meta.empty else source.location((meta.start_pos, meta.end_pos))
    raise LimitError(f"the text is nested more than {MAX_DEPTH} deep", place)
