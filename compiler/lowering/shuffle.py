"""Lowering of lane exchanges: one `shfl` for each word a thread holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tileloom.layouts import RegisterLayout
from tileloom.vm.instructions.shuffle import LANES, Shuffle
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType

from ..emit.context import Context
from ..emit.exchange import shuffle_word
from ..emit.locals import as_words, from_words
from ..ptx import Register, RegisterKind
from .registry import Demand, layout_demand, layout_rule, lowering

if TYPE_CHECKING:
    from ..passes.inference import Inference

PRED, B32 = RegisterKind.PRED, RegisterKind.B32
_MODES = {"up": "up", "down": "down", "xor": "bfly", "index": "idx"}


@lowering(Shuffle)
def lower_shuffle(context: Context, instruction: Shuffle) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    source = context.tile(instruction.value)
    instruction.check_replicas(source.type.placed)
    clamp = (LANES - instruction.width) << 8 | (0 if instruction.mode == "up" else LANES - 1)
    mode, exists = _MODES[instruction.mode], _source_exists(context, instruction)
    words = []
    for word in as_words(context, source):
        moved = shuffle_word(context, mode, word, instruction.lane, clamp)
        if exists is not None:
            moved = context.builder.compute("selp.b32", B32, moved, word, exists)
        words.append(moved)
    context.bind(result, from_words(context, result.type, words))


def _source_exists(context: Context, instruction: Shuffle) -> Register | None:
    """Whether the lane a thread reads holds a part of the tile; None if that is always so."""
    layout = _layout(instruction)
    if layout.num_threads % LANES == 0 or instruction.mode == "up":
        return None
    # Were all lanes there, would a thread of the tile read one that isn't?
    threads = np.arange(layout.num_threads)
    lane, width = instruction.lane, instruction.width
    first = threads - threads % width
    reads = {"down": threads + lane, "xor": threads ^ lane, "index": first + lane}
    wanted = reads[instruction.mode]
    if not ((wanted >= layout.num_threads) & (wanted < first + width)).any():
        return None
    pure, thread = context.builder.pure, context.thread()
    if instruction.mode == "down":
        number = pure("add.s32", B32, thread, lane)
    elif instruction.mode == "xor":
        number = pure("xor.b32", B32, thread, lane)
    else:
        number = pure("add.s32", B32, pure("and.b32", B32, thread, -width), lane)
    return pure("setp.lt.s32", PRED, number, layout.num_threads)


def _layout(instruction: Shuffle) -> RegisterLayout:
    value = instruction.value
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    return value.type.placed


@layout_rule(Shuffle)
def infer_shuffle(inference: Inference, instruction: Shuffle) -> None:
    inference.propose(instruction.result, inference.known(instruction.value))
    inference.propose(instruction.value, inference.known(instruction.result))


@layout_demand(Shuffle)
def shuffle_demand(instruction: Shuffle, num_threads: int) -> Demand:
    return [("result", _layout(instruction))]
