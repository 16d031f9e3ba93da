"""Tokens of the text form.

A statement ends with its line. Line ends are dropped where a statement can't end: inside `(` and
`[`, and after `,` and `{`; so the grammar sees a line end only between statements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..diagnostics import LimitError, VMSyntaxError, quote
from .source import Source
from .words import KEYWORDS, PUNCTUATION

MAX_TEXT = 1 << 20
MAX_NESTING = 64
MAX_NAME = 256

_TOKEN = re.compile(
    r"""
    (?P<SPACE>[ \t\r\f]+ | //[^\n]*)
  | (?P<_NEWLINE>\n)
  | (?P<VALUE>%[^\W\d][\w.]*)
  | (?P<LAYOUT_NAME>\#[\w.]+)
  | (?P<FUNCTION_NAME>@[\w.]+)
  | (?P<NUMBER>0[xX][\w.]* | \d[\w.]*(?:(?<=[eE])[+-]\d\w*)?)
  | (?P<NAME>[^\W\d][\w.]*)
  | (?P<STRING>"(?:[^"\\\n]|\\.)*")
  | (?P<PUNCTUATION>==|!=|<=|>=|<<|>>|[-+*/%<>=&|^()\[\]{},:])
    """,
    re.VERBOSE,
)
_INTEGER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]+")
_FLOAT = re.compile(r"[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+")
_CLOSERS = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class Token:
    """A terminal's `type`, its text and its span."""

    type: str
    text: str
    span: tuple[int, int]


class Lexer:
    """Splits a source into tokens, `_END` last.

    At the first mistake (a character, number or string that is none, unbalanced brackets) the
    tokens end with `ERROR`, and `error` holds what to say if the parser finds nothing wrong
    before `error_start`: who forgets a `]` shall be told of the `[`.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.error: VMSyntaxError | None = None
        self.error_start = 0
        self._open: list[Token] = []
        self._tokens: list[Token] = []

    def tokens(self) -> list[Token]:
        """All tokens of the source.

        Raises:
            LimitError: a text, a nesting or a name beyond the limits.
        """
        if len(self.source.text) > MAX_TEXT:
            raise LimitError(
                f"the text has {len(self.source.text)} characters, the limit is {MAX_TEXT}"
            )
        try:
            for token in self._raw():
                if token.type == "_NEWLINE" and not self._ends_statement():
                    continue
                self._balance(token)
                self._tokens.append(token)
            end = len(self.source.text)
            if self._open:
                raise self._unclosed(self._open[-1], end)
            self._tokens.append(Token("_END", "", (end, end)))
        except VMSyntaxError as error:
            self.error = error
            self._tokens.append(Token("ERROR", "", (self.error_start, self.error_start)))
        return self._tokens

    def _raw(self) -> Iterator[Token]:
        text, position = self.source.text, 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            self.error_start = position
            if match is None:
                raise self._no_token(position)
            kind, start, position = match.lastgroup or "", position, match.end()
            if kind != "SPACE":
                yield self._classified(kind, match.group(), (start, position))

    def _classified(self, kind: str, text: str, span: tuple[int, int]) -> Token:
        match kind:
            case "PUNCTUATION":
                kind = PUNCTUATION[text]
            case "NAME" if text in KEYWORDS:
                kind = text.upper()
            case "NUMBER":
                kind = self._number_kind(text, span)
        if len(text) > MAX_NAME and kind != "STRING":
            raise LimitError(
                f"a name or number of {len(text)} characters, the limit is {MAX_NAME}",
                self.source.location(span),
            )
        return Token(kind, text, span)

    def _number_kind(self, text: str, span: tuple[int, int]) -> str:
        if _INTEGER.fullmatch(text):
            return "INTEGER"
        if _FLOAT.fullmatch(text):
            return "FLOAT"
        hint = None
        if ".." in text:
            hint = "a range is written `0 to 4`"
        elif "_" in text:
            hint = "digits aren't grouped: write the number without `_`"
        raise VMSyntaxError(f"{quote(text)} is no number", self.source.location(span), hint=hint)

    def _ends_statement(self) -> bool:
        if not self._tokens or self._tokens[-1].type in ("_NEWLINE", "_COMMA", "_LBRACE"):
            return False
        return not self._open or self._open[-1].text == "{"

    def _balance(self, token: Token) -> None:
        if token.type in ("_LPAR", "_LSQB", "_LBRACE"):
            self._open.append(token)
            if len(self._open) > MAX_NESTING:
                raise LimitError(
                    f"brackets nested more than {MAX_NESTING} deep",
                    self.source.location(token.span),
                )
        elif token.text in _CLOSERS:
            if self._open and self._open[-1].text == _CLOSERS[token.text]:
                self._open.pop()
            elif self._open:
                raise self._unclosed(self._open[-1], token.span[0], token.text)
            else:
                raise VMSyntaxError(
                    f"{quote(token.text)} closes nothing", self.source.location(token.span)
                )

    def _unclosed(self, opener: Token, end: int, found: str = "") -> VMSyntaxError:
        place = self.source.location(opener.span)
        # The body of a function is opened far above: there the parser's complaint goes first.
        self.error_start = end if opener.text == "{" else opener.span[0]
        if not found or "\n" in self.source.text[opener.span[0] : end]:
            return VMSyntaxError(f"{quote(opener.text)} is never closed", place)
        return VMSyntaxError(
            f"{quote(found)} doesn't close {quote(opener.text)}",
            self.source.location((end, end + 1)),
            notes=[(f"{quote(opener.text)} opened here", place)],
        )

    def _no_token(self, position: int) -> VMSyntaxError:
        found = self.source.text[position]
        place = self.source.location((position, position + 1))
        hints = {
            ";": "a statement ends with its line: leave the `;` away",
            "#": "layouts are written `#name`, comments `// text`",
            "!": "negation is written `not`, inequality `!=`",
            "'": "strings are written in double quotes",
            "%": "values are written `%name`",
            "@": "functions are written `@name`",
            ".": "a range is written `0 to %n`, a number with digits before its point",
        }
        if found == '"':
            return VMSyntaxError("the string is never closed", place)
        return VMSyntaxError(f"unexpected character {quote(found)}", place, hint=hints.get(found))
