"""Plans how a tile changes its layout by lane exchanges, without shared memory.

A thread's elements are an array whose axes are the digits of the local number (digits.py). What
happens to a digit of the index decides what its axis needs:

    local -> local      nothing: the axis counts rounds of exchange
    lane -> lane, warp  nothing: a lane reads from where its digit lives
    lane -> local       a new axis: in round c, everybody reads from lanes whose digit is c
    local -> warp       the sender knows the digit, as all its readers are in its warp: it picks
    local -> lane       the readers of a lane differ in it. Where the lane's copies differ in a
                        replicated digit, each serves one of its values; else all values travel
                        and the reader picks
    warp -> elsewhere   not within a warp: no plan

A digit b that goes local -> lane and one a of equal extent that goes lane -> local are swapped
instead: in round c, lane a sends its element b = c - a (mod extent), and reader b takes it from
lane a = c - b, so that every lane sends one element and receives one. Each side needs a rotation
of its axis by a digit of its own lane number.

Elements travel in units: as many neighbours as stay neighbours, up to 32 bits. Rounds that read
from the same lanes share a 32-bit word, and rounds that read from the own lane need no exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tileloom.layouts import RegisterLayout

from .digits import LANES, Digit, common_digits, replicas

Own = tuple[int, int]  # (step, extent) of a digit of the thread number


class Term(NamedTuple):
    """A share of the lane to read from: `step` times (`sign` * own digit + the round's number
    along `axis`) modulo `extent`; without an own digit or an axis those are 0."""

    step: int
    extent: int
    own: Own | None
    sign: int = 1
    axis: int | None = None


class Turn(NamedTuple):
    """A choice along an axis by a digit of the thread."""

    axis: int
    own: Own


@dataclass(frozen=True)
class Exchange:
    """A conversion by lane exchanges.

    A thread's units form an array with axes of the extents `shape`; `sent` and `landed` are each
    axis' step in the number of the unit before and after (0: it has none). Axes of `picks` are
    chosen from before rounds begin; axes of `rolls` are rotated by a digit, and those of `unrolls`
    rotated back when all rounds have arrived; then `late` axes are chosen from. `terms` say which
    lane a round reads from. Units are `unit` elements of `bits` bits.
    """

    unit: int
    bits: int
    shape: tuple[int, ...]
    sent: tuple[int, ...]
    landed: tuple[int, ...]
    picks: tuple[Turn, ...]
    rolls: tuple[Turn, ...]
    unrolls: tuple[Turn, ...]
    late: tuple[Turn, ...]
    terms: tuple[Term, ...]

    @property
    def unit_bits(self) -> int:
        return self.unit * self.bits

    def sources(self, index: tuple[int, ...], num_threads: int) -> npt.NDArray[np.int64]:
        """The thread that each of so many threads reads from in the round of an index."""
        thread = np.arange(num_threads)
        total = thread // LANES * LANES
        for step, extent, own, sign, axis in self.terms:
            value = np.full(num_threads, index[axis] if axis is not None else 0)
            if own is not None:
                value += thread // own[0] % own[1] * sign
            total = total + step * (value % extent)
        return total


class Machine(Protocol):
    """What carries an exchange out on units of some kind."""

    def select(self, own: Own, value: int, then: Any, otherwise: Any) -> Any:
        """A unit: `then` where the thread's digit has that value."""

    def move(self, exchange: Exchange, index: tuple[int, ...], units: list[Any]) -> list[Any]:
        """Units that fit a word together, from the lanes of the round of an index."""


def carry_out(
    exchange: Exchange, units: list[Any], num_threads: int, machine: Machine
) -> list[Any]:
    """A thread's units after an exchange, from its units before."""
    array = _arranged(exchange, units)
    for turn in exchange.picks:
        array = _chosen(array, turn, machine)
    for turn in exchange.rolls:
        array = _rolled(array, turn, -1, machine)
    array = _moved(exchange, array, num_threads, machine)
    for turn in exchange.unrolls:
        array = _rolled(array, turn, 1, machine)
    for turn in exchange.late:
        array = _chosen(array, turn, machine)
    landed: dict[int, Any] = {}
    for index in np.ndindex(array.shape):
        number = sum(i * step for i, step in zip(index, exchange.landed, strict=True))
        landed[number] = array[index]
    return [landed[number] for number in range(len(landed))]


