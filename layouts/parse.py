"""Read register layouts from text.

    layout  = factor ("*" factor)*
    factor  = NAME "(" [INT ("," INT)*] ")"                       an atom, by its name
            | "layout" "(" "shape" "=" INTS "," "modes" "=" "[" [INTS ("," INTS)*] "]" ","
              "spatial" "=" MODES "," "local" "=" INTS ")"        the general form
            | "(" layout ")"
    INTS    = "[" [INT ("," INT)*] "]"
    MODES   = like INTS, but a mode may be "replicate" "(" INT ")"

In the general form `modes` factors each dimension, outermost first, and `spatial` and `local`
list the modes, outermost first, by their number counted through all dimensions.
"""

import re
from collections.abc import Callable
from typing import TypeVar

from .atoms import column_local, column_spatial, local, replicate, spatial
from .errors import LayoutError
from .register_layout import ModeReference, RegisterLayout
from .tracebacks import user_errors

Item = TypeVar("Item")

_ATOMS: dict[str, Callable[..., RegisterLayout]] = {
    atom.__name__: atom for atom in (local, spatial, column_local, column_spatial, replicate)
}
_TOKEN = re.compile(r"\s*(?:([A-Za-z_]+)|(\d+)|(\S))")


@user_errors()
def parse_layout(text: str) -> RegisterLayout:
    """The layout that `text` describes; LayoutError with the position of what is wrong."""
    reader = Reader(text)
    layout = _product(reader)
    reader.expect("")
    return layout


class Reader:
    """A cursor over the tokens of a layout's text: names, integers, single characters."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = [
            (match.group(match.lastindex or 0), match.start(match.lastindex or 0))
            for match in _TOKEN.finditer(text)
        ]
        self._tokens.append(("", len(text)))
        self._next = 0

    def peek(self) -> str:
        """The next token; "" at the end."""
        return self._tokens[self._next][0]

    def take(self) -> str:
        token = self.peek()
        if token:
            self._next += 1
        return token

    def accept(self, token: str) -> bool:
        """Take the token if it is next."""
        found = self.peek() == token
        if found:
            self.take()
        return found

    def expect(self, *tokens: str) -> None:
        for token in tokens:
            if self.peek() != token:
                self.fail(f"`{token}`" if token else "the end")
            self.take()

    def integer(self) -> int:
        if not self.peek().isdigit():
            self.fail("an integer")
        return int(self.take())

    def items(self, opening: str, closing: str, item: Callable[[], Item]) -> list[Item]:
        """A bracketed list, separated by commas."""
        self.expect(opening)
        found: list[Item] = []
        while self.peek() != closing:
            if found:
                self.expect(",")
            found.append(item())
        self.expect(closing)
        return found

    def integers(self) -> list[int]:
        return self.items("[", "]", self.integer)

    def fail(self, wanted: str) -> None:
        token, position = self._tokens[self._next]
        found = f"`{token}`" if token else "the end"
        raise LayoutError(f"expected {wanted} at column {position + 1}, not {found}: `{self.text}`")


def _product(reader: Reader) -> RegisterLayout:
    layout = _factor(reader)
    while reader.accept("*"):
        layout = layout * _factor(reader)
    return layout


def _factor(reader: Reader) -> RegisterLayout:
    if reader.accept("("):
        layout = _product(reader)
        reader.expect(")")
        return layout
    name = reader.peek()
    if name == "layout":
        return _general(reader)
    if name not in _ATOMS:
        reader.fail(f"one of {', '.join(f'`{atom}`' for atom in [*_ATOMS, 'layout'])}")
    reader.take()
    extents = reader.items("(", ")", reader.integer)
    if name == "replicate" and len(extents) != 1:
        raise LayoutError(f"`replicate` takes one number, not {len(extents)}: `{reader.text}`")
    return _ATOMS[name](*extents)


def _general(reader: Reader) -> RegisterLayout:
    reader.expect("layout", "(", "shape", "=")
    shape = reader.integers()
    reader.expect(",", "modes", "=")
    factors = reader.items("[", "]", reader.integers)
    numbered = [(dim, at) for dim, extents in enumerate(factors) for at in range(len(extents))]

    def mode() -> tuple[int, int]:
        number = reader.integer()
        if number >= len(numbered):
            raise LayoutError(f"no mode {number} of {len(numbered)}: `{reader.text}`")
        return numbered[number]

    def spatial_mode() -> ModeReference:
        if reader.accept("replicate"):
            reader.expect("(")
            copies = replicate(reader.integer())
            reader.expect(")")
            return copies
        return mode()

    reader.expect(",", "spatial", "=")
    spatial_modes = reader.items("[", "]", spatial_mode)
    reader.expect(",", "local", "=")
    local_modes = reader.items("[", "]", mode)
    reader.expect(")")
    return RegisterLayout.from_modes(shape, factors, spatial_modes, local_modes)
