"""Lowering of reads and writes at places that a tile of indices gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tileloom.vm.instructions.gather import Gather, Scatter
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType

from ..emit.addresses import Access
from ..emit.context import Context
from ..emit.indexed import build_indexed_access, index_forms
from ..emit.locals import broadcast_source, matching_locals
from ..emit.tiles import tile_type, vector_layout
from .memory import load_tile, memory_binding, store_words
from .registry import Demand, layout_default, layout_demand, layout_rule, lowering

if TYPE_CHECKING:
    from ..passes.inference import Inference


@lowering(Gather)
def lower_gather(context: Context, instruction: Gather) -> None:
    result = instruction.result
    assert result is not None
    type_ = tile_type(result)
    access = _access(context, instruction, instruction.source, type_)
    context.bind(result, load_tile(access, type_, f"ld.{access.space}"))


@lowering(Scatter)
def lower_scatter(context: Context, instruction: Scatter) -> None:
    tile = context.tile(instruction.value)
    store_words(_access(context, instruction, instruction.target, tile.type), tile)


def _access(
    context: Context, instruction: Gather | Scatter, memory: object, type_: RegType
) -> Access:
    index = context.tile(instruction.index)
    numbers = matching_locals(type_.placed, index.type.placed, context.num_threads)
    assert numbers is not None, "inference left an index in other threads"
    assert isinstance(memory, Value)
    access = build_indexed_access(
        context,
        memory_binding(context, memory),
        instruction.offsets,
        instruction.dims,
        type_,
        instruction.dim,
        index_forms(context, index, numbers),
        instruction.in_bounds,
    )
    access.common = context.scalars.conjunction(access.common, context.owns(type_.placed))
    return access


def _moved(instruction: Gather | Scatter) -> Value:
    """The tile that is read or written."""
    value = instruction.value if isinstance(instruction, Scatter) else instruction.result
    assert isinstance(value, Value)
    return value


@layout_rule(Gather, Scatter)
def infer_gather(inference: Inference, instruction: Gather | Scatter) -> None:
    layout = inference.known(_moved(instruction))
    if layout is not None:
        shape = tile_type(instruction.index).shape
        inference.propose(instruction.index, broadcast_source(layout, shape))
    elif tile_type(instruction.index).shape == tile_type(_moved(instruction)).shape:
        inference.propose(_moved(instruction), inference.known(instruction.index))


@layout_default(Gather, phase=2)
def default_gather(inference: Inference, instruction: Gather) -> None:
    type_ = tile_type(instruction.result)
    layout = vector_layout(inference.num_threads, type_.shape, type_.dtype.bits)
    inference.propose(instruction.result, layout)


@layout_demand(Gather, Scatter)
def gather_demand(instruction: Gather | Scatter, num_threads: int) -> Demand:
    layout, index = tile_type(_moved(instruction)).placed, tile_type(instruction.index)
    if matching_locals(layout, index.placed, num_threads) is not None:
        return []
    return [("index", broadcast_source(layout, index.shape))]
