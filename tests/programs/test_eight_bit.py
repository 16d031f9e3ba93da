"""The quantized matmul of 8-bit activations: every weight, shape and schedule, on every device, and
the machine code."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tileloom.compiler import compile_function
from tileloom.programs.activations.activations import Activations, quantize_activations
from tileloom.programs.quantized_matmul import (
    Quantized,
    command,
    eight_bit_packing,
    linear,
    pack,
    quantize,
    unpack,
)
from tileloom.programs.quantized_matmul.eight_bit_config import ByteConfig
from tileloom.programs.quantized_matmul.eight_bit_forms import byte_form
from tileloom.programs.quantized_matmul.eight_bit_pack_program import pack_byte_weights
from tileloom.programs.quantized_matmul.eight_bit_packing import (
    ByteGeometry,
    BytePacked,
    pack_quads,
)
from tileloom.programs.quantized_matmul.eight_bit_plan import plan_bytes
from tileloom.programs.quantized_matmul.eight_bit_schedule import (
    SHARED_BYTES,
    ByteSchedule,
    candidates,
    choose_bytes,
    configure,
)
from tileloom.programs.quantized_matmul.plan import traced
from tileloom.programs.quantized_matmul.schedule import H100, Schedule
from tileloom.programs.quantized_matmul.wide_schedule import parse_schedule
from tileloom.runtime.assemble import assemble
from tileloom.runtime.toolkit import find_program
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import bf16, dtype

# Against float64 on the quantized operands: integers are exact but for sums in f32, and 8-bit
# floats are summed at less than f32's precision.
BARS = {"i8": 1e-6, "e4m3": 1e-3}
INTEGERS = [*(f"u{b}" for b in range(1, 9)), *(f"i{b}" for b in range(2, 9)), "b1", "b3", "b7"]
FLOATS = ["u1", "u2", "u3", "u4", "i3", "i4", "b1", "b4", "e1m1", "e2m1", "e2m3", "e3m2", "e4m2",
          "e4m3", "e5m2"]  # fmt: skip
WEIGHTS = [*((name, "i8") for name in INTEGERS), *((name, "e4m3") for name in FLOATS)]


def check(
    name: str,
    activation: str,
    m: int,
    k: int,
    n: int,
    device: str = "interpreter",
    out: str = "f32",
    bias: bool = False,
    schedule: str = "",
    **how: Any,
) -> None:
    """One product with a poisoned output against float64, as a whole and element by element."""
    rng = np.random.default_rng(m + k + n)
    q = quantize(rng.normal(size=(k, n)), name, **how)
    p = pack(q, activation)
    x = quantize_activations(rng.normal(size=(m, k)).astype(np.float16), activation,
                             device="interpreter")  # fmt: skip
    added = rng.normal(size=n).astype(np.float32) if bias else None
    kind: Any = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}[out]
    y: Any = np.full((m, n), np.nan if out != "bf16" else 0x7FFF, kind)
    chosen: Any = ByteSchedule.parse(schedule) if schedule else None
    assert linear(x, p, added, out=y, out_dtype=out, device=device, schedule=chosen) is y
    found = np.asarray(bf16.decode(y) if out == "bf16" else y, np.float64)
    values, weights = x.dequantize(), q.dequantize()
    reference = values @ weights + (0.0 if added is None else added)
    rounding = {"f32": 0.0, "f16": 2.0**-11, "bf16": 2.0**-8}[out]
    bar = BARS[activation]
    assert np.linalg.norm(found - reference) <= (bar + rounding) * np.linalg.norm(reference)
    bound = bar * (np.abs(values) @ np.abs(weights) + 1e-3) + rounding * np.abs(reference)
    assert (np.abs(found - reference) <= bound).all()


@pytest.mark.parametrize(("name", "activation"), WEIGHTS)
def test_every_weight(name: str, activation: str, device: str) -> None:
    check(name, activation, 20, 256, 72, device, group=128)
    if dtype(name).kind == "uint" and device == "interpreter":
        check(name, activation, 20, 256, 72, device, group=64, zero_point="none")


@pytest.mark.parametrize("name", ["u4", "u8", "i5", "b2"])
def test_integers_of_one_scale(name: str, device: str) -> None:
    check(name, "i8", 20, 300, 72, device, group="channel")
    check(name, "i8", 9, 48, 65, device, group="tensor", schedule="b16h2a3")


@pytest.mark.parametrize(
    ("m", "k", "n", "group", "schedule"),
    [
        (1, 128, 1, 128, ""),
        (33, 392, 300, 64, ""),  # a short group, ragged features and tokens
        (129, 640, 270, 128, "b48h2a2t"),
        (64, 1024, 270, 128, "b64h2a3c4t"),
        (40, 640, 130, 128, "b48h1a3c2"),  # parts of k of unlike length
        (24, 96, 130, 32, ""),
        (200, 256, 70, 128, "b208h1a2"),  # parts of the tokens
        (130, 256, 128, 256, "b80h2a2"),  # of unlike size; two chunks of a group
        (18, 256, 256, 128, "b8h2a4c2"),
        (33, 640, 390, 128, "b16h1a3s7t"),  # tiles cut between blocks, some more than once
        (50, 384, 200, 128, "b64h2a2s9"),
        (50, 384, 300, 128, "b16h1a3r5t"),  # blocks that take a tile after the other
        (7, 77, 50, 77, ""),  # rows that are no multiple of 16
    ],
)
def test_shapes_and_schedules(m: int, k: int, n: int, group: int, schedule: str) -> None:
    for name, activation in (("u4", "i8"), ("i8", "i8"), ("e2m1", "e4m3")):
        check(name, activation, m, k, n, group=group, schedule=schedule)
    if group >= 64:
        check("u3", "i8", m, k, n, group=group, schedule=schedule)


@pytest.mark.parametrize(
    "schedule", ["b16h1a2", "b80h2a2", "b32h2a3c2", "b144h1a2t", "b8h1a2s5t", "b8h1a2r3"]
)
def test_schedules_on_every_device(schedule: str, device: str) -> None:
    check("u4", "i8", 20, 264, 136, device, group=128, schedule=schedule)
    check("u8", "i8", 20, 136, 200, device, group="channel", schedule=schedule.rstrip("t"))
    check("u3", "e4m3", 20, 264, 136, device, group=128, schedule=schedule)


@pytest.mark.parametrize("schedule", ["b24h1a2", "b24h2a2c2"])
@pytest.mark.parametrize("out", ["f32", "f16", "bf16"])
def test_bias_and_output_dtypes(out: str, schedule: str, device: str) -> None:
    check("u4", "i8", 20, 256, 200, device, out, bias=True, schedule=schedule, group=128)
    check("e4m3", "e4m3", 20, 256, 131, device, out, bias=True, schedule=schedule, group="channel")


@pytest.mark.parametrize("activation", ["i8", "e4m3"])
def test_the_largest_codes(activation: str, device: str) -> None:
    """Sums of the largest products that there are: integers must not wrap, nor leave f32."""
    k = 1024
    x = quantize_activations(np.ones((8, k), np.float16), activation, device="interpreter")
    for name, group in (("i8", k), ("u4", 128)) if activation == "i8" else (("e4m3", k),):
        q = quantize(-np.ones((k, 64)), name, group)
        y = linear(x, pack(q, activation), out_dtype="f32", device=device)
        assert np.allclose(y, x.dequantize() @ q.dequantize(), rtol=1e-5)


def test_so_many_rows_that_integers_would_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^17 products of -128 by itself are 2^31: such sums are formed in parts."""
    assert ByteGeometry(8, (1 << 17) - 1, 1, 1 << 17).cut.one_scale
    assert not ByteGeometry(8, 1 << 17, 1, 1 << 17).cut.one_scale
    monkeypatch.setattr(eight_bit_packing, "MOST_ROWS", 300)
    check("i8", "i8", 20, 290, 72, group="channel")
    check("i8", "i8", 20, 300, 72, group="channel")
    q = quantize(np.ones((300, 8)), "i8", "channel")
    p = pack(q, "i8")
    assert p.geometry.scale_rows == 3
    assert np.array_equal(unpack(p).dequantize(), q.dequantize())


