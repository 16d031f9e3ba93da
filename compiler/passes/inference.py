"""Layout inference: a layout for every register tile of a function.

Rules stand beside the lowering of each instruction (`lowering.registry`). The engine runs them to a
fixpoint:

    1. layouts the program states are known from the start and are never changed
    2. a value that gets a layout wakes the rules of the instructions around it
    3. when nothing moves any more, the first missing tile of the earliest phase gets its default
       (1: operands of matrix products, 2: loads, 3: everything else), and 2. goes on
    4. where an operand's layout is not the one its instruction needs, a `convert_layout` is
       inserted and reported

Annotations therefore always win, products come before loads, and a tile nobody cares about is
spread evenly over the block's threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tileloom.layouts import RegisterLayout, auto
from tileloom.vm.diagnostics import at_location
from tileloom.vm.expr import Expr
from tileloom.vm.instruction import Instruction, Role, roles
from tileloom.vm.instructions.transform import ConvertLayout
from tileloom.vm.ir import (
    Block,
    Function,
    Statement,
    Value,
    instructions_by_part,
    map_values,
    rewrite,
)
from tileloom.vm.types import RegType

from ..lowering.registry import LAYOUT_DEFAULTS, LAYOUT_DEMANDS, LAYOUT_RULES

_LAST_PHASE = 3


@dataclass
class Conversion:
    """A `convert_layout` that inference inserted, or the program has, for the report.

    `operand` of `instruction` is converted by `convert`; they are one where the program says it.
    `way` says how, and at what cost, once that is chosen.
    """

    instruction: Instruction
    operand: str
    source: RegisterLayout
    target: RegisterLayout
    convert: ConvertLayout
    way: str = ""

    def __str__(self) -> str:
        place = f"{self.instruction.location}" if self.instruction.location else "?"
        return (
            f"{place}: `{self.instruction.name}`: {self.operand} converted from "
            f"`{self.source}` to `{self.target}`{', ' if self.way else ''}{self.way}"
        )


@dataclass
class Inferred:
    """A function whose register tiles all have layouts, and the conversions that were needed."""

    function: Function
    conversions: list[Conversion] = field(default_factory=list)


class Inference:
    """The state of one fixpoint; `num_threads` is that of the group the running rule is for."""

    def __init__(self, function: Function) -> None:
        self.num_threads = function.num_threads
        self.layouts: dict[Value, RegisterLayout] = {}
        self.users: dict[Value, list[Instruction]] = {}
        placed = list(instructions_by_part(function.body, function.threads))
        self.order = [instruction for instruction, _ in placed]
        self._threads = {instruction: part.num_threads for instruction, part in placed}
        self._pending: deque[Instruction] = deque()
        self._tiles = {instruction: tiles_of(instruction) for instruction in self.order}
        for instruction, tiles in self._tiles.items():
            for value in tiles:
                self.users.setdefault(value, []).append(instruction)

    def known(self, value: Value | Expr | None) -> RegisterLayout | None:
        """The layout of a tile, if it is known yet."""
        return self.layouts.get(value) if isinstance(value, Value) else None

    def propose(self, value: Value | Expr | None, layout: RegisterLayout | None) -> None:
        """Gives a tile a layout unless it has one."""
        if layout is None or not isinstance(value, Value) or value in self.layouts:
            return
        assert isinstance(value.type, RegType)
        if layout.shape != value.type.shape:
            return
        self.layouts[value] = layout
        self._pending.extend(self.users.get(value, ()))

    def missing(self, instruction: Instruction) -> list[Value]:
        """The instruction's tiles without a layout."""
        layouts = self.layouts
        return [value for value in self._tiles[instruction] if value not in layouts]

    def settle(self) -> None:
        """Runs rules until nothing moves."""
        while self._pending:
            instruction = self._pending.popleft()
            rule = LAYOUT_RULES.get(type(instruction))
            if rule is not None and self.missing(instruction):
                self.num_threads = self._threads[instruction]
                with at_location(instruction.location, f"`{instruction.name}`: "):
                    rule(self, instruction)

    def run(self) -> None:
        """Finds a layout for every tile."""
        for value in self.users:
            assert isinstance(value.type, RegType)
            self.propose(value, value.type.layout)
        self.settle()
        for phase in range(1, _LAST_PHASE + 1):
            for instruction in self.order:
                if len(self.layouts) == len(self.users):
                    return
                if self.missing(instruction):
                    self._default(instruction, phase)
                    self.settle()

    def _default(self, instruction: Instruction, phase: int) -> None:
        at, rule = LAYOUT_DEFAULTS.get(type(instruction), (_LAST_PHASE, None))
        self.num_threads = self._threads[instruction]
        if at == phase and rule is not None:
            rule(self, instruction)
            self.settle()
        if phase == _LAST_PHASE:
            for value in self.missing(instruction):
                assert isinstance(value.type, RegType)
                self.propose(value, auto(self._threads[instruction], value.type.shape))
                self.settle()