def _arranged(exchange: Exchange, units: list[Any]) -> npt.NDArray[Any]:
    array = np.empty(exchange.shape, object)
    for index in np.ndindex(exchange.shape):
        array[index] = units[sum(i * step for i, step in zip(index, exchange.sent, strict=True))]
    return array


def _along(
    array: npt.NDArray[Any], axis: int, length: int, make: Callable[[list[Any], int], Any]
) -> npt.NDArray[Any]:
    """Each line along an axis made anew, `length` long: make(line, place)."""
    shape = (*array.shape[:axis], length, *array.shape[axis + 1 :])
    result = np.empty(shape, object)
    for index in np.ndindex(shape):
        line = [array[(*index[:axis], i, *index[axis + 1 :])] for i in range(array.shape[axis])]
        result[index] = make(line, index[axis])
    return result


def _chosen(array: npt.NDArray[Any], turn: Turn, machine: Machine) -> npt.NDArray[Any]:
    def make(line: list[Any], place: int) -> Any:
        return _blend(line, turn.own, machine)

    return _along(array, turn.axis, 1, make)


def _rolled(array: npt.NDArray[Any], turn: Turn, sign: int, machine: Machine) -> npt.NDArray[Any]:
    """out[i] = in[i + sign * digit], round about."""

    def make(line: list[Any], place: int) -> Any:
        extent = len(line)
        return _blend([line[(place + sign * v) % extent] for v in range(extent)], turn.own, machine)

    return _along(array, turn.axis, array.shape[turn.axis], make)


def _blend(choices: list[Any], own: Own, machine: Machine) -> Any:
    """choices[digit of the thread]"""
    result = choices[0]
    for value in range(1, len(choices)):
        result = machine.select(own, value, choices[value], result)
    return result