def test_floats_are_quantized_first(device: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 200)).astype(np.float16)
    q = quantize(rng.normal(size=(200, 30)), "u4", 128)
    for activation in ("i8", "e4m3"):
        p = pack(q, activation)
        y = linear(x, p, device=device)
        made = quantize_activations(x, activation, device=device)
        assert y.shape == (2, 5, 30) and y.dtype == np.float16
        assert np.array_equal(y, linear(made, p, device=device))
        reference = x.reshape(10, 200).astype(np.float64) @ q.dequantize()
        error = np.linalg.norm(y.reshape(10, 30) - reference) / np.linalg.norm(reference)
        assert 1e-4 < error < 0.05
    nothing = linear(x[:0], pack(q, "i8"), device=device)
    assert nothing.shape == (0, 5, 30)


def test_what_does_not_go_together() -> None:
    q = quantize(np.ones((128, 64)), "u4", 64)
    p, x = pack(q, "i8"), np.ones((2, 128), np.float16)
    with pytest.raises(VMError, match="`x` is quantized to e4m3, the weight is packed for i8"):
        linear(quantize_activations(x, "e4m3", device="interpreter"), p, device="interpreter")
    with pytest.raises(VMError, match="a scale for each 32 elements"):
        linear(quantize_activations(x, "i8", 32, device="interpreter"), p, device="interpreter")
    with pytest.raises(VMError, match="rows of 64"):
        linear(x[:, :64].copy(), p, device="interpreter")
    with pytest.raises(VMError, match="`out` is"):
        linear(x, p, out=np.zeros((2, 65), np.float16), device="interpreter")
    with pytest.raises(VMError, match="not an array"):
        linear([1.0], p)  # type: ignore[arg-type]
    with pytest.raises(VMError, match="is no schedule of i8 activations"):
        linear(x, p, device="interpreter", schedule=parse_schedule("n64g2h2a4"))
    with pytest.raises(VMError, match="a schedule of 8-bit activations"):
        linear(x, pack(q), device="interpreter", schedule=ByteSchedule(16, 1, 4))


