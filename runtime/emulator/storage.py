"""Bytes with typed views, and which of their bits hold a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .types import RAW, Array


class Access(NamedTuple):
    """`elements` of `unit` bytes each, contiguous, aligned to the whole."""

    unit: int
    elements: int

    @property
    def width(self) -> int:
        return self.unit * self.elements

    @property
    def defined(self) -> int:
        """The shadow of an element whose bits are all defined."""
        return (1 << 8 * self.unit) - 1


@dataclass(slots=True)
class Storage:
    """`defined` shadows `data` bit by bit (1: written), where reads are checked."""

    data: Array
    defined: Array | None = None
    _views: dict[Access, Array] = field(default_factory=dict)
    _shadows: dict[Access, Array] = field(default_factory=dict)

    @classmethod
    def undefined(cls, size: int) -> Storage:
        return cls(np.zeros(size, np.uint8), np.zeros(size, np.uint8))

    def grown(self, size: int) -> Storage:
        """At least `size` bytes, the new ones undefined."""
        assert self.defined is not None
        if size <= len(self.data):
            return self
        more = np.zeros(size - len(self.data), np.uint8)
        return Storage(np.concatenate((self.data, more)), np.concatenate((self.defined, more)))

    def view(self, access: Access) -> Array:
        """[n, elements], or [n] for single ones; a tail that fits none is left out."""
        found = self._views.get(access)
        if found is None:
            found = self._views[access] = _typed(self.data, access)
        return found

    def shadow(self, access: Access) -> Array:
        assert self.defined is not None
        found = self._shadows.get(access)
        if found is None:
            found = self._shadows[access] = _typed(self.defined, access)
        return found

    def store(
        self, access: Access, index: Array, values: Array, undefined: Array | None = None
    ) -> None:
        """Stores elements; the bits `undefined` of them have no value."""
        self.view(access)[index] = values
        if self.defined is not None:
            self.shadow(access)[index] = access.defined if undefined is None else ~undefined


def _typed(data: Array, access: Access) -> Array:
    whole = len(data) // access.width * access.width
    typed: Array = data[:whole].view(RAW[8 * access.unit])
    return typed if access.elements == 1 else typed.reshape(-1, access.elements)
