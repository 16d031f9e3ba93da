"""Asynchronous copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .types import Array

if TYPE_CHECKING:
    from .cohort import Cohort


class Group:
    """A committed group of copies (placeholder filled in by the copy instructions)."""

    def subset(self, c: Cohort, lanes: Array) -> Group:
        return self

    def joined(self, others: list[Group]) -> Group:
        return self