@pytest.mark.parametrize(
    ("name", "activation", "how", "match"),
    [
        ("u4", "i8", {"zero_point": "int"}, 'zero point "int" needs f16'),
        ("e4m3", "i8", {}, "no tensor core multiplies `e4m3` by i8"),
        ("b8", "i8", {}, "no tensor core multiplies `b8` by i8"),
        ("u5", "e4m3", {}, "no tensor core multiplies `u5` by e4m3"),
        ("nf4", "e4m3", {}, "no tensor core multiplies `nf4` by e4m3"),
        ("e5m1", "e4m3", {}, "no tensor core multiplies `e5m1` by e4m3"),
        ("u4", "i8", {"group": 48}, "groups of 48 rows"),
        ("u3", "i8", {"group": 32}, "a multiple of 64 rows for 3 bits"),
        ("u4", "e4m2", {}, "activations can't be `e4m2`"),
    ],
)
def test_what_can_not_be_packed(
    name: str, activation: str, how: dict[str, Any], match: str
) -> None:
    q = quantize(np.ones((128, 8)), name, **{"group": 64, **how})
    with pytest.raises(VMError) as raised:
        pack(q, activation)
    assert match in str(raised.value)


@pytest.mark.parametrize(("name", "activation"), WEIGHTS)
def test_bytes_are_the_values(name: str, activation: str) -> None:
    """Every code, exactly, by way of its packed code."""
    kind = dtype(name)
    for zero_point in ("symmetric", "none") if kind.kind == "uint" else ("none",):
        form = byte_form(kind, zero_point, activation)
        codes = np.arange(1 << kind.bits, dtype=np.uint8)
        packed = np.asarray(form.table, np.uint8)
        assert sorted(packed) == sorted(codes)
        values = kind.decode(codes) - (2.0 ** (kind.bits - 1) if zero_point == "symmetric" else 0)
        found = dtype(form.operand).decode(form.bytes_of(packed)) * 2.0**-form.exponent
        finite = np.isfinite(values)
        assert np.array_equal(found[finite], values[finite])


