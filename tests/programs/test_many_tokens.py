"""The quantized matmul on the tensor cores of warp groups: every kind of weight against float64,
and the machine code of the largest tiles."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tileloom.compiler import compile_function
from tileloom.programs.quantized_matmul import Schedule, linear, pack, quantize
from tileloom.programs.quantized_matmul.plan import plan, traced
from tileloom.runtime.assemble import assemble
from tileloom.runtime.toolkit import find_program
from tileloom.vm.diagnostics import VMError

PTXAS = find_program("ptxas")
BAR = 6e-4  # relative error of the product, f16 output included


def check(
    name: str, m: int, k: int, n: int, schedule: Schedule, device: str, **how: object
) -> None:
    rng = np.random.default_rng(m + k)
    q = quantize(rng.normal(size=(k, n)), name, **how)  # type: ignore[arg-type]
    x = rng.normal(size=(m, k)).astype(np.float16)
    out = np.full((m, n), np.nan, np.float16)
    y = linear(x, pack(q), out=out, device=device, schedule=schedule).astype(np.float64)
    reference = x.astype(np.float64) @ q.dequantize()
    assert np.linalg.norm(y - reference) <= BAR * np.linalg.norm(reference)


def groups(tokens: int, feature_warps: int = 4, splits: int = 1, stages: int = 4) -> Schedule:
    return Schedule(1, feature_warps, tokens, splits, stages=stages, warp_groups=True)


@pytest.mark.parametrize("name", ["u4", "i4", "u1", "u2", "u3", "u6", "u8", "b3", "e4m3", "nf4"])
def test_every_kind_of_weight(name: str, device: str) -> None:
    """Several parts of k a word, forms with constants, casts: all end in the same sums."""
    check(name, 20, 256, 200, groups(24), device, group=128)


@pytest.mark.parametrize(
    ("m", "k", "n", "schedule"),
    [
        (17, 384, 300, groups(8, stages=2)),  # ragged tokens, features and blocks of tokens
        (40, 200, 64, groups(40, 8, stages=3)),  # part of a group, two warp groups
        (1, 640, 512, groups(16, splits=3)),  # k in parts
    ],
)
def test_shapes(m: int, k: int, n: int, schedule: Schedule, device: str) -> None:
    check("u4", m, k, n, schedule, device, group=128)


@pytest.mark.parametrize("zero_point", ["int", "float"])
def test_zero_points(zero_point: str, device: str) -> None:
    check("u4", 24, 256, 256, groups(24), device, group=64, zero_point=zero_point)


@pytest.mark.parametrize("name", ["u4", "u2", "u3", "u8", "e2m1", "nf4"])
def test_staged_words_and_scaled_weights(name: str, device: str) -> None:
    schedule = replace(groups(40, stages=3), stage_words=True, scale_weights=True)
    check(name, 36, 128, 200, schedule, device, group=64)


@pytest.mark.parametrize("scale_weights", [False, True])
@pytest.mark.parametrize("zero_point", ["int", "none"])
def test_both_ways_to_scale(zero_point: str, scale_weights: bool, device: str) -> None:
    schedule = replace(groups(16, 8), stage_words=True, scale_weights=scale_weights)
    check("u4", 10, 256, 200, schedule, device, group=128, zero_point=zero_point)


@pytest.mark.parametrize("tokens", [24, 32])
def test_machine_code(tokens: int, tmp_path: Path) -> None:
    """Weights are the left operand from registers, nothing spills and nothing is serialised."""
    p = pack(quantize(np.zeros((256, 256)), "u4", group=128))
    function = traced(plan(p, 32, "f16", "f16", schedule=groups(tokens)).config)
    assembled = assemble(compile_function(function).ptx, "sm_90a")
    (kernel,) = assembled.kernels
    assert kernel.spill_stores == kernel.spill_loads == 0
    tool = Path(PTXAS).with_name("cuobjdump") if PTXAS is not None else Path("none")
    if not tool.exists():
        pytest.skip("no cuobjdump")
    (tmp_path / "k.cubin").write_bytes(assembled.cubin)
    command = [str(tool), "-sass", str(tmp_path / "k.cubin")]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    left = re.findall(rf"HGMMA\.64x{tokens}x16\.F32 R\d+, (R\d+|gdesc)", code)
    # Four feature tiles and the ones, eight steps of k each.
    assert len(left) == 5 * 8 and all(source.startswith("R") for source in left)


def test_weights_that_scales_could_put_beyond_f16() -> None:
    """The largest values of a dtype of many exponents; and zero points of any size are refused."""
    schedule = replace(groups(24), stage_words=True, scale_weights=True)
    check("e5m2", 20, 256, 64, schedule, "interpreter", group=128)
    q = quantize(np.ones((128, 64)), "u4", group=128, zero_point="float")
    with pytest.raises(VMError, match="can't multiply bf16"):
        plan(pack(q, "bf16"), 20, "bf16", "bf16", schedule=groups(24))
    with pytest.raises(VMError, match="scales weights"):
        plan(pack(q), 20, "f16", "f16", schedule=schedule)
