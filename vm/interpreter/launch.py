"""Running a function: arguments, grid, blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..diagnostics import LaunchError, user_errors
from ..dtypes import Dtype
from ..expr import Expr
from ..instructions.mbarrier import AllocMbarrier
from ..instructions.memory import GlobalView
from ..ir import Function, Group, Value, walk
from ..ranges import is_far
from ..types import GlobalType, PointerType, ScalarType
from .clocks import Clocks, Stream
from .cluster import Cluster
from .control import Task, execute
from .group import ThreadGroup, World
from .memory import Buffer
from .scalars import Env, compile_expr
from .scheduler import RESIDENT, run_blocks

MAX_GRID = (2**31 - 1, 65535, 65535)


@user_errors()
def run(
    function: Function,
    args: Sequence[Any],
    *,
    checks: bool = True,
    seed: int = 0,
    resident: int = RESIDENT,
) -> None:
    """Run a program on the interpreter; what it stores is in the arrays afterwards.

    `args` holds one argument a parameter: for a pointer a C-contiguous numpy array (sub-byte
    dtypes as packed uint8, dtypes that numpy lacks as unsigned integers or bytes) or None, for a
    scalar a number. `checks=False` leaves out the checks for uninitialised values, races and
    missing waits; addresses are always checked. `seed` chooses the order in which blocks run and
    `resident` how many are started at once.

    Raises:
        LaunchError: arguments that don't fit the parameters.
        ExecutionError: the program does what it must not, at the instruction's place.
    """
    env = bind(function, args)
    world = World(checks, _is_far(function, env))
    grid = _grid(world, function, env)
    with np.errstate(all="ignore"):
        tasks = _tasks(world, function, env, grid)
        run_blocks(world, tasks, seed, resident, prod(function.cluster_extents))


def _is_far(function: Function, env: Env) -> bool:
    """Whether a view of the outermost block, as the parameters give it, is far (`vm.ranges`)."""

    def numbers(exprs: Sequence[Expr]) -> list[int]:
        return [int(compile_expr(expr, exact=True)[0](env)) for expr in exprs]

    for statement in function.body:
        if not isinstance(statement, GlobalView) or statement.result is None:
            continue
        type_ = statement.result.type
        assert isinstance(type_, GlobalType)
        try:
            if is_far(numbers(type_.shape), numbers(type_.strides)):
                return True
        except (KeyError, ZeroDivisionError):
            continue  # it hangs on what isn't known yet, or fails when it comes to that
    return False


def bind(function: Function, args: Sequence[Any]) -> Env:
    """The parameters' values.

    Raises:
        LaunchError: arguments that don't fit.
    """
    if len(args) != len(function.params):
        raise LaunchError(
            f"`@{function.name}` takes {len(function.params)} arguments, not {len(args)}",
            function.location,
        )
    return {p: _bind_one(p, arg) for p, arg in zip(function.params, args, strict=True)}


def _bind_one(param: Value, arg: Any) -> Any:
    if isinstance(param.type, PointerType):
        return Buffer(param.name, _bytes_of(param, param.type.element, arg))
    assert isinstance(param.type, ScalarType)
    element = param.type.dtype
    number = arg.item() if isinstance(arg, np.generic) else arg
    wanted = (int, float) if element.is_float else int
    if not isinstance(number, wanted):
        raise LaunchError(
            f"`%{param.name}` is `{element.name}`, not a `{type(arg).__name__}`", param.location
        )
    if element.is_float:
        return float(element.decode(element.encode(float(number))))
    if not element.min_finite <= number <= element.max_finite:
        raise LaunchError(f"`%{param.name}` = {number} is no `{element.name}`", param.location)
    return bool(number) if element.kind == "bool" else int(number)


def _bytes_of(param: Value, element: Dtype, arg: Any) -> Any:
    if arg is None:
        return np.zeros(0, np.uint8)
    if not isinstance(arg, np.ndarray):
        raise LaunchError(
            f"`%{param.name}` is a pointer: it takes a numpy array, not a `{type(arg).__name__}`",
            param.location,
        )
    if not arg.flags.c_contiguous:
        raise LaunchError(f"the array for `%{param.name}` is not C-contiguous", param.location)
    raw = arg.dtype.kind == "u" and (arg.dtype.itemsize in (1, max(1, element.bits // 8)))
    if element.numpy is None:
        fits = 8 * arg.dtype.itemsize == element.bits
    else:
        fits = arg.dtype == element.numpy
    if not (raw or fits):
        raise LaunchError(
            f"`%{param.name}` points to `{element.name}`, the array holds `{arg.dtype}`",
            param.location,
            hint="dtypes that numpy lacks travel as packed uint8",
        )
    return arg.reshape(-1).view(np.uint8)


def _grid(world: World, function: Function, env: Env) -> tuple[int, ...]:
    try:
        given = [int(world.evaluate(extent, env)) for extent in function.grid]
    except ZeroDivisionError:
        raise LaunchError("the grid: integer division by zero", function.location) from None
    extents = [*given, 1, 1][:3]
    for extent, limit in zip(extents, MAX_GRID, strict=True):
        if not 0 <= extent <= limit:
            raise LaunchError(f"the grid {extents} is outside the limits {list(MAX_GRID)}")
    check_clusters(function, extents)
    return tuple(extents)


def _tasks(world: World, function: Function, env: Env, grid: tuple[int, ...]) -> Iterator[Task]:
    extents = {f"grid.{axis}": extent for axis, extent in zip("xyz", grid, strict=True)}
    size = function.cluster_extents
    # x runs fastest, as blocks start on a GPU.
    clocked = any(isinstance(s, AllocMbarrier | Group) for s in walk(function.body))
    axes = (range(0, extent, step) for extent, step in zip(grid[::-1], size[::-1], strict=True))
    for start in product(*axes):
        clocks = Clocks()
        groups = [
            _group(
                world,
                {**env, **extents},
                start[::-1],
                at[::-1],
                Stream(clocks, rank, function.threads),
            )
            for rank, at in enumerate(product(*(range(extent) for extent in reversed(size))))
        ]
        if len(groups) > 1:
            cluster = Cluster(groups)
            for group in groups:
                group.cluster = cluster
        for group in groups:
            group.is_clocked = clocked
            yield Task(group, execute(group, function.body))


def _group(
    world: World, env: Env, start: tuple[int, ...], at: tuple[int, ...], stream: Stream
) -> ThreadGroup:
    """The block `at` a place in the cluster whose first block is `start`."""
    x, y, z = (first + step for first, step in zip(start, at, strict=True))
    place = {"block.x": x, "block.y": y, "block.z": z, "cluster_rank": stream.rank}
    inside = {f"cluster.{axis}": step for axis, step in zip("xyz", at, strict=True)}
    env = {**env, **place, **inside}
    return ThreadGroup(world, env, (x, y, z), stream, rank=stream.rank)


def check_clusters(function: Function, grid: Sequence[int]) -> None:
    """The grid must consist of whole clusters.

    Raises:
        LaunchError: it doesn't.
    """
    size = function.cluster_extents
    for axis, extent, step in zip("xyz", grid, size, strict=True):
        if extent % step:
            raise LaunchError(
                f"the grid of `{function.name}` has {extent} blocks along {axis}, which clusters "
                f"of {step} don't divide",
                function.location,
                notes=[f"the grid is {list(grid)}, the clusters are {list(size)}"],
                hint="round the grid up to whole clusters, and let the blocks beyond do nothing",
            )