@given(st.sampled_from(WEIGHTS), st.integers(1, 400), st.integers(1, 200), st.integers(1, 6))
def test_packing_round_trips(which: tuple[str, str], k: int, n: int, groups: int) -> None:
    name, activation = which
    rng = np.random.default_rng(k)
    kind, group = dtype(name), 64 * groups
    codes = rng.integers(0, 1 << kind.bits, (k, n)).astype(np.uint8)
    scales = rng.uniform(1, 2, (-(-k // min(group, k)), n)).astype(np.float16).astype(np.float32)
    zero_point: Any = "symmetric" if kind.kind == "uint" else "none"
    if group < k or groups % 2:
        q = Quantized(codes, scales, None, kind, min(group, k), zero_point)
        p = pack(q, activation)
        assert isinstance(p, BytePacked)
        back = unpack(p)
        assert np.array_equal(back.codes, codes) and np.array_equal(back.scales, scales)
        assert p.words.nbytes * 8 == p.words.size * 32 >= k * n * kind.bits


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_packing_program(bits: int, device: str) -> None:
    for k, n, group in ((200, 100, 64), (300, 40, 300), (128, 129, 128)):
        geometry = ByteGeometry(bits, k, n, group)
        codes = np.random.default_rng(k).integers(0, 1 << bits, (k, n)).astype(np.uint8)
        words = np.full(geometry.word_shape(), 7, np.uint32)
        sizes = (k, n, geometry.num_chunks)
        pack_byte_weights(codes, words, *sizes, cut=geometry.cut, device=device)
        assert np.array_equal(words, pack_quads(codes, geometry))


def test_tags_tell_packings_apart() -> None:
    q = quantize(np.ones((128, 64)), "u4", 64)
    tags = {pack(q, a).tag for a in ("f16", "i8", "e4m3")}
    assert len(tags) == 3


problems = st.builds(
    lambda which, k, n, group: (which, ByteGeometry(dtype(which[0]).bits, k, n, min(group, k))),
    st.sampled_from(WEIGHTS),
    st.one_of(st.integers(1, 3000), st.sampled_from([4096, 8192, 57344])),
    st.one_of(st.integers(1, 3000), st.sampled_from([4096, 8192, 57344])),
    st.sampled_from([64, 128, 256, 1 << 20]),
)


@given(problems, st.integers(1, 9000))
def test_every_choice_is_legal(problem: Any, m: int) -> None:
    (name, activation), geometry = problem
    zero_point = "symmetric" if dtype(name).kind == "uint" else "none"
    form = byte_form(dtype(name), zero_point, activation)
    config = ByteConfig(geometry.cut, form, activation, "f16")
    chosen = choose_bytes(geometry, m, H100, config)
    assert chosen in list(candidates(geometry, m, H100, config))
    for schedule in candidates(geometry, m, H100, config):
        assert ByteSchedule.parse(str(schedule)) == schedule
        whole = configure(schedule, config)
        assert whole.shared_bytes <= SHARED_BYTES
        assert [t for part in whole.parts() for t in part] == list(range(whole.tokens))


@pytest.mark.parametrize("text", ["", "b64", "b64h2", "b64h2a", "b64h2a4c", "b64h2a4tt"])
def test_a_wrong_word_is_told(text: str) -> None:
    with pytest.raises(VMError, match="is no schedule"):
        ByteSchedule.parse(text)


@pytest.mark.parametrize(
    "text", ["b40h1a2", "b256h2a2", "b256h1a9", "b64h1a1", "b256h1a2c2", "b64h1a2c2s9"]
)
def test_a_schedule_without_a_kernel(text: str) -> None:
    p = pack(quantize(np.zeros((256, 256)), "u4", group=128), "i8")
    with pytest.raises(VMError, match="is no schedule of i8"):
        plan_bytes(p, 64, "f16", schedule=ByteSchedule.parse(text))


def test_the_other_kernels_schedules_are_told_apart() -> None:
    assert isinstance(parse_schedule("k8f1t8s1"), Schedule)


@pytest.mark.parametrize(
    ("name", "activation", "schedule", "group", "spills"),
    [
        ("u4", "i8", "b64h2a4", 128, 0),
        ("u4", "i8", "b256h1a4s132t", 128, 160),
        ("u3", "i8", "b64h1a4", 128, 0),
        ("u8", "i8", "b256h1a3", "channel", 0),
        ("e2m1", "e4m3", "b128h1a4t", 128, 0),
        ("u4", "e4m3", "b64h2a4", 128, 0),
    ],
)
def test_machine_code(
    name: str, activation: str, schedule: str, group: int | str, spills: int, tmp_path: Path
) -> None:
    """Weights are the left operand from registers, and nothing is serialised."""
    p = pack(quantize(np.zeros((256, 256)), name, group), activation)
    plan = plan_bytes(p, 64, "f16", schedule=ByteSchedule.parse(schedule))
    lowered = compile_function(traced(plan.config))
    assert not [str(c) for c in lowered.conversions if "shared" in str(c)]
    assembled = assemble(lowered.ptx, "sm_90a")
    (kernel,) = assembled.kernels
    assert kernel.registers <= 168 and kernel.spill_stores <= spills
    tool = find_program("cuobjdump")
    if tool is None:
        pytest.skip("no cuobjdump")
    import subprocess

    (tmp_path / "k.cubin").write_bytes(assembled.cubin)
    command = [str(tool), "-sass", str(tmp_path / "k.cubin")]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kind = "I" if activation == "i8" else "Q"
    left = re.findall(rf"{kind}GMMA\.64x\d+x32\S* R\d+, (R\d+|gdesc)", code)
    # Four steps of k a slab, part of the tokens and warp group.
    assert len(left) == 4 * 2 * plan.config.slabs * len(plan.config.parts())
    assert all(source.startswith("R") for source in left)
    assert "UTMALDG" in code and "USETMAXREG" in code


def test_the_command(device: str) -> None:
    sizes = {"m": 5, "k": 256, "n": 70, "group": 128, "zero_point": None, "seed": 0}
    for weight, activation in (("u4", "i8"), ("e2m1", "e4m3")):
        args = Namespace(weight=weight, activation=activation, device=device, **sizes)
        found = command.run(args)
        assert found["rel_error"] < BARS[activation] and found["us"] > 0
        (function,) = command.compile(Namespace(**vars(args), target="sm_90a"))
        assert function.name == "matmul_eight_bit"
    with pytest.raises(VMError, match="no record of schedules for i8"):
        command.tune(Namespace(weights="u4", shapes="256x64", m="1", group=128, activation="i8"))


def test_quantized_elsewhere() -> None:
    """Codes and scales that a user made."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (3, 64)).astype(np.int8)
    scales = rng.uniform(0.5, 1, (3, 1)).astype(np.float32)
    q = quantize(rng.normal(size=(64, 16)), "i8", "channel")
    y = linear(Activations(codes, scales, 64, "i8"), pack(q, "i8"), out_dtype="f32",
               device="interpreter")  # fmt: skip
    assert np.allclose(y, codes.astype(np.float64) * scales @ q.dequantize(), rtol=1e-5, atol=1e-4)
