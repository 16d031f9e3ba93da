"""The quantized matmul of many tokens: every kind of weight, on the interpreter and the emulator,
and the machine code."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tileloom.compiler import compile_function
from tileloom.programs.quantized_matmul import geometry, linear, pack, quantize
from tileloom.programs.quantized_matmul.geometry import Geometry
from tileloom.programs.quantized_matmul.plan import plan, traced
from tileloom.programs.quantized_matmul.quantization import Quantized, legal_zero_points
from tileloom.programs.quantized_matmul.schedule import Machine
from tileloom.programs.quantized_matmul.wide_config import WideConfig
from tileloom.programs.quantized_matmul.wide_schedule import (
    SHARED_BYTES,
    WideSchedule,
    choose_wide,
    configure,
    parse_schedule,
    wide_candidates,
)
from tileloom.runtime.assemble import assemble
from tileloom.runtime.toolkit import find_program
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import bf16, dtype, predefined

MACHINE, WITHOUT = Machine(), Machine(warp_groups=False)
BARS = {"f16": 6e-4, "bf16": 4e-3}
ULP = {"f16": 2.0**-11, "bf16": 2.0**-8}
NAMES = [
    each.name
    for each in predefined()
    if each.bits <= 8 and each.specials != "scale" and each.kind != "bool"
]


def check(
    name: str,
    m: int,
    k: int,
    n: int,
    device: str = "interpreter",
    activation: str = "f16",
    out: str = "",
    bias: bool = False,
    schedule: str | None = None,
    magnitude: float = 1.0,
    **how: Any,
) -> None:
    """One product with a poisoned output against float64, as a whole and element by element."""
    rng = np.random.default_rng(m + k + n)
    q = quantize(magnitude * rng.normal(size=(k, n)), name, **how)
    x: Any = rng.normal(size=(m, k)).astype(np.float16)
    exact = x.astype(np.float64)
    if activation == "bf16":
        x = np.asarray(bf16.encode(exact), np.uint16)
        exact = np.asarray(bf16.decode(x), np.float64)
    added = rng.normal(size=n).astype(np.float32) if bias else None
    kind = np.float32 if out == "f32" else np.uint16 if activation == "bf16" else np.float16
    y: Any = np.full((m, n), np.nan if kind != np.uint16 else 0x7FFF, kind)
    p = pack(q, activation)
    config = WideConfig(p.geometry.cut, name, activation, p.zero_point, out or activation)
    chosen: Any = choose_wide(p.geometry, m, MACHINE, config)
    if schedule is not None:
        chosen = parse_schedule(schedule)
    assert isinstance(plan(p, m, activation, out or activation, schedule=chosen).config, WideConfig)
    linear(x, p, added, out=y, device=device, schedule=chosen)
    found = np.asarray(bf16.decode(y) if kind == np.uint16 else y, np.float64)
    weights = q.dequantize()
    reference = exact @ weights + (0.0 if added is None else added)
    bar = BARS[activation] if out != "f32" else BARS[activation] / 1.5
    assert np.linalg.norm(found - reference) <= bar * np.linalg.norm(reference)
    # A weight and a scale are rounded, and the result.
    bound = 3 * ULP[activation] * (np.abs(exact) @ np.abs(weights))
    assert (np.abs(found - reference) <= bound + ULP[activation] * np.abs(reference)).all()


@pytest.mark.parametrize("activation", ["f16", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_every_dtype_and_zero_point(name: str, activation: str) -> None:
    for zero_point in legal_zero_points(dtype(name)):
        check(name, 20, 128, 72, activation=activation, group=64, zero_point=zero_point)


@pytest.mark.parametrize("name", ["u4", "u1", "u6", "u8", "e4m3"])
@pytest.mark.parametrize(
    ("activation", "zero_point"), [("f16", "int"), ("f16", None), ("bf16", "float")]
)
def test_every_device(name: str, activation: str, zero_point: str | None, device: str) -> None:
    if device == "interpreter":
        pytest.skip("every dtype runs on it above")
    if dtype(name).kind != "uint":
        zero_point = None
    check(name, 19, 256, 72, device, activation, group=128, zero_point=zero_point)


@pytest.mark.parametrize(
    ("m", "k", "n", "group", "schedule"),
    [
        (17, 128, 1, 128, None),
        (33, 392, 300, 64, None),  # a short group, ragged features and tokens
        (129, 1024, 520, 128, "n48g2h2a2"),
        (64, 1024, 520, 128, "n64g2h2a3b9"),
        (40, 640, 264, 128, "n16g2h2a3b4"),  # parts of k of unlike length
        (24, 96, 130, 48, None),
        (20, 1032, 64, 1032, None),  # one row of scales
        (130, 256, 128, 64, "n128g2h2a2"),
        (40, 160, 128, 80, None),  # spans of unlike length
        (18, 256, 256, 128, "n8g2h2a2b2p32"),
        (40, 640, 512, 128, "n16g2h2a3b4"),  # blocks that share tiles: 30 chunks by 8
        (40, 640, 520, 128, "n40g2h2a3b7"),  # tiles of three blocks
        (40, 256, 520, 128, "n8g2h2a2b30"),  # a block for each chunk
        (40, 640, 520, 128, "n24g2h2a2c2"),
        (64, 640, 256, 128, "n64g2h2a2c2"),
        (40, 640, 264, 128, "n32g2h2a2c3"),  # parts of k and shares of tokens of unlike length
        (40, 128, 300, 128, "n24g2h2a2c4"),  # a cluster with more blocks than chunks
    ],
)
def test_shapes_and_schedules(m: int, k: int, n: int, group: int, schedule: str | None) -> None:
    check("u4", m, k, n, group=group, schedule=schedule)
    if group % 64 == 0 and group <= 128:  # else a feature block has more tiles than two slabs serve
        check("u3", m, k, n, group=group, schedule=schedule)
    check("u8", m, k, n, group=group, zero_point="int")


@pytest.mark.parametrize(
    "schedule",
    [
        "n16g2h2a2",
        "n24g2h2a3p16",
        "n16g2h2a3b2p32",
        "n16g2h2a2b1",
        "n8g2h2a2b5",
        "n24g2h2a3b3",
        "n8g2h2a2r2",
        "n16g2h2a2r9",
        "n16g2h2a2c2",
        "n24g2h1a3c2",
        "n16g2h1a2c3",  # shares of the tokens that don't come out even
    ],
)
def test_schedules_on_every_device(schedule: str, device: str) -> None:
    check("u4", 20, 520, 264, device, group=128, schedule=schedule)


@pytest.mark.parametrize("schedule", [None, "n24g2h2a2", "n16g2h2a2b3", "n16g2h2a2c2"])
def test_wider_blocks_of_4_bits(
    monkeypatch: pytest.MonkeyPatch, schedule: str | None, device: str
) -> None:
    """Blocks of 64 features, which large matrices have."""
    monkeypatch.setattr(geometry, "LARGEST_NARROW", 0)
    assert Geometry(4, 520, 264, 128).cut.tiles == 4
    for name in ("u4", "e2m1") if device == "interpreter" else ("u4",):
        check(name, 20, 520, 264, device, group=128, schedule=schedule)


@pytest.mark.parametrize("schedule", ["n24g2h2a2", "n24g2h2a2b3", "n24g2h2a2c2"])
def test_bias_and_output_dtypes(schedule: str) -> None:
    check("u4", 20, 256, 200, bias=True, schedule=schedule, group=128)
    check("u4", 20, 256, 200, bias=True, out="f32", schedule=schedule, group=128)
    check("u5", 20, 256, 200, activation="bf16", bias=True, schedule=schedule, group=128)


@pytest.mark.parametrize("magnitude", [2.0**-30, 2.0**20])
def test_weights_of_any_size(magnitude: float) -> None:
    for name, zero_point in (("u4", "float"), ("e5m2", None), ("u8", "int")):
        check(name, 24, 256, 64, out="f32", magnitude=magnitude, zero_point=zero_point)


@pytest.mark.parametrize("power", [-9, -20])
@pytest.mark.parametrize(
    ("name", "zero_point"), [("u8", "int"), ("u5", "float"), ("u6", None), ("e4m3", None)]
)
def test_small_scales_keep_their_bits(name: str, zero_point: str | None, power: int) -> None:
    """Stored scales far below f16's largest, as no `pack` leaves them."""
    rng = np.random.default_rng(0)
    q = quantize(rng.normal(size=(128, 64)), name, 64, zero_point)  # type: ignore[arg-type]
    packed = pack(q)
    scale = np.float16(2.0**power)
    small: Any = replace(
        packed, scales=packed.scales * scale, scale_unit=packed.scale_unit / float(scale), state={}
    )
    x = rng.normal(size=(24, 128)).astype(np.float16)
    schedule: Any = WideSchedule.parse("n24g2h2a2")
    found = [linear(x, p, device="interpreter", schedule=schedule) for p in (packed, small)]
    assert np.array_equal(*found)