def _moved(
    exchange: Exchange, array: npt.NDArray[Any], num_threads: int, machine: Machine
) -> npt.NDArray[Any]:
    """All rounds: those that read from the same lanes travel together, as far as words hold."""
    rounds: dict[bytes, list[tuple[int, ...]]] = {}
    for index in np.ndindex(array.shape):
        sources = exchange.sources(index, num_threads)
        rounds.setdefault(sources.tobytes(), []).append(index)
    result = np.empty(array.shape, object)
    own = np.arange(num_threads).tobytes()
    together = max(1, 32 // exchange.unit_bits)
    for sources_key, indices in rounds.items():
        for first in range(0, len(indices), together):
            part = indices[first : first + together]
            units = [array[index] for index in part]
            moved = units if sources_key == own else machine.move(exchange, part[0], units)
            for index, unit in zip(part, moved, strict=True):
                result[index] = unit
    return result


# Planning


@lru_cache(maxsize=1024)
def plan_exchange(
    before: RegisterLayout, after: RegisterLayout, bits: int, num_threads: int
) -> Exchange | None:
    """How threads of whole warps exchange a tile's elements of up to 64 bits; None where a thread
    wants what no lane of its warp has, or digits have no common form."""
    digits, copies = common_digits(before, after), replicas(before)
    if digits is None or copies is None or num_threads % LANES or 32 < bits < 64:
        return None
    if not _each_warp_has_it(before, after, digits):
        return None
    parts = 2 if bits == 64 else 1  # a unit is at most a word
    plan = _Planner(digits, copies, bits // parts, parts)
    return plan.exchange()


def _each_warp_has_it(
    before: RegisterLayout, after: RegisterLayout, digits: tuple[Digit, ...]
) -> bool:
    if after.num_threads > LANES and -(-after.num_threads // LANES) > before.num_threads // LANES:
        return False
    return all(d.before == d.after for d in digits if d.before.where == "warp")


class _Planner:
    """Collects an exchange's axes and terms."""

    def __init__(self, digits: tuple[Digit, ...], copies: list[Own], bits: int, parts: int) -> None:
        self.copies = list(copies)
        self.bits, self.parts = bits, parts
        self.axes: list[tuple[int, int, int]] = []  # extent, step sent, step landed
        self.picks: list[Turn] = []
        self.rolls: list[Turn] = []
        self.unrolls: list[Turn] = []
        self.late: list[Turn] = []
        self.terms: list[Term] = []
        self.unit = 1
        if parts > 1:
            self._axis(parts, 1, 1)
            self.unit_digits: set[Digit] = set()
        else:
            self.unit_digits = self._whole_units(digits)
        self.digits = [d for d in digits if d not in self.unit_digits]

    def _whole_units(self, digits: tuple[Digit, ...]) -> set[Digit]:
        """The digits inside a unit: the innermost of both local numbers, while they agree."""
        inside: set[Digit] = set()
        while True:
            for digit in digits:
                if digit.before == digit.after == ("local", self.unit):
                    break
            else:
                return inside
            if self.unit * digit.extent * self.bits > 32:
                return inside
            inside.add(digit)
            self.unit *= digit.extent

    def _axis(self, extent: int, sent: int, landed: int) -> int:
        self.axes.append((extent, sent, landed))
        return len(self.axes) - 1

    def _number(self, step: int) -> int:
        """A step in elements as one in units."""
        return step * self.parts // self.unit

    def exchange(self) -> Exchange:
        leaving = [d for d in self.digits if (d.before.where, d.after.where) == ("local", "lane")]
        coming = [d for d in self.digits if (d.before.where, d.after.where) == ("lane", "local")]
        self._swap(leaving, coming)
        for digit in leaving:
            self._leave(digit)
        for digit in coming:
            axis = self._axis(digit.extent, 0, self._number(digit.after.step))
            self.terms.append(Term(digit.before.step, digit.extent, None, 1, axis))
        for digit in self.digits:
            self._others(digit)
        for step, extent in self.copies:
            self.terms.append(Term(step, extent, (step, extent)))
        extents, sent, landed = zip(*self.axes, strict=True) if self.axes else ((), (), ())
        return Exchange(
            self.unit,
            self.bits,
            tuple(extents),
            tuple(sent),
            tuple(landed),
            tuple(self.picks),
            tuple(self.rolls),
            tuple(self.unrolls),
            tuple(self.late),
            _merged(self.terms),
        )

    def _swap(self, leaving: list[Digit], coming: list[Digit]) -> None:
        """Pairs digits of equal extent, those that change places exactly first: in such a pair a
        lane keeps some of its elements."""
        pairs = [
            (p, q)
            for in_place in (True, False)
            for p in leaving
            for q in coming
            if p.extent == q.extent and (p.after.step == q.before.step) is in_place
        ]
        for p, q in pairs:
            if p not in leaving or q not in coming:
                continue
            leaving.remove(p)
            coming.remove(q)
            sent, landed = self._number(p.before.step), self._number(q.after.step)
            axis = self._axis(p.extent, sent, landed)
            reader = (p.after.step, p.extent)
            self.rolls.append(Turn(axis, (q.before.step, q.extent)))
            self.unrolls.append(Turn(axis, reader))
            self.terms.append(Term(q.before.step, q.extent, reader, -1, axis))

    def _leave(self, digit: Digit) -> None:
        """A digit of a lane's local number that becomes one of its readers' lanes."""
        axis = self._axis(digit.extent, self._number(digit.before.step), 0)
        reader = (digit.after.step, digit.extent)
        for copy in self.copies:
            if copy[1] == digit.extent:
                self.copies.remove(copy)
                self.picks.append(Turn(axis, copy))
                self.terms.append(Term(copy[0], copy[1], reader))
                return
        self.late.append(Turn(axis, reader))

    def _others(self, digit: Digit) -> None:
        own = (digit.after.step, digit.extent)
        match digit.before.where, digit.after.where:
            case "local", "local":
                sent, landed = (self._number(s.step) for s in (digit.before, digit.after))
                self._axis(digit.extent, sent, landed)
            case "local", "warp":
                axis = self._axis(digit.extent, self._number(digit.before.step), 0)
                self.picks.append(Turn(axis, own))
            case "lane", "lane" | "warp":
                self.terms.append(Term(digit.before.step, digit.extent, own))


def _merged(terms: list[Term]) -> tuple[Term, ...]:
    """Terms whose own digits are neighbours, as those of their lanes are, are one term."""
    merged: list[Term] = []
    for term in sorted(terms, key=lambda t: t.step):
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.axis is term.axis is None
            and last.own is not None
            and term.own is not None
            and last.step * last.extent == term.step
            and last.own[0] * last.extent == term.own[0]
        ):
            extent = last.extent * term.extent
            merged[-1] = Term(last.step, extent, (last.own[0], extent))
        else:
            merged.append(term)
    return tuple(merged)
