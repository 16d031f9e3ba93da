"""Batched products against float64, for every way to store the operands."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.layouts import local, spatial
from tileloom.layouts.banks import access_wavefronts, ldmatrix_wavefronts
from tileloom.programs import samples
from tileloom.programs.batched_matmul.program import batched_matmul, reference, schedule_for
from tileloom.programs.matmul.turns import spread

from .closeness import assert_close

SHAPES = [(3, 40, 72, 136), (2, 17, 33, 9), (5, 1, 8, 8), (2, 130, 40, 24), (1, 1, 1, 1)]


def check(
    shape: tuple[int, int, int, int],
    device: str,
    turned_a: bool = False,
    turned_b: bool = False,
    shared: bool = False,
    element: str = "f16",
    out: str = "f32",
) -> None:
    batch, m, k, n = shape
    rng = np.random.default_rng(k)
    count = 1 if shared else batch
    a, exact_a = samples.draw(rng, (batch, k, m) if turned_a else (batch, m, k), element)
    b, exact_b = samples.draw(rng, (count, n, k) if turned_b else (count, k, n), element)
    strides = (m * k, 0 if shared else k * n)
    schedule = schedule_for(m, k, n, a.shape[2], b.shape[2], *strides)
    c = samples.poisoned((batch, m, n), out)
    batched_matmul(
        a, b, c, batch, m, k, n, *strides, turned_a=turned_a, turned_b=turned_b,
        element=element, out=out, schedule=schedule, device=device,
    )  # fmt: skip
    exact_a = exact_a.transpose(0, 2, 1) if turned_a else exact_a
    exact_b = exact_b.transpose(0, 2, 1) if turned_b else exact_b
    weight = np.abs(exact_a) @ np.abs(exact_b)
    assert_close(c, reference(exact_a, exact_b), out, 2.0**-21 * weight)


@pytest.mark.parametrize("turned_b", [False, True])
@pytest.mark.parametrize("turned_a", [False, True])
def test_every_shape_and_side(device: str, turned_a: bool, turned_b: bool) -> None:
    for shape in SHAPES:
        check(shape, device, turned_a, turned_b)


@pytest.mark.parametrize(("element", "out"), [("f16", "f16"), ("bf16", "bf16"), ("bf16", "f32")])
def test_dtypes_and_a_shared_operand(device: str, element: str, out: str) -> None:
    check((3, 24, 48, 40), device, turned_b=True, shared=True, element=element, out=out)


@pytest.mark.parametrize("shape", [(128, 32), (32, 128), (64, 16), (16, 64), (128, 16), (16, 16)])
def test_shared_rows_meet_no_bank_twice(shape: tuple[int, int]) -> None:
    memory = spread(shape, 16)
    assert memory.is_injective
    for chunk in range(0, shape[1], 8):
        for row in range(0, shape[0], 8):
            assert ldmatrix_wavefronts(memory, 16, (row, chunk)) == 1
    # Threads store 16 bytes each, along rows: four passes at best.
    runs = shape[1] // 8
    rows = spatial(32 // runs, runs) * local(1, 8)
    assert access_wavefronts(rows, spread(rows.shape, 16), 16, 8).max() == 4


@pytest.mark.parametrize("turned_b", [False, True])
@pytest.mark.parametrize("turned_a", [False, True])
def test_fragments_come_by_ldmatrix(turned_a: bool, turned_b: bool) -> None:
    ptx = batched_matmul.compile(turned_a=turned_a, turned_b=turned_b).ptx
    assert ptx.count("ldmatrix.sync.aligned.m8n8.x4") == 12 and "ld.shared" not in ptx
    assert ptx.count("st.shared.v4") == 4 and ptx.count("st.shared") == 4


def test_every_schedule_suits_its_shape() -> None:
    for m in (1, 15, 16, 17, 100, 1000):
        for n in (1, 8, 33, 128, 1000):
            for k in (1, 8, 24, 100):
                s = schedule_for(m, k, n)
                assert s.a.shape == (s.rows, s.depth) and s.b.shape == (s.depth, s.columns)
                assert s.c.num_threads == s.a.num_threads == s.b.num_threads == 32 * s.num_warps
                assert k % s.vector == n % s.vector == 0
    assert schedule_for(4096, 4096, 4096).rows == 128