@pytest.mark.parametrize("name", ["u8", "u4", "e4m3", "b6", "nf4"])
def test_columns_of_unlike_size(name: str) -> None:
    """Every column has a relative error as small as the others, down to 2^-20 of the largest."""
    rng = np.random.default_rng(0)
    sizes = 2.0 ** -np.linspace(0, 20, 64).round()
    q = quantize(rng.normal(size=(256, 64)) * sizes, name, 128)
    x = rng.normal(size=(24, 256)).astype(np.float16)
    schedule: Any = WideSchedule.parse("n24g2h2a2")
    y = linear(x, pack(q), out_dtype="f32", device="interpreter", schedule=schedule)
    reference = x.astype(np.float64) @ q.dequantize()
    errors = np.linalg.norm(y - reference, axis=0) / np.linalg.norm(reference, axis=0)
    assert errors.max() <= BARS["f16"]


def test_zero_points_far_from_the_codes() -> None:
    """Weights that are all about 100: what is taken away is larger than any code."""
    rng = np.random.default_rng(0)
    w = 100 + rng.normal(size=(256, 64))
    q = quantize(w, "u4", 128, "float")
    x = rng.normal(size=(24, 256)).astype(np.float16)
    schedule: Any = WideSchedule.parse("n24g2h2a2")
    y = linear(x, pack(q), out_dtype="f32", device="interpreter", schedule=schedule)
    reference = x.astype(np.float64) @ q.dequantize()
    assert np.isfinite(y).all()
    bound = 3 * 2.0**-11 * (np.abs(x.astype(np.float64)) @ np.abs(q.dequantize()))
    assert (np.abs(y - reference) <= bound).all()


