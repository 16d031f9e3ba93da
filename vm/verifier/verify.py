"""Walking a function: scopes, statements, and every value's type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

from ..diagnostics import (
    LimitError,
    Location,
    VMNameError,
    VMSyntaxError,
    VMTypeError,
    VMValueError,
    at_location,
)
from ..expr import Const, Expr, references
from ..instruction import Instruction, Role, roles
from ..ir import Block, Break, For, Function, Group, If, Return, Statement, Value, While
from ..text import print_type
from ..types import GlobalType, RegType, Type
from .attributes import check_attributes, check_threads
from .placement import Place, check_placement, is_placed
from .registers import check_registers
from .scalars import expect_kind, scalar_kind
from .types import check_parameter, check_type

MAX_WARPS = 32
MAX_BLOCK_DEPTH = 64
MAX_MIN_BLOCKS = 32
MAX_CLUSTER = 8  # blocks: the largest cluster that every GPU with clusters has room for


def verify(function: Function, typed: bool = False) -> None:
    """Checks a whole function: names and scopes, types, layouts, attributes and limits.

    `typed`: each instruction was just made with the result type that its operands give, and its
    attributes were checked then, as tracing does; that isn't done again.

    Raises:
        VMError: at the statement that is wrong.
    """
    _Verifier(function, typed).run()


class _Verifier:
    def __init__(self, function: Function, typed: bool) -> None:
        self._function = function
        self._typed = typed
        self._visible: set[Value] = set()
        self._scopes: list[list[Value]] = []  # what of it each open block has defined
        self._defined: dict[Value, Location | None] = {}
        self._fixed: set[Value] = set()  # scalars no instruction may write
        self._loops = 0
        self._part = function.threads  # the threads that run the statement
        self._groups: list[Group] = []  # those around it
        self._owners: dict[Value, int] = {}  # how many groups a value was defined in

    def run(self) -> None:
        function = self._function
        self._header()
        with self._block_scope(function.location):
            for param in function.params:
                check_parameter(param.type, param.label, param.location)
                self._define(param, param.location)
                self._fixed.add(param)
            self._grid()
            self._block(function.body)
        check_registers(function)

    def _header(self) -> None:
        function = self._function
        if not 1 <= function.num_warps <= MAX_WARPS:
            raise VMValueError(
                f"`@{function.name}` has {function.num_warps} warps",
                function.location,
                hint=f"1 to {MAX_WARPS}",
            )
        if not 0 <= function.min_blocks <= MAX_MIN_BLOCKS:
            raise VMValueError(
                f"`min_blocks` is {function.min_blocks}",
                function.location,
                hint=f"0 to {MAX_MIN_BLOCKS}",
            )
        self._cluster()

    def _cluster(self) -> None:
        function = self._function
        text, place = f"`cluster` is {list(function.cluster)}", function.location
        if len(function.cluster) > 3 or any(extent < 1 for extent in function.cluster):
            raise VMValueError(text, place, hint="1 to 3 extents, each 1 or more")
        if prod(function.cluster) > MAX_CLUSTER:
            raise LimitError(
                f"{text}, {prod(function.cluster)} blocks", place, hint=f"at most {MAX_CLUSTER}"
            )

    def _grid(self) -> None:
        function = self._function
        if not 1 <= len(function.grid) <= 3:
            raise VMValueError(
                f"a grid of {len(function.grid)} extents", function.location, hint="1 to 3"
            )
        for extent in function.grid:
            self._expression(extent, "a grid extent", function.location)
            if isinstance(extent, Const) and extent.value < 1:
                raise VMValueError(f"a grid extent of {extent.value}", function.location)

    @contextmanager
    def _block_scope(self, location: Location | None) -> Iterator[None]:
        if len(self._scopes) > MAX_BLOCK_DEPTH:
            raise LimitError(f"blocks nested more than {MAX_BLOCK_DEPTH} deep", location)
        self._scopes.append([])
        yield
        self._visible.difference_update(self._scopes.pop())

    def _define(self, value: Value, location: Location | None) -> None:
        if value in self._defined:
            raise VMNameError(
                f"`{value.label}` is already defined",
                location,
                notes=[("first defined here", self._defined[value])],
            )
        label = value.label
        with at_location(location, f"`{label}`: "):
            check_type(value.type, label, self._part.num_threads, location)
        self._type_references(value.type, location)
        self._defined[value] = location
        self._owners[value] = len(self._groups)
        self._visible.add(value)
        self._scopes[-1].append(value)

    def _type_references(self, type_: Type, location: Location | None) -> None:
        if isinstance(type_, GlobalType):
            for expr in (*type_.shape, *type_.strides):
                self._check_references(expr, location)

    def _use(self, value: Value, location: Location | None) -> None:
        if value in self._visible:
            self._check_owner(value, location)
            return
        note, hint = ("it is never defined before", value.location), None
        if value in self._defined:
            note = ("defined in a block that has ended", self._defined[value])
            write = "`assign` to it" if value.label.startswith("%") else "`.set` it"
            hint = f"define it before the block and {write} inside"
        raise VMNameError(f"`{value.label}` isn't visible here", location, notes=[note], hint=hint)

    def _check_owner(self, value: Value, location: Location | None) -> None:
        """A tile belongs to the threads that made it."""
        if isinstance(value.type, RegType) and self._owners[value] < len(self._groups):
            group = self._groups[self._owners[value]]
            raise VMTypeError(
                f"`{value.label}` lies in the registers of other threads than those of the group",
                location,
                notes=[("made here", self._defined[value]), ("the group", group.location)],
                hint="load or make it inside the group",
            )

    def _check_references(self, expr: Expr, location: Location | None) -> None:
        for value in references(expr):
            self._use(value, location)

    def _expression(self, expr: Expr, what: str, location: Location | None) -> None:
        expect_kind("int", expr, what, location)
        self._check_references(expr, location)

    def _condition(self, expr: Expr, what: str, location: Location | None) -> None:
        expect_kind("bool", expr, what, location)
        self._check_references(expr, location)

    def _block(self, block: Block) -> None:
        for statement in block:
            self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Instruction():
                self._instruction(statement)
            case For():
                self._for(statement)
            case While(condition, body, location):
                self._condition(condition, "the condition of `while`", location)
                self._loop_body(body, location)
            case If(condition, then, orelse, location):
                self._condition(condition, "the condition of `if`", location)
                for branch in (then, orelse):
                    with self._block_scope(location):
                        self._block(branch)
            case Break(location):
                if not self._loops:
                    self._refuse_break(location)
            case Return(location):
                if self._groups:
                    raise VMSyntaxError(
                        "`return` in a group of threads: the others may wait for it at a barrier",
                        location,
                        notes=[("the group", self._groups[-1].location)],
                    )
            case Group():
                self._group(statement)
            case _:
                raise AssertionError(f"no statement: {statement!r}")

    def _refuse_break(self, location: Location | None) -> None:
        if self._groups:
            raise VMSyntaxError(
                "`break` would leave a loop in which the other threads stay",
                location,
                notes=[("the group", self._groups[-1].location)],
            )
        raise VMSyntaxError("`break` outside a loop", location)

    def _group(self, group: Group) -> None:
        self._check_group(group)
        part, loops = self._part, self._loops
        self._part, self._loops = part.inside(group), 0
        self._groups.append(group)
        with self._block_scope(group.location):
            self._block(group.body)
        self._groups.pop()
        self._part, self._loops = part, loops

    def _check_group(self, group: Group) -> None:
        if self._part.single:
            raise VMSyntaxError("a single thread has no groups", group.location)
        if group.warps is None:
            return
        first, count = group.warps
        warps = self._part.num_threads // 32
        if first < 0 or count < 1 or first + count > warps:
            raise VMValueError(
                f"warps {first} to {first + count} of {warps}",
                group.location,
                hint="the first is counted among the warps around the group, the last is excluded",
            )

    def _for(self, loop: For) -> None:
        for what, bound in (("lower", loop.lower), ("upper", loop.upper), ("step", loop.step)):
            self._expression(
                bound, f"the {what} bound" if what != "step" else "the step", loop.location
            )
        if isinstance(loop.step, Const) and loop.step.value < 1:
            raise VMValueError(
                f"the step is {loop.step.value}",
                loop.location,
                hint="loops count upwards: compute `%n - 1 - %k` inside",
            )
        if loop.unroll < 0:
            raise VMValueError(f"`unroll` is {loop.unroll}", loop.location)
        bounds = (loop.lower, loop.upper, loop.step)
        if loop.unroll == 0 and not all(isinstance(bound, Const) for bound in bounds):
            raise VMValueError(
                "a loop with run-time bounds can't be unrolled whole",
                loop.location,
                hint="give a number: `unroll = 4`",
            )
        with self._block_scope(loop.location):
            self._define(loop.index, loop.location)
            self._fixed.add(loop.index)
            self._loop_body(loop.body, loop.location)

    def _loop_body(self, body: Block, location: Location | None) -> None:
        self._loops += 1
        with self._block_scope(location):
            self._block(body)
        self._loops -= 1

    def _instruction(self, instruction: Instruction) -> None:
        place = instruction.location
        self._fields(instruction)
        if not self._typed:
            check_attributes(instruction)
        check_threads(instruction, self._part.num_threads)
        if is_placed(type(instruction)):
            here = Place(self._part, self._function.threads, len(self._scopes) - 1)
            check_placement(instruction, here)
        result = instruction.result
        wants = type(instruction).has_result
        assert wants is None or wants is (result is not None), f"result of {instruction.name}"
        if not self._typed:
            self._check_result(instruction)
        if result is not None:
            self._define(result, place)

    def _check_result(self, instruction: Instruction) -> None:
        place, result = instruction.location, instruction.result
        with at_location(place, f"`{instruction.name}`: "):
            type_ = instruction.result_type(result.type if result is not None else None)
        if result is not None and type_ != result.type:
            raise VMTypeError(
                f"`{instruction.name}`: the result `{result.label}` is "
                f"`{print_type(result.type)}`, not `{print_type(type_) if type_ else 'nothing'}`",
                place,
            )

    def _fields(self, instruction: Instruction) -> None:
        place = instruction.location
        for name, role in roles(type(instruction)).items():
            if role is Role.ATTRIBUTE:
                continue
            value = getattr(instruction, name)
            if role is Role.INDICES:
                what = f"`{instruction.name}`: an index"
                for index in value:
                    self._expression(index, what, place)
            elif isinstance(value, Value):
                self._use(value, place)
                if role is Role.MUTATED:
                    self._check_mutable(value, f"`{instruction.name}`: {name}", place)
            elif value is not None:
                scalar_kind(value, place)
                self._check_references(value, place)

    def _check_mutable(self, value: Value, what: str, location: Location | None) -> None:
        text = value.label
        if self._owners[value] != len(self._groups):
            raise VMTypeError(
                f"{what} is `{text}`, which other threads than those of the group read too",
                location,
                notes=[("made here", value.location), ("the group", self._groups[-1].location)],
                hint="copy it to a variable of the group",
            )
        if value in self._fixed:
            raise VMTypeError(
                f"{what} is `{value.label}`, which can't be written",
                location,
                notes=[("a parameter or loop index", value.location)],
                hint="copy it to a variable first: "
                + (f"`%x = var {text} : i32`" if "%" in text else f"`vm.var({text}, vm.i32)`"),
            )
