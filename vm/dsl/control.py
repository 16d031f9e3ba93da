"""Control flow of a traced kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ..diagnostics import VMSyntaxError, VMTypeError
from ..dtypes import dtype
from ..expr import Const, Expr, Ref
from ..ir import Break, For, Group, If, Return, Value, While
from ..types import ScalarType
from .arguments import as_shape
from .trace import assigned_name, current, here
from .values import Scalar, ScalarLike, as_expr, kind_of


class Range:
    """The iterator behind `vm.range`: one turn of Python writes the body of the loop."""

    def __init__(self, bounds: tuple[Expr, Expr, Expr], unroll: int) -> None:
        self.bounds, self.unroll = bounds, unroll
        self.trace, self.location = current(), here()
        self.index: Value | None = None

    def __iter__(self) -> Range:
        return self

    def __next__(self) -> Scalar:
        if self.index is None:
            name = assigned_name() or "i"
            self.index = self.trace.value(name, ScalarType(dtype("i32")), self.location)
            self.trace.open(self.location)
            return Scalar(Ref(self.index))
        body = self.trace.close(self.location)
        self.trace.append(For(self.index, *self.bounds, body, self.unroll, self.location))
        raise StopIteration


def range_(
    start: ScalarLike,
    stop: ScalarLike | None = None,
    step: ScalarLike = 1,
    *,
    unroll: int = 1,
) -> Range:
    """A loop: `for k in vm.range(n)`; `unroll` copies of the body a turn (0: all)."""
    lower, upper = (0, start) if stop is None else (start, stop)
    return Range((as_expr(lower), as_expr(upper), as_expr(step)), unroll)


@contextmanager
def when(condition: ScalarLike) -> Iterator[None]:
    """What is inside runs where the (uniform) condition holds."""
    trace, location = current(), here()
    expr = as_expr(condition)
    trace.open(location)
    yield
    trace.append(If(expr, trace.close(location), (), location))


@contextmanager
def otherwise() -> Iterator[None]:
    """The other branch of the `vm.when` just before."""
    trace = current()
    last = trace.blocks[-1][-1] if trace.blocks[-1] else None
    if not isinstance(last, If) or last.orelse:
        raise VMSyntaxError("`vm.otherwise` must directly follow a `vm.when`", here())
    location = here()
    trace.open(location)
    yield
    body = trace.close(location)
    trace.blocks[-1][-1] = replace(last, orelse=body)


@contextmanager
def warp_group(first: int, count: int) -> Iterator[None]:
    """What is inside runs in `count` warps from `first` on, counted among those around it.

    The others go on behind it. Groups that directly follow each other and have no warp in common
    run at the same time; nobody waits at a group's end. Tiles inside are spread over the group's
    threads, and `vm.barrier()` inside is a meeting of the group.
    """
    if not isinstance(first, int) or not isinstance(count, int):
        raise VMTypeError("the warps of a group must be constant integers", here())
    with _group((first, count)):
        yield


@contextmanager
def single_thread() -> Iterator[None]:
    """What is inside runs in one thread of the first warp; the others go on behind it."""
    with _group(None):
        yield


@contextmanager
def _group(warps: tuple[int, int] | None) -> Iterator[None]:
    trace, location = current(), here()
    trace.open(location)
    yield
    trace.append(Group(warps, trace.close(location), location))


@contextmanager
def loop(condition: Callable[[], ScalarLike] | ScalarLike = True) -> Iterator[None]:
    """`with vm.loop(i < n):` repeats while the condition holds, read before every turn."""
    trace, location = current(), here()
    expr = as_expr(condition() if callable(condition) else condition)
    trace.open(location)
    yield
    trace.append(While(expr, trace.close(location), location))


def break_() -> None:
    """Leaves the innermost loop."""
    current().append(Break(here()))


def return_() -> None:
    """Ends the block's work."""
    current().append(Return(here()))


def launch(
    *,
    grid: list[ScalarLike] | tuple[ScalarLike, ...],
    warps: int = 4,
    min_blocks: int = 0,
    cluster: Sequence[int] | None = None,
) -> None:
    """Says how many blocks run (1 to 3 extents over the parameters) and how many warps a block has.

    `min_blocks` asks for that many resident blocks on a multiprocessor (it limits registers).
    `cluster` (1 to 3 constant extents, together at most 8 blocks) makes clusters of blocks, which
    reach each other's shared memory; the grid must be a multiple of it along each axis.
    """
    trace = current()
    if trace.launched is not None:
        raise VMSyntaxError(
            "a kernel says once how it is launched", here(),
            notes=[("said before", trace.launched)],
        )  # fmt: skip
    trace.launched = here()
    if not isinstance(grid, Sequence):
        raise VMTypeError(
            f"a grid is a list of extents, not {kind_of(grid)}", here(), hint="write `grid=[n]`"
        )
    if not 1 <= len(grid) <= 3:
        raise VMSyntaxError(f"a grid has 1 to 3 extents, not {len(grid)}", here())
    if not isinstance(warps, int) or not 1 <= warps <= 32:
        raise VMSyntaxError(f"a block has 1 to 32 warps, not {warps}", here())
    trace.grid = tuple(as_expr(extent) for extent in grid)
    trace.num_warps, trace.min_blocks = warps, min_blocks
    trace.cluster = () if cluster is None else as_shape(cluster, "`cluster`")


def constant(value: int) -> Scalar:
    """A Python integer as a traced scalar."""
    return Scalar(Const(value))
