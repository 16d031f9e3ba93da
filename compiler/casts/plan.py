"""Plans: straight-line sequences of PTX operations on 32-bit words.

A plan turns the words of a thread's source elements into the words of its destination elements.
Words are numbered: the inputs first, then one for each operation's result. Plans know no registers
and no blocks; `emit_plan` (emission.py) turns each operation into one PTX instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Word(NamedTuple):
    """A 32-bit word of a plan, as an operand."""

    number: int


class Half(NamedTuple):
    """The low or the high half of a word, as a 16-bit operand; reading it costs nothing."""

    number: int
    high: bool


Source = Word | Half | int


class Op(NamedTuple):
    """`opcode dst, srcs`; integers among the sources are immediates, all words are 32 bits.

    A `mov.b32` of an immediate is a constant: two operations share it, loops keep it outside, and
    it counts as no issue slot.
    """

    opcode: str
    dst: int
    srcs: tuple[Source, ...]

    @property
    def is_constant(self) -> bool:
        return self.opcode == "mov.b32" and isinstance(self.srcs[0], int)


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations from `num_inputs` words to the words `outputs`, for `count` elements.

    `slots` is the number of issue slots of a warp, constants excluded.
    """

    num_inputs: int
    ops: tuple[Op, ...]
    outputs: tuple[int, ...]
    count: int

    @property
    def slots(self) -> int:
        return sum(not op.is_constant for op in self.ops)

    @property
    def slots_per_element(self) -> float:
        return self.slots / self.count

    @property
    def constants(self) -> tuple[int, ...]:
        """The constants that want a register, in the order of their first use."""
        return tuple(op.srcs[0] for op in self.ops if op.is_constant and type(op.srcs[0]) is int)

    def __str__(self) -> str:
        lines = [f"{op.opcode} w{op.dst}, {', '.join(map(_operand, op.srcs))}" for op in self.ops]
        outputs = ", ".join(f"w{number}" for number in self.outputs)
        return "\n".join([f"inputs w0..w{self.num_inputs - 1}", *lines, f"outputs {outputs}"])


def _operand(source: Source) -> str:
    match source:
        case Word(number):
            return f"w{number}"
        case Half(number, high):
            return f"w{number}.{'high' if high else 'low'}"
    return f"0x{source:08x}"


AND_XOR = 0x6A  # (a & b) ^ c
SELECT = 0xE4  # c ? a : b, bit by bit


class PlanBuilder:
    """Builds a plan; equal operations on equal words are built once."""

    def __init__(self, num_inputs: int) -> None:
        self._num_inputs = num_inputs
        self._inputs = [Word(number) for number in range(num_inputs)]
        self._ops: list[Op] = []
        self._known: dict[tuple[str, tuple[Source, ...]], Word] = {}

    def input(self, number: int) -> Word:
        """The word that stands for input `number`."""
        return self._inputs[number]

    def inputs(self) -> list[Word]:
        return list(self._inputs)

    def replace_inputs(self, words: Iterable[Word]) -> None:
        """Lets `input` give other words from now on: the inputs in another order of bits."""
        self._inputs = list(words)

    def op(self, opcode: str, *srcs: Source) -> Word:
        """The word that `opcode srcs` gives."""
        key = (opcode, srcs)
        word = self._known.get(key)
        if word is None:
            word = Word(self._num_inputs + len(self._ops))
            self._ops.append(Op(opcode, word.number, srcs))
            self._known[key] = word
        return word

    def constant(self, bits: int) -> Word:
        """A word with these bits."""
        return self.op("mov.b32", bits & 0xFFFFFFFF)

    def shifted(self, word: Word, left: int) -> Word:
        """The word shifted left, or right if negative; bits that enter are unspecified."""
        if left == 0:
            return word
        return self.op("shl.b32", word, left) if left > 0 else self.op("shr.u32", word, -left)

    def has_shifted(self, word: Word, left: int) -> bool:
        """Whether `shifted` would cost nothing."""
        opcode = "shl.b32" if left > 0 else "shr.u32"
        return left == 0 or (opcode, (word, abs(left))) in self._known

    def rotated(self, word: Word, right: int) -> Word:
        return self.op("shf.r.wrap.b32", word, word, right) if right else word

    def masked(self, word: Word, mask: int, flip: Word | int = 0) -> Word:
        """(word & mask) ^ flip."""
        if flip == 0:
            return self.op("and.b32", word, mask)
        return self.op("lop3.b32", word, mask, flip, AND_XOR)

    def selected(self, word: Word, other: Word, mask: Word | int) -> Word:
        """`word` where the mask has ones, `other` where it has zeros."""
        return self.op("lop3.b32", word, other, mask, SELECT)

    def cheapest(self, ways: Iterable[Callable[[PlanBuilder], list[Word]]]) -> list[Word]:
        """Tries each way to build words, and keeps the one that took the fewest operations."""
        tried: list[tuple[int, PlanBuilder, list[Word]]] = []
        for way in ways:
            fork = PlanBuilder(self._num_inputs)
            fork._inputs, fork._ops = list(self._inputs), list(self._ops)
            fork._known = dict(self._known)
            words = way(fork)
            tried.append((sum(not op.is_constant for op in fork._ops), fork, words))
        _, best, words = min(tried, key=lambda trial: trial[0])
        self._inputs, self._ops, self._known = best._inputs, best._ops, best._known
        return words

    def plan(self, outputs: Sequence[Word], count: int) -> Plan:
        numbers = tuple(word.number for word in outputs)
        return Plan(self._num_inputs, tuple(self._ops), numbers, count)