def tiles_of(instruction: Instruction) -> list[Value]:
    """The register tiles an instruction reads, mutates or makes."""
    found = [*instruction.operands(), instruction.result]
    return [v for v in found if isinstance(v, Value) and isinstance(v.type, RegType)]


def infer_layouts(function: Function) -> Inferred:
    """Gives every register tile a layout and inserts conversions where layouts clash.

    Raises:
        VMError: a tile can't have any layout that its instructions allow.
    """
    inference = Inference(function)
    inference.run()
    function = _apply(function, inference.layouts)
    conversions: list[Conversion] = []

    placed = instructions_by_part(function.body, function.threads)
    threads = {instruction: part.num_threads for instruction, part in placed}

    def convert(statement: Statement) -> Iterable[Statement]:
        if not isinstance(statement, Instruction):
            return (statement,)
        if isinstance(statement, ConvertLayout):
            conversions.append(_stated(statement))
            return (statement,)
        return _convert(statement, threads[statement], conversions)

    return Inferred(replace(function, body=rewrite(function.body, convert)), conversions)


def _apply(function: Function, layouts: dict[Value, RegisterLayout]) -> Function:
    """The function with the found layouts in its types."""
    renamed: dict[Value, Value] = {}

    def placed(value: Value) -> Value:
        found = renamed.get(value)
        if found is None:
            type_, found = value.type, value
            if isinstance(type_, RegType) and type_.layout is None:
                typed = RegType(type_.dtype, type_.shape, layouts[value], type_.packing)
                found = Value(value.name, typed, value.location)
            renamed[value] = found
        return found

    if all(v.type.layout is not None for v in layouts):  # type: ignore[union-attr]
        return function
    body: Block = map_values(function.body, placed)
    return replace(function, body=body)


def _stated(convert: ConvertLayout) -> Conversion:
    """The report of a conversion that the program states."""
    value, result = convert.value, convert.result
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    assert result is not None and isinstance(result.type, RegType)
    return Conversion(convert, value.name, value.type.placed, result.type.placed, convert)


def _convert(
    instruction: Instruction, num_threads: int, conversions: list[Conversion]
) -> list[Statement]:
    rule = LAYOUT_DEMANDS.get(type(instruction))
    if rule is None:
        return [instruction]
    with at_location(instruction.location, f"`{instruction.name}`: "):
        demands = rule(instruction, num_threads)
    before: list[Statement] = []
    after: list[Statement] = []
    changes: dict[str, Any] = {}
    for name, wanted in demands:
        value = instruction.result if name == "result" else getattr(instruction, name)
        if not isinstance(value, Value):
            continue
        assert isinstance(value.type, RegType)
        if value.type.layout is wanted or value.type.layout == wanted:
            continue
        own = replace(value.type, layout=wanted)
        temporary = Value(f"{value.name}.{name}", own, value.location)
        place = instruction.location
        if name == "result":
            made = ConvertLayout(temporary, result=value, location=place)
            after.append(made)
            conversions.append(Conversion(instruction, name, wanted, value.type.placed, made))
        else:
            made = ConvertLayout(value, result=temporary, location=place)
            before.append(made)
            conversions.append(Conversion(instruction, name, value.type.placed, wanted, made))
        changes[name] = temporary
    if not changes:
        return [instruction]
    for name, role in roles(type(instruction)).items():
        assert role is not Role.MUTATED or name not in changes, "can't convert what is mutated"
    return [*before, replace(instruction, **changes), *after]