@pytest.mark.parametrize("zero", [-65504.0, -65216.0, 65504.0])
@pytest.mark.parametrize("activation", ["f16", "bf16"])
def test_zero_points_at_the_ends_of_f16(zero: float, activation: str) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (128, 64)).astype(np.uint8)
    scales, zeros = np.full((1, 64), 2.0**-12, np.float32), np.full((1, 64), zero, np.float32)
    q = Quantized(codes, scales, zeros, dtype("u8"), 128, "float")
    exact = bf16.decode(bf16.encode(rng.normal(size=(20, 128)))).astype(np.float64)
    x: Any = exact.astype(np.float16) if activation == "f16" else bf16.encode(exact)
    y = linear(x, pack(q, activation), out_dtype="f32", device="interpreter")
    assert isinstance(plan(pack(q), 20, "f16", "f16").config, WideConfig) == (zero > -65248)
    weights = q.dequantize()
    bound = 2 * ULP[activation] * (np.abs(exact) @ np.abs(weights))
    assert (np.abs(y - exact @ weights) <= bound).all()


def problems() -> st.SearchStrategy[tuple[Geometry, WideConfig]]:
    def make(name: str, k: int, n: int, group: int) -> tuple[Geometry, WideConfig]:
        cut = Geometry(dtype(name).bits, k, n, min(group, k))
        return cut, WideConfig(cut.cut, name, "f16", "int", "f16")

    sizes = st.one_of(st.integers(1, 3000), st.sampled_from([4096, 8192, 57344]))
    groups = st.sampled_from([1, 7, 16, 32, 48, 64, 128, 256, 1 << 20])
    return st.builds(make, st.sampled_from([f"u{b}" for b in range(1, 9)]), sizes, sizes, groups)


