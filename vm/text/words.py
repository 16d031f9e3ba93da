"""The reserved words and the punctuation of the text form."""

from __future__ import annotations

KEYWORDS = frozenset([
    "func", "layout", "codebook", "for", "in", "to", "step", "unroll",
    "while", "if", "else", "break", "return", "and", "or", "not", "warp_group", "single_thread",
])  # fmt: skip
PUNCTUATION = {
    "==": "EQ", "!=": "NE", "<=": "LE", ">=": "GE", "<<": "SHL", ">>": "SHR",
    "<": "LESS", ">": "MORE", "=": "_EQUALS", "+": "PLUS", "-": "MINUS", "*": "STAR",
    "/": "SLASH", "%": "PERCENT", "&": "AMPERSAND", "|": "BAR", "^": "CARET",
    "(": "_LPAR", ")": "_RPAR", "[": "_LSQB", "]": "_RSQB", "{": "_LBRACE", "}": "_RBRACE",
    ",": "_COMMA", ":": "_COLON",
}  # fmt: skip
