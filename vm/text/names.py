"""Names for the values, layouts and code books of a printed program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tileloom.layouts import MemoryLayout, RegisterLayout

from ..dtypes import Dtype, predefined
from ..ir import Function, Value

Layout = RegisterLayout | MemoryLayout

_FOREIGN = re.compile(r"[^\w.]")


class PlainNames:
    """Names outside a program: values by their own names, layouts in full."""

    def define(self, value: Value) -> str:
        return self.value(value)

    def value(self, value: Value) -> str:
        return f"%{value.name}"

    def layout(self, layout: Layout) -> str:
        return str(layout)

    def dtype(self, dtype: Dtype) -> str:
        return dtype.name


class UserNames(PlainNames):
    """Names in messages: those of a Python program as Python writes them."""

    def value(self, value: Value) -> str:
        return value.label


class Names(PlainNames):
    """Names in one text: no two values visible at one place share one, layouts have theirs.

    A value keeps its own name where it is free; otherwise a number is added. Layouts have the
    names the program gave them, others are called #l0, #l1, ... in the order of their use.
    """

    def __init__(self) -> None:
        self._names: dict[Value, str] = {}
        self._visible: set[str] = set()
        self._blocks: list[list[str]] = []
        self._layouts: dict[Layout, str] = {}
        self._given: dict[Layout, str] = {}
        self._codebooks: dict[str, Dtype] = {}
        self._predefined = {dtype.name for dtype in predefined()}

    def start(self, function: Function) -> None:
        """Takes over the layout names of the next function."""
        for name, layout in function.layout_names:
            if name not in self._given.values():
                self._given.setdefault(layout, name)

    @contextmanager
    def block(self) -> Iterator[None]:
        self._blocks.append([])
        yield
        self._visible.difference_update(self._blocks.pop())

    def define(self, value: Value) -> str:
        wanted = value.name
        if not (wanted.isascii() and wanted.isidentifier()):
            wanted = _FOREIGN.sub("_", wanted)
            if not wanted or not (wanted[0].isalpha() or wanted[0] == "_"):
                wanted = f"v{wanted}"
        name, count = wanted, 0
        while name in self._visible:
            count += 1
            name = f"{wanted}_{count}"
        self._visible.add(name)
        self._blocks[-1].append(name)
        self._names[value] = name
        return f"%{name}"

    def value(self, value: Value) -> str:
        # A value used outside its scope is the verifier's to report; it is printed all the same.
        return f"%{self._names.get(value, value.name)}"

    def layout(self, layout: Layout) -> str:
        if layout not in self._layouts:
            self._layouts[layout] = self._given.get(layout) or self._new_layout_name()
        return f"#{self._layouts[layout]}"

    def dtype(self, dtype: Dtype) -> str:
        if dtype.kind == "codebook" and dtype.name not in self._predefined:
            self._codebooks[dtype.name] = dtype
        return dtype.name

    def definitions(self) -> list[str]:
        """The lines that define the code books and layouts used, in a fixed order."""
        given = {layout: name for layout, name in self._given.items() if layout in self._layouts}
        ordered = given | self._layouts
        books = [
            f"codebook {name} = [{', '.join(map(repr, self._codebooks[name].values))}]"
            for name in sorted(self._codebooks)
        ]
        return books + [f"layout #{name} = {layout}" for layout, name in ordered.items()]

    def _new_layout_name(self) -> str:
        taken = {*self._given.values(), *self._layouts.values()}
        number = 0
        while f"l{number}" in taken:
            number += 1
        return f"l{number}"
