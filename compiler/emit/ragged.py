"""Accesses whose place is promised but whose end is not: groups of elements, some of them outside.

    extent      [0, n)              v-----------------------------v
    groups      |.......|.......|.......|.......|.......|.......|.......|.......|
                 outside   outside  ^ partial  whole   whole   whole  ^ partial

A group that is whole moves with the widest accesses under one condition. Only threads that hold a
partial group enter the code that moves its elements as they come, each under its own; conditions of
elements are computed there, so that they take no registers from the others.

Where an extent may end inside a thread's run of neighbours, the runs are the groups; where it ends
between runs, all that the thread moves is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from ..ptx import RegisterKind
from .addresses import Access
from .bounds import Bounds, Condition
from .chunks import Element

Mask = tuple[int, ...]


class Group(NamedTuple):
    """Elements by number; in every dimension, their classes are from `low` to `high`."""

    numbers: list[int]
    low: Mask
    high: Mask


@dataclass(frozen=True, eq=False)
class Ragged:
    """The elements of an access with `bounds`, of `bits` bits each, in groups."""

    access: Access
    bits: int

    @cached_property
    def groups(self) -> list[Group]:
        runs = list(self._runs())
        if any(run.low != run.high for run in runs):
            return runs
        low = tuple(map(min, zip(*(run.low for run in runs), strict=True)))
        high = tuple(map(max, zip(*(run.high for run in runs), strict=True)))
        return [Group([number for run in runs for number in run.numbers], low, high)]

    def _runs(self) -> Iterator[Group]:
        """Neighbours in memory, in order; what lies between two of them is inside if they are."""
        elements = self.access.elements
        keys: dict[object, list[int]] = {}
        for number, element in enumerate(elements):
            keys.setdefault(element.key, []).append(number)
        for numbers in keys.values():
            numbers.sort(key=lambda number: elements[number].bit)
            run = numbers[:1]
            for number in numbers[1:]:
                if not self._neighbours(elements[run[-1]], elements[number]):
                    yield self._run(run)
                    run = []
                run.append(number)
            yield self._run(run)

    def _run(self, numbers: list[int]) -> Group:
        first, last = (self.access.elements[numbers[end]] for end in (0, -1))
        return Group(numbers, _mask(first), _mask(last))

    def _neighbours(self, one: Element, other: Element) -> bool:
        if one.bit + self.bits != other.bit:
            return False
        return all(a <= b for a, b in zip(_mask(one), _mask(other), strict=True))

    @property
    def bounds(self) -> Bounds:
        bounds = self.access.bounds
        assert bounds is not None, "masks were computed already"
        return bounds

    @cached_property
    def _conditions(self) -> list[tuple[Condition, Condition]]:
        """Of each group: whether all of it is inside, and whether a part may be."""
        scalars, pure = self.access.context.scalars, self.access.context.builder.pure
        found: list[tuple[Condition, Condition]] = []
        for _, low, high in self.groups:
            whole = scalars.conjunction(self.bounds.inside(low), self.bounds.inside(high))
            if isinstance(whole, bool):
                found.append((whole, not whole and self.bounds.reaches(low, high)))
                continue
            others = pure("not.pred", RegisterKind.PRED, whole)
            part = scalars.conjunction(self.bounds.reaches(low, high), others)
            found.append((whole, scalars.conjunction(self.access.common, part)))
        return found

    @property
    def partial(self) -> Condition:
        """Whether the thread has a group with elements on both sides."""
        return self.access.context.scalars.disjunction(*(part for _, part in self._conditions))

    @property
    def whole(self) -> Access:
        """The access of the groups that are whole."""
        elements = list(self.access.elements)
        masks: dict[object, Condition] = {}
        for place, group in enumerate(self.groups):
            masks[place] = self._conditions[place][0]
            for number in group.numbers:
                elements[number] = elements[number]._replace(mask=place)
        return replace(self.access, elements=elements, masks=masks, bounds=None)

    def rest(self, near: Access) -> Access:
        """The elements of the other groups, of the same access computed once more."""
        assert near.bounds is not None
        elements = list(near.elements)
        masks: dict[object, Condition] = {}
        for place, group in enumerate(self.groups):
            for number in group.numbers:
                mask = _mask(elements[number])
                if (place, mask) not in masks:
                    inside = near.bounds.inside(mask)
                    part = self._conditions[place][1]
                    masks[place, mask] = near.context.scalars.conjunction(part, inside)
                elements[number] = elements[number]._replace(mask=(place, mask))
        return replace(near, elements=elements, masks=masks, bounds=None)


def _mask(element: Element) -> Mask:
    mask = element.mask or ()
    assert isinstance(mask, tuple)
    return mask
