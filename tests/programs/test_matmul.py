"""The tiled product, and the one whose terms are cut into parts, against float64."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.programs import samples
from tileloom.programs.matmul.command import schedule_for
from tileloom.programs.matmul.hopper import HopperSchedule, matmul_wgmma
from tileloom.programs.matmul.program import Schedule, matmul, reference
from tileloom.programs.matmul.specialised import (
    Specialised,
    matmul_specialised,
    place_of,
    specialised_schedule,
)
from tileloom.programs.matmul.split_k import Split, matmul_split_k, split_for
from tileloom.runtime.assemble import assemble
from tileloom.vm import Kernel
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.expr import Const

from .closeness import assert_close

SHAPES = [(1, 8, 8), (40, 72, 136), (17, 300, 33), (3, 1000, 24)]


def drawn(
    m: int, k: int, n: int, element: str
) -> tuple[list[samples.Array], samples.Floats, samples.Floats]:
    rng = np.random.default_rng(k)
    pairs = [samples.draw(rng, shape, element) for shape in ((m, k), (k, n))]
    exact_a, exact_b = (exact for _, exact in pairs)
    weight = np.abs(exact_a) @ np.abs(exact_b)
    return [array for array, _ in pairs], reference(exact_a, exact_b), 2.0**-20 * weight


@pytest.mark.parametrize(("element", "out"), [("f16", "f32"), ("bf16", "bf16")])
def test_every_shape(device: str, element: str, out: str) -> None:
    for m, k, n in SHAPES:
        operands, expected, slack = drawn(m, k, n, element)
        c = samples.poisoned((m, n), out)
        matmul(
            *operands, c, m, k, n, element=element, out=out, device=device,
            schedule=schedule_for(k, n),
        )  # fmt: skip
        assert_close(c, expected, out, slack)


HOPPER = [
    ((1, 8, 8), HopperSchedule(64, 16, 64, 3)),
    ((100, 200, 136), HopperSchedule(128, 64, 64, 4)),
    ((70, 330, 34), HopperSchedule(64, 32, 32, 5, vector=2)),
    ((150, 136, 264), HopperSchedule()),
]


@pytest.mark.parametrize(("element", "out"), [("f16", "f32"), ("bf16", "bf16"), ("f16", "f16")])
@pytest.mark.parametrize("number", range(len(HOPPER)))
def test_products_of_warp_groups(device: str, number: int, element: str, out: str) -> None:
    (m, k, n), schedule = HOPPER[number]
    operands, expected, slack = drawn(m, k, n, element)
    c = samples.poisoned((m, n), out)
    matmul_wgmma(*operands, c, m, k, n, element=element, out=out, schedule=schedule, device=device)
    assert_close(c, expected, out, slack)


SPECIALISED = [
    ((1, 8, 8), Specialised(64, 16, 64, 2)),
    ((300, 200, 136), Specialised(128, 64, 64, 3, band=2, blocks=3)),  # several tiles a block
    ((70, 136, 264), Specialised()),
]


@pytest.mark.parametrize(("element", "out"), [("f16", "f32"), ("bf16", "bf16"), ("f16", "f16")])
@pytest.mark.parametrize("number", range(len(SPECIALISED)))
def test_specialised_warps(device: str, number: int, element: str, out: str) -> None:
    (m, k, n), schedule = SPECIALISED[number]
    operands, expected, slack = drawn(m, k, n, element)
    c = samples.poisoned((m, n), out)
    matmul_specialised(
        *operands, c, m, k, n, element=element, out=out, schedule=schedule, device=device
    )
    assert_close(c, expected, out, slack)


def test_schedules_fit_every_shape() -> None:
    for m in (1, 64, 65, 4096, 8192, 1 << 20):
        for n in (8, 128, 136, 4096, 8192):
            for bits in (16, 32):
                s = specialised_schedule(m, n)
                slots, height, width = s.leaving(bits)
                used = s.stages * s.stage_bytes + slots * height * width * bits // 8
                # Barriers, and what boxes are aligned to, take the rest.
                assert used <= 226 * 1024 and s.ahead * (s.groups - 1) < s.stages
                assert slots % s.groups == 0 and s.columns % width == 0
    assert specialised_schedule(4096, 4096) == Specialised(ahead=3)
    assert specialised_schedule(8192, 8192) == Specialised(band=16)
    assert specialised_schedule(16, 4096).rows == 64


def number_of(scalar: object) -> object:
    """The number that a scalar of constants is."""
    assert isinstance(scalar, vm.Scalar) and isinstance(scalar.expr, Const)
    return scalar.expr.value


def test_bands_visit_every_tile_once() -> None:
    for down, across in ((1, 1), (3, 5), (8, 2), (19, 7)):
        s = Specialised(64, 8)
        constants = [vm.constant(number) for number in (down, across)]
        seen = set()
        for tile in range(down * across):
            place = place_of(s, vm.constant(tile), *constants)
            seen.add(tuple(number_of(part) for part in place))
        assert seen == {(64 * i, 8 * j) for i in range(down) for j in range(across)}


@pytest.mark.ptxas
@pytest.mark.parametrize("kernel", [matmul_wgmma, matmul_specialised], ids=lambda k: k.name)
def test_registers_of_warp_groups(kernel: Kernel) -> None:
    """The largest tile fills the registers of one block a multiprocessor, and spills none."""
    ptx = compile_function(kernel.trace()).ptx
    (usage,) = assemble(ptx, "sm_90a").kernels
    assert usage.registers <= 255 and usage.spill_stores == usage.spill_loads == 0
    groups = Specialised().groups if kernel is matmul_specialised else 1  # each has code of its own
    assert ptx.count("wgmma.mma_async.sync.aligned.m64n256k16") == 4 * groups


@pytest.mark.parametrize(("element", "out"), [("f16", "f32"), ("bf16", "bf16"), ("f16", "f16")])
def test_terms_in_parts(device: str, element: str, out: str) -> None:
    small = Schedule(rows=32, columns=64, depth=32, row_warps=1, column_warps=2, vector=1)
    for (m, k, n), turns in (((40, 200, 70), 2), ((3, 1000, 24), 5), ((5, 90, 9), 1)):
        operands, expected, slack = drawn(m, k, n, element)
        c = samples.poisoned((m, n), out)
        split = Split(turns, -(-k // (32 * turns)))
        assert split.parts > 1
        matmul_split_k(
            *operands, c, m, k, n, schedule=small, split=split, element=element, out=out,
            device=device,
        )  # fmt: skip
        assert_close(c, expected, out, slack)


def test_the_parts_chosen(device: str) -> None:
    m, k, n = 16, 1040, 8
    schedule = Schedule(rows=16, columns=16, row_warps=1, column_warps=1)
    assert split_for(m, k, n, schedule) == Split(8, 5)
    operands, expected, slack = drawn(m, k, n, "f16")
    c = samples.poisoned((m, n), "f32")
    matmul_split_k(*operands, c, m, k, n, schedule=schedule, out="f32", device=device)
    assert_close(c, expected, "f32", slack)


def test_every_split_covers_its_terms() -> None:
    s = Schedule()
    for m, n in ((1, 1), (128, 128), (1000, 300), (8192, 8192)):
        for k in (1, 31, 32, 1000, 1 << 17):
            split = split_for(m, k, n, s)
            turns = -(-k // s.depth)
            assert (split.parts - 1) * split.turns < turns <= split.parts * split.turns
    assert split_for(8192, 8192, 8192, s).parts == 1
    assert split_for(128, 1 << 17, 128, s).parts >= 132  # every multiprocessor has work


def test_parts_need_room() -> None:
    c = np.zeros((4, 8), np.float16)
    with pytest.raises(UsageError, match="a workspace of 4 parts"):
        matmul_split_k(object(), c, c, 4, 1024, 8, schedule=Schedule())
