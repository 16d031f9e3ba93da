"""Drawn layouts: loads, conversions, reductions and stores agree with the interpreter on any."""

from __future__ import annotations

import random
from math import prod
from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom.layouts import RegisterLayout
from tileloom.layouts.modes import REPLICATED, Mode

KINDS: dict[str, Any] = {"f32": np.float32, "f16": np.float16, "u8": np.uint8, "i64": np.int64}


def factors(number: int, draw: random.Random) -> list[int]:
    """The number as a product, in drawn order."""
    found = []
    while number > 1:
        primes = [p for p in (2, 3, 5, 7) if number % p == 0]
        factor = draw.choice(primes)
        if number % (factor * factor) == 0 and draw.random() < 0.4:
            factor *= factor
        found.append(factor)
        number //= factor
    return found


def drawn_layout(shape: tuple[int, ...], threads: int, draw: random.Random) -> RegisterLayout:
    """A layout of the shape for at most so many threads: any digits in any order."""
    modes = []
    for dim, extent in enumerate(shape):
        stride = 1
        for factor in factors(extent, draw):
            modes.append(Mode(dim, factor, stride))
            stride *= factor
    draw.shuffle(modes)
    spatial: list[Mode] = []
    local: list[Mode] = []
    for mode in modes:
        fits = prod(m.extent for m in spatial) * mode.extent <= threads
        (spatial if fits and draw.random() < 0.7 else local).append(mode)
    left = threads // prod(m.extent for m in spatial)
    if left > 1 and draw.random() < 0.6:
        spatial.insert(
            draw.randrange(len(spatial) + 1), Mode(REPLICATED, draw.choice([left, 2]), 0)
        )
    return RegisterLayout(shape, tuple(spatial), tuple(local))


PROGRAM = """func @f(%x: *{t}, %y: *{t}, %z: *{t}, %m: i32, %n: i32, %i: i32,
    %j: i32) warps = {warps} {{
  {fact}
  %gx = global_view %x : global<{t}, [%m, %n]>
  %gy = global_view %y : global<{t}, [{a}, {b}]>
  %gz = global_view %z : global<{t}, [{ra}, {rb}]>
  %s = load %gx[%i, %j] : reg<{t}, [{a}, {b}], {first}>
  %t = convert_layout %s : reg<{t}, [{a}, {b}], {second}>
  store %gy[0, 0], %t
  %r = reduce %t {{op = {op}, dim = {dim}}}
  store %gz[0, 0], %r
  %u = add %s, %r
  store %gy[0, 0], %u
  barrier
  %v = alloc_shared : shared<{t}, [{b}, {a}]>
  %w = transpose %u
  store %v[0, 0], %w
  barrier
  %q = load %v[0, 0] {{dims = [1, 0]}} : reg<{t}, [{a}, {b}], {second}>
  store %gy[0, 0], %q
}}"""


@pytest.mark.parametrize("seed", range(60))
def test_drawn_layouts(seed: int) -> None:
    draw = random.Random(seed)
    warps = draw.choice([1, 1, 2, 3, 4])
    shape = (draw.choice([1, 4, 6, 8, 16, 10]), draw.choice([8, 12, 16, 32, 14]))
    kind = draw.choice(sorted(KINDS))
    dim = draw.randrange(2)
    reduced = tuple(1 if d == dim else e for d, e in enumerate(shape))
    first, second = (drawn_layout(shape, 32 * warps, draw) for _ in range(2))
    m, n = draw.randrange(1, 24), draw.randrange(1, 40)
    i, j = draw.randrange(-3, 9), draw.randrange(-3, 9)
    fact = ""
    if draw.random() < 0.5:
        n, j = -(-n // 8) * 8, draw.choice([0, 8])
        fact = "assume %n % 8 == 0 and %j % 8 == 0"
    text = PROGRAM.format(
        t=kind,
        warps=warps,
        fact=fact,
        a=shape[0],
        b=shape[1],
        ra=reduced[0],
        rb=reduced[1],
        first=first,
        second=second,
        op=draw.choice(["sum", "max", "min"]),
        dim=dim,
    )
    x = np.random.default_rng(seed).integers(0, 30, (m, n)).astype(KINDS[kind])
    out = [np.zeros(shape, x.dtype), np.zeros(reduced, x.dtype)]
    agree(text, [x, *out, m, n, i, j], checks=False)


def test_the_drawing_covers_what_matters() -> None:
    draw = random.Random(0)
    layouts = [drawn_layout((6, 16), 64, draw) for _ in range(200)]
    assert any(layout.num_replicas > 1 for layout in layouts)
    assert any(layout.num_threads < 64 for layout in layouts)
    assert any(layout.num_locals > 12 for layout in layouts)
