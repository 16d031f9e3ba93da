"""Which names are visible where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tileloom.layouts import MemoryLayout, RegisterLayout

from ..diagnostics import Location, VMNameError, did_you_mean, quote
from ..ir import Value
from ..types import Type
from .source import Source

Layout = RegisterLayout | MemoryLayout


class Scope:
    """The values visible at a place of a function, and the layouts of the text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.layouts: dict[str, Layout] = {}
        self._layout_places: dict[str, Location] = {}
        self._blocks: list[dict[str, Value]] = []
        self._ended: dict[str, Value] = {}

    @property
    def depth(self) -> int:
        return len(self._blocks)

    @contextmanager
    def block(self) -> Iterator[None]:
        """A block: names defined in it end with it."""
        self._blocks.append({})
        yield
        self._ended.update(self._blocks.pop())

    @contextmanager
    def function(self) -> Iterator[None]:
        """A function: its names mean nothing to the next one."""
        self._ended = {}
        with self.block():
            yield

    def define(self, name: str, type_: Type, span: tuple[int, int]) -> Value:
        """A new value `%name`."""
        place = self.source.location(span)
        old = self._find(name)
        if old is not None:
            raise VMNameError(
                f"`%{name}` is already defined",
                place,
                notes=[("first defined here", old.location)],
                hint="choose another name; `assign` writes to a value that exists",
            )
        value = self._blocks[-1][name] = Value(name, type_, place)
        return value

    def lookup(self, name: str, span: tuple[int, int]) -> Value:
        """The value `%name` names here."""
        found = self._find(name)
        if found is not None:
            return found
        place = self.source.location(span)
        ended = self._ended.get(name)
        if ended is not None:
            raise VMNameError(
                f"`%{name}` isn't visible here",
                place,
                notes=[("defined in a block that has ended", ended.location)],
                hint="define it before the block and `assign` to it inside",
            )
        visible = [f"%{each}" for block in self._blocks for each in block]
        raise VMNameError(
            f"unknown value {quote('%' + name)}", place, hint=did_you_mean(f"%{name}", visible)
        )

    def define_layout(self, name: str, layout: Layout, span: tuple[int, int]) -> None:
        """A new layout `#name`."""
        place = self.source.location(span)
        if name in self.layouts:
            raise VMNameError(
                f"`#{name}` is already defined",
                place,
                notes=[("first defined here", self._layout_places[name])],
            )
        self.layouts[name] = layout
        self._layout_places[name] = place

    def layout(self, name: str, span: tuple[int, int]) -> Layout:
        """The layout `#name`."""
        if name in self.layouts:
            return self.layouts[name]
        known = [f"#{each}" for each in self.layouts]
        hint = did_you_mean(f"#{name}", known)
        raise VMNameError(
            f"unknown layout {quote('#' + name)}",
            self.source.location(span),
            hint=hint or f"define it above: `layout #{name} = spatial(8, 4)`",
        )

    def _find(self, name: str) -> Value | None:
        for block in reversed(self._blocks):
            if name in block:
                return block[name]
        return None