@given(problems(), st.integers(1, 5000))
def test_every_choice_is_legal(problem: tuple[Geometry, WideConfig], m: int) -> None:
    cut, config = problem
    chosen = choose_wide(cut, m, MACHINE, config)
    if chosen is None:
        assert m < 17 or not cut.cut.contiguous or cut.cut.tiles > 4
        return
    for schedule in (chosen, *wide_candidates(cut, m, config)):
        assert WideSchedule.parse(str(schedule)) == schedule
        assert 8 <= schedule.tokens <= 128 and schedule.tokens % 8 == 0 and schedule.stages >= 2
        whole = configure(schedule, config)
        assert whole.slabs * whole.tokens <= 256 and whole.columns >= 1
        assert whole.shared_bytes <= SHARED_BYTES and schedule.parts <= MACHINE.multiprocessors
        assert schedule.cluster == 1 or not schedule.parts
    assert choose_wide(cut, m, WITHOUT, config) is None


@pytest.mark.parametrize("text", ["", "n64", "n64g2h2", "n64g2h2a", "n64g2h2a4c", "k8f1"])
def test_a_wrong_word_is_told(text: str) -> None:
    with pytest.raises(VMError, match="is no schedule"):
        parse_schedule(text)


def test_a_schedule_that_does_not_fit() -> None:
    q = pack(quantize(np.zeros((128, 64)), "u6", 32))
    with pytest.raises(VMError, match="has clusters and shared tiles"):
        plan(q, 64, "f16", "f16", schedule=WideSchedule.parse("n64g2h2a3c2b8"))
    with pytest.raises(VMError, match="doesn't fit weights of 4 feature tiles"):
        plan(q, 64, "f16", "f16", schedule=WideSchedule.parse("n64g2h1a3"))


def test_groups_and_rows_that_a_schedule_by_request_does_not_serve() -> None:
    """Chunks that are padded between groups would meet other rows of x."""
    schedule = WideSchedule.parse("n24g2h2a2")
    padded = pack(quantize(np.ones((100, 64)), "u4", 33))
    assert not padded.geometry.cut.contiguous
    for p, vector in ((padded, 8), (pack(quantize(np.ones((100, 64)), "u4", 32)), 4)):
        with pytest.raises(VMError, match="asks for rows of x"):
            plan(p, 24, "f16", "f16", vector=vector, schedule=schedule)


def test_rows_of_x_that_the_copy_engine_cannot_read() -> None:
    """Rows of an odd number of elements: the other kernel serves them."""
    q = pack(quantize(np.zeros((100, 64)), "u4", 32))
    for machine, vector, is_wide in ((MACHINE, 8, True), (MACHINE, 4, False), (WITHOUT, 8, False)):
        chosen = plan(q, 64, "f16", "f16", vector=vector, machine=machine)
        assert isinstance(chosen.config, WideConfig) is is_wide


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("u4", "n64g2h2a4b132"),
        ("u4", "n64g2h1a4c2"),
        ("u4", "n128g2h2a3"),
        ("u3", "n96g2h2a2"),
        ("u8", "n64g2h2a3"),
    ],
)
def test_machine_code(name: str, schedule: str, tmp_path: Path) -> None:
    """Weights are the left operand from registers, and nothing is serialised."""
    p = pack(quantize(np.zeros((256, 256)), name, group=128))
    chosen = WideSchedule.parse(schedule)
    function = traced(plan(p, 64, "f16", "f16", schedule=chosen).config)
    assembled = assemble(compile_function(function).ptx, "sm_90a")
    (kernel,) = assembled.kernels
    assert kernel.registers <= 168
    tool = find_program("cuobjdump")
    if tool is None:
        pytest.skip("no cuobjdump")
    import subprocess

    (tmp_path / "k.cubin").write_bytes(assembled.cubin)
    command = [str(tool), "-sass", str(tmp_path / "k.cubin")]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    left = re.findall(rf"HGMMA\.64x{chosen.tokens}x16\.F32 R\d+, (R\d+|gdesc)", code)
    # Eight steps of k a slab and warp group.
    assert len(left) == 8 * chosen.slabs * chosen.groups
    assert all(source.startswith("R") for source in left)
    assert "UTMALDG" in code and "USETMAXREG" in code
