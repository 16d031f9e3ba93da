"""The decode kernels' main loops in machine code, beside what the planner of decodes counted."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tileloom.programs.quantized_matmul.schedule import Schedule
from tileloom.programs.quantized_matmul.tuning import Problem
from tileloom.runtime.errors import ToolMissingError
from tileloom.runtime.sass import nvdisasm_version
from tileloom.runtime.toolkit import find_assembler

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "main_loop.py"


@pytest.fixture(scope="module")
def main_loop() -> ModuleType:
    try:
        find_assembler()
        nvdisasm_version()
    except ToolMissingError as error:
        pytest.skip(f"no tools: {error.message}")
    spec = importlib.util.spec_from_file_location("main_loop", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["main_loop"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.ptxas
@pytest.mark.parametrize(
    ("weight", "m", "most", "word"),
    [("u1", 1, 260, ""), ("u2", 16, 370, ""), ("u3", 8, 360, ""), ("u4", 8, 300, ""),
     ("u4", 16, 385, ""), ("e2m1", 8, 480, ""),
     # What is chosen has words of 8 bits wait in registers, and moves them on every turn.
     ("u8", 1, 175, "k8f1t8s1d0a2wb2"), ("e4m3", 1, 190, "k8f1t8s1d0a2wb2")],
)  # fmt: skip
def test_a_turn_takes_what_was_planned(
    main_loop: ModuleType, weight: str, m: int, most: int, word: str
) -> None:
    schedule = Schedule.parse(word) if word else None
    found = main_loop.row(Problem(weight, 8192, 8192, m), schedule)
    planned = found["planned_per_weight"]
    assert planned <= found["decode_per_weight"] <= 1.06 * planned + 0.035, found
    assert found["instructions_per_turn"] <= most, found
    assert found["turns"] == int(found["turns"]) and found["spilled_bytes"] <= 64


@pytest.mark.ptxas
def test_addresses_cost_the_same_for_every_width(main_loop: ModuleType) -> None:
    """What isn't decode, products, scales or copies is a small part of a turn."""
    found = main_loop.row(Problem("u4", 8192, 8192, 8), Schedule.parse("k8f1t8s1d0a2wb2"))
    kinds = found["by_kind"]
    named = ("HMMA", "LOP3", "SHF", "FFMA", "LDGSTS", "LDS", "LDSM", "HADD2")
    assert found["instructions_per_turn"] - sum(kinds.get(n, 0) for n in named) <= 40, kinds
