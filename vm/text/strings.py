"""String literals."""

from __future__ import annotations

_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


def escape(text: str) -> str:
    """A string as a literal in double quotes."""
    named = {value: f"\\{name}" for name, value in _ESCAPES.items()}
    return '"' + "".join(named.get(c, c) for c in text) + '"'


def unescape(literal: str) -> str:
    """The string a literal in double quotes means; an unknown escape stands for itself."""
    out, characters = [], iter(literal[1:-1])
    for character in characters:
        if character == "\\":
            character = next(characters)
            character = _ESCAPES.get(character, "\\" + character)
        out.append(character)
    return "".join(out)
