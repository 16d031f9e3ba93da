"""Reading lark's trees with their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from lark import Token, Tree

    Node: TypeAlias = "Tree[Token]"
    Part: TypeAlias = "Node | Token"


def is_token(part: Part) -> bool:
    """Whether a part of a tree is a token (lark's are strings)."""
    return isinstance(part, str)


def span(part: Part) -> tuple[int, int]:
    """The characters a tree or token covers."""
    if isinstance(part, str):
        start, end = part.start_pos, part.end_pos
    else:
        start, end = part.meta.start_pos, part.meta.end_pos
    assert start is not None and end is not None
    return start, end


def node(part: Part) -> Node:
    """A part that the grammar says is a tree."""
    assert not isinstance(part, str)
    return part


def nodes(parts: list[Part], kind: str) -> list[Node]:
    """The trees of one rule among some parts, in order."""
    return [each for each in parts if not isinstance(each, str) and each.data == kind]
