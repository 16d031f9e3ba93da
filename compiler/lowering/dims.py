"""Lowering of dropped and inserted dimensions: other names for the same registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tileloom.vm.instructions.dims import Squeeze, Unsqueeze
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType

from ..emit.context import Context
from .registry import Demand, layout_demand, layout_rule, lowering

if TYPE_CHECKING:
    from ..passes.inference import Inference


@lowering(Squeeze, Unsqueeze)
def lower_dims(context: Context, instruction: Squeeze | Unsqueeze) -> None:
    assert instruction.result is not None and isinstance(instruction.value, Value)
    source = context.tile(instruction.value)
    context.bind(instruction.result, source.registers)


def _source(instruction: Squeeze | Unsqueeze) -> RegType:
    value = instruction.value
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    return value.type


@layout_rule(Squeeze, Unsqueeze)
def infer_dims(inference: Inference, instruction: Squeeze | Unsqueeze) -> None:
    source, result = inference.known(instruction.value), inference.known(instruction.result)
    if source is not None:
        inference.propose(instruction.result, instruction.result_layout(source))
    if result is not None:
        shape = _source(instruction).shape
        inference.propose(instruction.value, instruction.operand_layout(result, shape))


@layout_demand(Squeeze, Unsqueeze)
def dims_demand(instruction: Squeeze | Unsqueeze, num_threads: int) -> Demand:
    return [("result", instruction.result_layout(_source(instruction).placed))]
