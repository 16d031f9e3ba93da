"""What holds for every standard program: its text, its layouts, its code, and empty arrays."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.programs.activations.program import quantize_rows
from tileloom.programs.activations.schedule import schedule_for as activation_schedule
from tileloom.programs.batched_matmul.program import batched_matmul
from tileloom.programs.convolution.program import convolution
from tileloom.programs.elementwise.formulas import FORMULAS
from tileloom.programs.elementwise.program import elementwise
from tileloom.programs.layer_norm.program import layer_norm, rms_norm
from tileloom.programs.matmul.program import matmul
from tileloom.programs.matmul.split_k import matmul_part
from tileloom.programs.reduction.program import reduce_part
from tileloom.programs.reduction.scan import scan_part
from tileloom.programs.reduction.schedule import schedule_for as reduction_schedule
from tileloom.programs.rotary.program import rotary
from tileloom.programs.rotary.program import schedule_for as rotary_schedule
from tileloom.programs.rows.schedule import RowSchedule, row_schedule
from tileloom.programs.softmax.program import softmax
from tileloom.programs.transpose.program import transpose
from tileloom.programs.transpose.schedule import Shared, Squares
from tileloom.runtime import compile_kernel
from tileloom.runtime.errors import ToolMissingError
from tileloom.runtime.toolkit import find_assembler
from tileloom.vm.ir import Function

LONG = row_schedule(1 << 16, 2, parameters=2)
PROGRAMS: dict[str, Callable[[], Function]] = {
    "activations": lambda: quantize_rows.trace(schedule=activation_schedule(8192)),
    "activations e4m3": lambda: quantize_rows.trace(
        out="e4m3", group=128, schedule=activation_schedule(8192, 128)
    ),
    "activations long": lambda: quantize_rows.trace(schedule=activation_schedule(1 << 16)),
    "batched_matmul": lambda: batched_matmul.trace(turned_b=True, out="f32"),
    "convolution": lambda: convolution.trace(),
    "elementwise": lambda: elementwise.trace(formula=FORMULAS["bias_gelu_residual"]),
    "elementwise bf16": lambda: elementwise.trace(
        formula=FORMULAS["bias_silu_residual"], element="bf16"
    ),
    "layer_norm": lambda: layer_norm.trace(),
    "layer_norm long": lambda: layer_norm.trace(element="bf16", schedule=LONG),
    "matmul": lambda: matmul.trace(),
    "matmul_part": lambda: matmul_part.trace(),
    "reduce columns": lambda: reduce_part.trace(
        op="max", schedule=reduction_schedule(1, 4096, 4096, 2)
    ),
    "reduce rows": lambda: reduce_part.trace(),
    "argmax": lambda: reduce_part.trace(op="argmax", out="i32"),
    "rms_norm f32": lambda: rms_norm.trace(element="f32", schedule=row_schedule(4096, 4)),
    "rotary": lambda: rotary.trace(),
    "rotary interleaved": lambda: rotary.trace(schedule=rotary_schedule(32, 64, 2, True)),
    "scan": lambda: scan_part.trace(exclusive=True, carried=True),
    "softmax": lambda: softmax.trace(),
    "softmax long": lambda: softmax.trace(schedule=row_schedule(1 << 16, 2)),
    "softmax 16384": lambda: softmax.trace(element="f32", schedule=row_schedule(16384, 4)),
    "transpose": lambda: transpose.trace(),
    "transpose f32": lambda: transpose.trace(element="f32", schedule=Squares(4)),
    "transpose shared": lambda: transpose.trace(schedule=Shared(2)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_text_reads_back(name: str) -> None:
    text = PROGRAMS[name]().text()
    assert vm.parse(text).text() == text


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_tile_changes_hands_for_a_layout(name: str) -> None:
    """The few layouts that a program states are enough: inference has nothing to convert."""
    lowered = compile_function(PROGRAMS[name]())
    assert [str(conversion) for conversion in lowered.conversions] == []


@pytest.mark.ptxas
@pytest.mark.parametrize("name", PROGRAMS)
def test_registers_suffice(name: str) -> None:
    try:
        find_assembler()
    except ToolMissingError as error:
        pytest.skip(f"no assembler: {error.message}")
    resources = compile_kernel(PROGRAMS[name](), "sm_90a").resources
    assert resources.spill_stores == resources.spill_loads == 0
    # Memory is kept busy by the blocks that wait for it together.
    assert resources.occupancy >= 0.25


def test_the_front_end_is_fast() -> None:
    for name, trace in PROGRAMS.items():
        compile_function(trace())
        best = min(_seconds(trace) for _ in range(3))
        assert best < 0.3, f"{name}: {best} s"


def _seconds(trace: Callable[[], Function]) -> float:
    start = time.process_time()
    compile_function(trace())
    return time.process_time() - start


def test_nothing_in_nothing_out(device: str) -> None:
    none, some = np.zeros((0, 8), np.float16), np.zeros((8, 0), np.float16)
    softmax(none, none, 0, 8, schedule=RowSchedule(1, 1, 8), device=device)
    softmax(some, some, 8, 0, schedule=RowSchedule(1, 1, 8), device=device)
    transpose(none, none, 1, 0, 8, device=device)
    y = np.full((8, 8), 7, np.float32)
    batched_matmul(some, none, y, 1, 8, 0, 8, 0, 0, out="f32", device=device)
    assert (y == 0).all()
