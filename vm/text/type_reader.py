"""Types and layouts from a syntax tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from tileloom.layouts import (
    MemoryLayout,
    RegisterLayout,
    parse_layout,
    parse_memory_layout,
)

from ..diagnostics import (
    LayoutMismatchError,
    Location,
    VMNameError,
    VMSyntaxError,
    VMTypeError,
    VMValueError,
    at_location,
    did_you_mean,
    quote,
)
from ..dtypes import Dtype, DtypeError, dtype, suggestions
from ..expr import Expr
from ..packing import CONTIGUOUS, PAIRED, Packing
from ..types import (
    BarrierType,
    GlobalType,
    PointerType,
    RegType,
    ScalarType,
    SharedType,
    Type,
    row_major_strides,
)
from .expressions import ExpressionReader
from .scope import Layout, Scope
from .tree import is_token, node, span

if TYPE_CHECKING:
    from .tree import Node, Part

_PACKINGS: dict[str, Packing] = {packing.name: packing for packing in (CONTIGUOUS, PAIRED)}
_SPACES = ("global", "shared", "reg")
_TYPES = (*_SPACES, "mbarrier")
MAX_EXTENT = 1 << 31


def read_dtype(name: str, location: Location | None) -> Dtype:
    """The dtype of a name.

    Raises:
        VMNameError: there is none, with the nearest names.
    """
    try:
        return dtype(name)
    except DtypeError:
        near = suggestions(name)
        hint = f"did you mean `{near[0]}`?" if near else None
        raise VMNameError(f"unknown dtype {quote(name)}", location, hint=hint) from None


class TypeReader:
    """Turns type and layout trees into types and layouts, with the names of a scope."""

    def __init__(self, scope: Scope, expressions: ExpressionReader) -> None:
        self._scope = scope
        self._expressions = expressions

    def read(self, part: Part) -> Type:
        """The type of a `type` tree."""
        tree = node(node(part).children[0])
        match tree.data:
            case "pointer_type":
                return PointerType(self._dtype(tree.children[1]))
            case "scalar_type":
                return self._scalar(tree)
        return self._tile(tree)

    def layout(self, part: Part) -> Layout:
        """The layout of a `layout` tree: a product of references and constructors.

        Raises:
            LayoutMismatchError: the layout algebra's refusal, at the layout's place.
        """
        tree = node(part)
        factors = [each for each in tree.children if not is_token(each)]
        texts = all(node(each).data == "layout_call" for each in factors)
        texts = texts and not any(str(each) == "/" for each in tree.children if is_token(each))
        with at_location(self._at(tree)):
            if texts:
                start, end = span(tree)
                return _layout_of_text(self._scope.source.text[start:end])
            return self._product(tree)

    def _product(self, tree: Node) -> RegisterLayout:
        result: RegisterLayout | None = None
        operator = "*"
        for part in tree.children:
            if is_token(part):
                operator = str(part)
                continue
            factor = self._factor(node(part))
            if not isinstance(factor, RegisterLayout) or operator == "^":
                if len(tree.children) == 1:
                    return factor  # type: ignore[return-value]
                raise LayoutMismatchError(
                    "only register layouts have products and quotients", self._at(tree)
                )
            if result is None:
                result = factor
            else:
                result = result * factor if operator == "*" else result / factor
        assert result is not None
        return result

    def _factor(self, tree: Node) -> Layout:
        match tree.data:
            case "layout_reference":
                token = tree.children[0]
                return self._scope.layout(str(token)[1:], span(token))
            case "layout":
                return self.layout(tree)
        start, end = span(tree)
        return _layout_of_text(self._scope.source.text[start:end])

    def _at(self, part: Part) -> Location:
        return self._scope.source.location(span(part))

    def _dtype(self, token: Part) -> Dtype:
        return read_dtype(str(token), self._at(token))

    def _scalar(self, tree: Node) -> Type:
        name = str(tree.children[0])
        if name in _TYPES:
            example = f"{name}<f16, [16, 16]>" if name in _SPACES else f"{name}<[4]>"
            raise VMSyntaxError(
                f"`{name}` needs a {'dtype and a ' * (name in _SPACES)}shape",
                self._at(tree),
                hint=f"write `{example}`",
            )
        return ScalarType(self._dtype(tree.children[0]))

    def _tile(self, tree: Node) -> Type:
        space, _, *arguments, _ = tree.children
        if str(space) not in _TYPES:
            raise VMNameError(
                f"unknown type {quote(space)}",
                self._at(space),
                hint=did_you_mean(str(space), _TYPES) or "tiles are `global`, `shared` or `reg`",
            )
        if str(space) == "mbarrier":
            return self._barriers(tree, arguments)
        if len(arguments) < 2 or _kind(arguments[0]) != "word" or _kind(arguments[1]) != "list":
            raise VMSyntaxError(
                f"`{space}` needs a dtype and a shape",
                self._at(tree),
                hint=f"write `{space}<f16, [16, 16]>`",
            )
        element = self._dtype(node(arguments[0]).children[0])
        shape = [self._expressions.read(each) for each in node(arguments[1]).children]
        rest = [node(each) for each in arguments[2:]]
        if space == "global":
            return self._global(element, tuple(shape), rest)
        extents = tuple(self._extent(each) for each in node(arguments[1]).children)
        if space == "shared":
            return self._shared(element, extents, rest)
        return self._register(element, extents, rest)

    def _barriers(self, tree: Node, arguments: list[Part]) -> Type:
        if len(arguments) != 1 or _kind(arguments[0]) != "list":
            raise VMSyntaxError(
                "`mbarrier` needs a shape and nothing else",
                self._at(tree),
                hint="write `mbarrier<[4]>`",
            )
        return BarrierType(tuple(self._extent(each) for each in node(arguments[0]).children))

    def _extent(self, part: Part) -> int:
        extent = self._expressions.constant(part, "an extent of a shared or register tile")
        if not 1 <= extent <= MAX_EXTENT:
            raise VMValueError(f"an extent of {extent}", self._at(part), hint="1 or more")
        return extent

    def _global(self, element: Dtype, shape: tuple[Expr, ...], rest: list[Node]) -> Type:
        strides = row_major_strides(shape)
        for part in rest:
            name, value = part.children if part.data == "named" else (None, None)
            if name is None or value is None or _name(name) != "strides" or _kind(value) != "list":
                self._unexpected(part, "global", "`strides = [%k, 1]`")
            strides = tuple(self._expressions.read(each) for each in node(value).children)
            if len(strides) != len(shape):
                raise VMTypeError(
                    f"{len(strides)} strides for {len(shape)} extents", self._at(value)
                )
        return GlobalType(element, shape, strides)

    def _shared(self, element: Dtype, shape: tuple[int, ...], rest: list[Node]) -> Type:
        layout: MemoryLayout | None = None
        for part in rest:
            if part.data != "layout" or layout is not None:
                self._unexpected(part, "shared", "one memory layout")
            found = self.layout(part)
            if not isinstance(found, MemoryLayout):
                raise LayoutMismatchError(
                    "a shared tile has a memory layout, not a register layout",
                    self._at(part),
                    notes=[f"the layout is `{found}`"],
                    hint="write `row_major(64, 64)`, perhaps with `^ swizzle(3, 4, 3)`",
                )
            layout = found
        return SharedType(element, shape, layout)

    def _register(self, element: Dtype, shape: tuple[int, ...], rest: list[Node]) -> Type:
        layout: RegisterLayout | None = None
        packing: Packing | None = None
        for part in rest:
            if part.data == "layout" and layout is None:
                found = self.layout(part)
                if not isinstance(found, RegisterLayout):
                    raise LayoutMismatchError(
                        "a register tile has a register layout, not a memory layout",
                        self._at(part),
                        notes=[f"the layout is `{found}`"],
                    )
                layout = found
            elif part.data == "word" and packing is None:
                packing = self._packing(part)
            else:
                self._unexpected(part, "reg", "a layout and a packing")
        return RegType(element, shape, layout, packing or CONTIGUOUS)

    def _packing(self, part: Node) -> Packing:
        name = str(part.children[0])
        if name in _PACKINGS:
            return _PACKINGS[name]
        raise VMNameError(
            f"unknown packing {quote(name)}",
            self._at(part),
            hint=did_you_mean(name, _PACKINGS) or "packings are `contiguous` and `paired`",
        )

    def _unexpected(self, part: Node, space: str, expected: str) -> NoReturn:
        raise VMSyntaxError(f"after its shape `{space}` takes {expected}", self._at(part))


def _kind(part: Part) -> str:
    return "" if is_token(part) else str(node(part).data)


def _name(part: Part) -> str:
    return str(node(part).children[0])


def _layout_of_text(text: str) -> Layout:
    memory = text.partition("(")[0].strip()
    if memory in ("row_major", "column_major", "strided", "memory"):
        return parse_memory_layout(text)
    return parse_layout(text)
