"""From a syntax tree to functions of the IR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..diagnostics import (
    LimitError,
    VMNameError,
    VMSyntaxError,
    VMTypeError,
    VMValueError,
    did_you_mean,
    quote,
)
from ..dtypes import DtypeError, codebook
from ..dtypes import dtype as dtype_of
from ..expr import Const, Expr
from ..ir import Block, Break, For, Function, Group, If, Return, Statement, Value, While
from ..types import ScalarType
from .expressions import ExpressionReader
from .instruction_reader import InstructionReader
from .scope import Scope
from .source import Source
from .tree import is_token, node, span
from .type_reader import TypeReader

if TYPE_CHECKING:
    from .tree import Node, Part

MAX_BLOCK_DEPTH = 64
MAX_GRID_RANK = 3
_SETTINGS = ("warps", "grid", "cluster", "min_blocks")


@dataclass
class _Settings:
    """What a function's header says after its parameters."""

    warps: int
    grid: tuple[Expr, ...] = (Const(1),)
    min_blocks: int = 0
    cluster: tuple[int, ...] = ()


class Elaborator:
    """Gives names and types to a syntax tree."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._scope = Scope(source)
        self._expressions = ExpressionReader(self._scope)
        self._types = TypeReader(self._scope, self._expressions)
        self._instructions = InstructionReader(self._scope, self._expressions, self._types)

    def module(self, tree: Node) -> list[Function]:
        """The functions of a `module` tree, in order.

        Raises:
            VMError: with the place of the first mistake.
        """
        functions: dict[str, Function] = {}
        for part in tree.children:
            if is_token(part):
                continue
            item = node(part)
            match item.data:
                case "layout_definition":
                    self._layout_definition(item)
                case "codebook_definition":
                    self._codebook_definition(item)
                case _:
                    function = self._function(item)
                    old = functions.setdefault(function.name, function)
                    if old is not function:
                        raise VMNameError(
                            f"`@{function.name}` is already defined",
                            function.location,
                            notes=[("first defined here", old.location)],
                        )
        return list(functions.values())

    def _layout_definition(self, tree: Node) -> None:
        _, name, layout = tree.children
        self._scope.define_layout(str(name)[1:], self._types.layout(layout), span(name))

    def _codebook_definition(self, tree: Node) -> None:
        _, name, values = tree.children
        numbers: list[float] = []
        for part in node(values).children:
            expr = self._expressions.read(part)
            if not isinstance(expr, Const):
                raise VMTypeError("a code book holds numbers", self._source.location(span(part)))
            numbers.append(float(expr.value))
        try:
            codebook(str(name), numbers)
        except DtypeError as error:
            raise VMValueError(str(error), self._source.location(span(tree))) from None

    def _function(self, tree: Node) -> Function:
        keyword, name, params, settings, body = tree.children
        place = self._source.location((span(keyword)[0], span(name)[1]))
        with self._scope.function():
            values = tuple(self._param(node(each)) for each in node(params).children)
            read = self._settings([node(each) for each in node(settings).children], tree)
            statements = self._block(node(body))
        return Function(
            name=str(name)[1:],
            params=values,
            num_warps=read.warps,
            grid=read.grid,
            body=statements,
            min_blocks=read.min_blocks,
            cluster=read.cluster,
            location=place,
            layout_names=tuple(self._scope.layouts.items()),
        )

    def _param(self, tree: Node) -> Value:
        name, type_ = tree.children
        return self._scope.define(str(name)[1:], self._types.read(type_), span(name))

    def _settings(self, settings: list[Node], function: Node) -> _Settings:
        read = _Settings(warps=0)
        seen: set[str] = set()
        for setting in settings:
            name_node, value = map(node, setting.children)
            name, place = str(name_node.children[0]), self._source.location(span(name_node))
            if name not in _SETTINGS:
                hint = did_you_mean(name, _SETTINGS)
                raise VMNameError(
                    f"a function has no setting {quote(name)}",
                    place,
                    hint=hint or "`warps = 4, grid = [%m, 1], min_blocks = 2`",
                )
            if name in seen:
                raise VMNameError(f"setting `{name}` is given twice", place)
            seen.add(name)
            if name == "warps":
                read.warps = self._expressions.constant(value, "`warps`")
            elif name == "min_blocks":
                read.min_blocks = self._expressions.constant(value, "`min_blocks`")
            elif name == "cluster":
                read.cluster = self._cluster(value)
            else:
                read.grid = self._grid(value)
        if "warps" not in seen:
            raise VMSyntaxError(
                "the function doesn't say its number of warps",
                self._source.location((span(function)[0], span(function.children[1])[1])),
                hint="add `warps = 4` after the parameters",
            )
        return read

    def _grid(self, value: Node) -> tuple[Expr, ...]:
        parts = value.children if value.data == "list" else [value]
        if not 1 <= len(parts) <= MAX_GRID_RANK:
            raise VMValueError(
                f"a grid of {len(parts)} extents", self._source.location(span(value)), hint="1 to 3"
            )
        return tuple(self._expressions.read(each) for each in parts)

    def _cluster(self, value: Node) -> tuple[int, ...]:
        parts = value.children if value.data == "list" else [value]
        return tuple(self._expressions.constant(each, "an extent of `cluster`") for each in parts)

    def _block(self, tree: Node) -> Block:
        if self._scope.depth > MAX_BLOCK_DEPTH:
            raise LimitError(
                f"blocks nested more than {MAX_BLOCK_DEPTH} deep", self._source.location(span(tree))
            )
        with self._scope.block():
            return tuple(self._statement(node(p)) for p in tree.children if not is_token(p))

    def _statement(self, tree: Node) -> Statement:
        place = self._source.location(self._header(tree))
        match tree.data:
            case "for":
                return self._for(tree)
            case "while":
                condition = self._expressions.read(tree.children[1])
                return While(condition, self._block(node(tree.children[2])), place)
            case "if":
                return self._if(tree)
            case "break":
                return Break(place)
            case "return":
                return Return(place)
            case "single_thread":
                return Group(None, self._block(node(tree.children[1])), place)
            case "warp_group":
                return self._warp_group(tree)
        return self._instructions.read(tree)

    def _header(self, tree: Node) -> tuple[int, int]:
        """The part of a statement before its block."""
        start, end = span(tree)
        for part in tree.children:
            if not is_token(part) and node(part).data == "block":
                end = span(part)[0]
                break
        return start, start + len(self._source.text[start:end].rstrip())

    def _for(self, tree: Node) -> For:
        index, lower, upper = tree.children[1], tree.children[3], tree.children[5]
        step, unroll, body = (node(each) for each in tree.children[6:])
        bounds = [self._expressions.read(each) for each in (lower, upper)]
        stride = self._expressions.read(step.children[1]) if step.children else Const(1)
        with self._scope.block():
            value = self._scope.define(str(index)[1:], ScalarType(dtype_of("i32")), span(index))
            return For(
                index=value,
                lower=bounds[0],
                upper=bounds[1],
                step=stride,
                body=self._block(body),
                unroll=self._unroll(unroll),
                location=self._source.location(self._header(tree)),
            )

    def _warp_group(self, tree: Node) -> Group:
        place = self._source.location(self._header(tree))
        first, end = (
            self._expressions.constant(tree.children[number], "a bound of `warp_group`")
            for number in (1, 3)
        )
        return Group((first, end - first), self._block(node(tree.children[4])), place)

    def _unroll(self, tree: Node) -> int:
        if not tree.children:
            return 1
        value: Part = tree.children[1]
        if node(value).data == "word" and str(node(value).children[0]) == "all":
            return 0
        count = self._expressions.constant(value, "`unroll`")
        if count < 1:
            raise VMValueError(
                f"`unroll` is {count}",
                self._source.location(span(value)),
                hint="1 or more, or `all`",
            )
        return count

    def _if(self, tree: Node) -> If:
        place = self._source.location(self._header(tree))
        condition = self._expressions.read(tree.children[1])
        then = self._block(node(tree.children[2]))
        orelse: Block = ()
        if len(tree.children) == 5:
            other = node(tree.children[4])
            if other.data == "block":
                orelse = self._block(other)
            else:
                with self._scope.block():
                    if self._scope.depth > MAX_BLOCK_DEPTH:
                        raise LimitError(f"blocks nested more than {MAX_BLOCK_DEPTH} deep", place)
                    orelse = (self._if(other),)
        return If(condition, then, orelse, place)
