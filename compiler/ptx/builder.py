"""Builds a kernel body: fresh registers, nested regions, value numbering and hoisting.

Two ways to emit:

* `emit` appends to the current region; destinations may be mutable storage.
* `pure` asks for the value of an operation. Equal operations on registers that are assigned once
  give the same register, and the instruction is placed in the outermost open region in which all
  its sources are known. While a loop is being built its body is a list of its own, so appending to
  an enclosing region places the code in the loop's preheader: loop-invariant address arithmetic
  leaves the loop by construction. It never leaves a region that is `closed`, as a branch outside
  of loops is: all threads would compute what only some paths need.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tileloom.vm.diagnostics import Location

from .functions import STACK, text_symbol
from .module import Comment, Instruction, Item, Label
from .operands import LabelRef, Operand, Register, RegisterKind, Symbol, Vector, registers_of


class Region:
    """An open stretch of code: its items and the values known in it."""

    __slots__ = ("floor", "items", "values")

    def __init__(self, floor: int) -> None:
        self.floor = floor  # the outermost region that its code may move to
        self.items: list[Item] = []
        self.values: dict[tuple[object, ...], Register] = {}


class Builder:
    """Collects the items of one kernel."""

    def __init__(self) -> None:
        self.counts: dict[RegisterKind, int] = dict.fromkeys(RegisterKind, 0)
        self._regions = [Region(0)]
        self._labels = 0
        self.texts: list[str] = []
        self.local_bytes = 0

    @property
    def depth(self) -> int:
        """Nesting depth of the current region; 0 is the function."""
        return len(self._regions) - 1

    @property
    def closed(self) -> bool:
        """Whether the current region is, or is in, one that code doesn't leave."""
        return self._regions[-1].floor > 0

    def storage(self, kind: RegisterKind = RegisterKind.B32) -> Register:
        """A fresh mutable register."""
        return self._register(kind, None)

    def storages(self, count: int, kind: RegisterKind = RegisterKind.B32) -> list[Register]:
        """`count` fresh mutable registers."""
        return [self._register(kind, None) for _ in range(count)]

    def once(self, kind: RegisterKind = RegisterKind.B32) -> Register:
        """A fresh register that the caller assigns exactly once, in the current region."""
        return self._register(kind, self.depth)

    def emit(
        self,
        opcode: str,
        dsts: tuple[Operand, ...] = (),
        srcs: tuple[Operand, ...] = (),
        predicate: Register | None = None,
        negated: bool = False,
    ) -> None:
        """Appends an instruction to the current region."""
        self._regions[-1].items.append(Instruction(opcode, dsts, srcs, predicate, negated))

    def pure(self, opcode: str, kind: RegisterKind, *srcs: Operand) -> Register:
        """The value of an operation without effects; see the head of the file."""
        depth = self._known_at(srcs)
        if depth is None:
            return self.compute(opcode, kind, *srcs)
        key = (opcode, srcs)
        known = self._regions[depth].values.get(key)
        if known is None and depth < self._regions[-1].floor:
            depth = self._regions[-1].floor
            known = self._regions[depth].values.get(key)
        if known is None:
            region = self._regions[depth]
            known = self._register(kind, depth)
            region.items.append(Instruction(opcode, (known,), srcs))
            region.values[key] = known
        return known

    @staticmethod
    def _known_at(operands: tuple[Operand, ...]) -> int | None:
        """The depth of the region in which all operands are known; None if one may change."""
        depth = 0
        for operand in operands:
            if type(operand) is Register:
                region = operand.region
                if region is None:
                    return None
                if region > depth:
                    depth = region
            elif type(operand) is Vector:
                inner = Builder._known_at(registers_of(operand))
                if inner is None:
                    return None
                depth = max(depth, inner)
        return depth

    def compute(self, opcode: str, kind: RegisterKind, *srcs: Operand) -> Register:
        """The value of an operation on tile data: emitted here, neither shared nor hoisted, so
        that what a program keeps in few registers stays there."""
        number = self.counts[kind]
        self.counts[kind] = number + 1
        result = Register(kind, number, len(self._regions) - 1)
        self._regions[-1].items.append(Instruction(opcode, (result,), srcs))
        return result

    def recent(self) -> list[Item]:
        """The items of the current region so far."""
        return self._regions[-1].items

    def text(self, text: str) -> Symbol:
        """The constant that holds a text, ended by a zero byte."""
        if text not in self.texts:
            self.texts.append(text)
        return text_symbol(self.texts.index(text))

    def stack(self, size: int) -> Symbol:
        """The thread's own memory, of at least `size` bytes."""
        self.local_bytes = max(self.local_bytes, size)
        return STACK

    def comment(self, text: str, location: Location | None = None) -> None:
        """Appends a comment; its location holds for the code that follows."""
        self._regions[-1].items.append(Comment(text, location))

    def fresh_label(self, stem: str) -> str:
        """A label name not used before."""
        self._labels += 1
        return f"${stem}_{self._labels}"

    def place(self, label: str) -> None:
        """Appends a label. Values numbered before it stay valid: regions are single-entry."""
        self._regions[-1].items.append(Label(label))

    def branch(self, label: str, when: Register | None = None, negated: bool = False) -> None:
        """Jumps to `label`, under a predicate if given."""
        self.emit("bra", (), (LabelRef(label),), when, negated)

    @contextmanager
    def region(self, closed: bool = False) -> Iterator[Region]:
        """Opens a nested region; on leaving, its items join the enclosing region."""
        inner = Region(len(self._regions) if closed else self._regions[-1].floor)
        self._regions.append(inner)
        yield inner
        popped = self._regions.pop()
        assert popped is inner, "regions must nest"
        self._regions[-1].items.extend(inner.items)

    def finish(self) -> list[Item]:
        """The body."""
        assert self.depth == 0, "an open region is left"
        return self._regions[0].items

    def _register(self, kind: RegisterKind, region: int | None) -> Register:
        number = self.counts[kind]
        self.counts[kind] = number + 1
        return Register(kind, number, region)
