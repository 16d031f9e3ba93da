"""Changes of layout: right on drawn pairs by whatever way, and without bank conflicts."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from execution import agree
from test_drawn import drawn_layout

from tileloom.compiler import Lowered, compile_function
from tileloom.compiler.emit.conversion import plan_conversion
from tileloom.compiler.emit.lane_exchange import Exchange, carry_out, plan_exchange
from tileloom.compiler.emit.shared_exchange import plan_shared_route
from tileloom.layouts import (
    LayoutError,
    MemoryLayout,
    RegisterLayout,
    Swizzle,
    access_wavefronts,
    fragments,
    local,
    parse_layout,
    row_major,
)
from tileloom.runtime.inspect.accesses import shared_accesses
from tileloom.vm import dtype, parse

CHAIN = 10
DTYPES = ("f32", "f16", "u8", "i64", "f32", "f16", "u4", "u1", "i6")
SHAPES = [(8, 32), (16, 16), (32, 8), (4, 64), (16, 64), (6, 16), (10, 12), (1, 64), (7, 9)]
Pair = tuple[RegisterLayout, RegisterLayout]


def layouts_of(draw: random.Random, count: int) -> tuple[int, list[RegisterLayout]]:
    """Warps of a block, and layouts of one shape for its threads."""
    warps, shape = draw.choice([1, 1, 2, 4, 3]), draw.choice(SHAPES)
    return warps, [drawn_layout(shape, 32 * warps, draw) for _ in range(count)]


def program(element: str, warps: int, layouts: list[RegisterLayout]) -> str:
    """A tile brought from each layout to the next."""
    rows, columns = layouts[0].shape
    size = rows * columns
    shape = f"[{rows}, {columns}]"
    lines = [
        f"func @f(%x: *u8, %y: *u8) warps = {warps} {{",
        f"  %gx = global_view %x : global<u8, [{size}]>",
        f"  %gy = global_view %y : global<u8, [{size}]>",
        f"  %l0 = load %gx[0] : reg<u8, [{size}]>",
        f"  %l1 = reshape %l0 {{shape = {shape}}} : reg<u8, {shape}>",
        f"  %l2 = convert_layout %l1 : reg<u8, {shape}, {layouts[0]}>",
        f"  %t0 = cast %l2 {{dtype = {element}}}",
    ]
    for number, layout in enumerate(layouts[1:]):
        type_ = f"reg<{element}, {shape}, {layout}>"
        lines.append(f"  %t{number + 1} = convert_layout %t{number} : {type_}")
    last = len(layouts) - 1
    lines += [
        f"  %s0 = cast %t{last} {{dtype = u8}}",
        f"  %s1 = convert_layout %s0 : reg<u8, {shape}, spatial({rows}, 1) * local(1, {columns})>"
        if rows <= 32 * warps
        else f"  %s1 = convert_layout %s0 : reg<u8, {shape}, local({rows}, {columns})>",
        "  store %gy[0], %s2",
        "}",
    ]
    lines.insert(-2, f"  %s2 = reshape %s1 {{shape = [{size}]}}")
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(200))
def test_drawn_pairs(seed: int) -> None:
    """Ten pairs a seed, each by the way the compiler chooses."""
    draw = random.Random(seed)
    warps, layouts = layouts_of(draw, CHAIN + 1)
    element = draw.choice(DTYPES)
    top = 1 << min(7, dtype(element).bits - (dtype(element).kind == "int"))
    x = np.random.default_rng(seed).integers(0, top, layouts[0].shape).astype(np.uint8).reshape(-1)
    _, y = agree(program(element, warps, layouts), [x, np.zeros_like(x)], checks=False)
    np.testing.assert_array_equal(y, x)


class Threads:
    """Carries exchanges out on numpy arrays [threads, elements of a unit]."""

    def __init__(self, num_threads: int) -> None:
        self.thread = np.arange(num_threads)

    def select(self, own: tuple[int, int], value: int, then: Any, otherwise: Any) -> Any:
        step, extent = own
        return np.where((self.thread // step % extent == value)[:, None], then, otherwise)

    def move(self, exchange: Exchange, index: tuple[int, ...], units: list[Any]) -> list[Any]:
        sources = exchange.sources(index, len(self.thread))
        assert (sources // 32 == self.thread // 32).all()
        return [unit[sources] for unit in units]


def test_exchanges_by_their_defining_equation() -> None:
    """Every thread ends with the elements that the layout gives it."""
    draw, planned = random.Random(2), 0
    for _ in range(1500):
        warps, (before, after) = layouts_of(draw, 2)
        threads = 32 * warps
        exchange = plan_exchange(before, after, draw.choice([1, 4, 8, 16, 32]), threads)
        if exchange is None:
            continue
        planned += 1
        held = np.full((threads, before.num_locals), -1)
        held[: before.num_threads] = numbers(before)
        units = np.split(held, before.num_locals // exchange.unit, axis=1)
        landed = carry_out(exchange, units, min(threads, after.num_threads), Threads(threads))
        found = np.concatenate(landed, axis=1)[: after.num_threads]
        np.testing.assert_array_equal(found, numbers(after))
    assert planned > 500


def numbers(layout: RegisterLayout) -> npt.NDArray[np.int64]:
    """The row-major number of each element that a thread holds."""
    table = layout.table()
    return table[..., 0] * layout.shape[1] + table[..., 1]


def converting(pair: Pair, element: str, threads: int) -> Lowered:
    """A program that does nothing but convert, compiled."""
    shape = list(pair[0].shape)
    return compile_function(
        parse(f"""func @f(%x: *{element}, %y: *{element}) warps = {threads // 32} {{
  %gx = global_view %x : global<{element}, {shape}>
  %a = load %gx[0, 0] : reg<{element}, {shape}, {pair[0]}>
  %b = convert_layout %a : reg<{element}, {shape}, {pair[1]}>
  %gy = global_view %y : global<{element}, {shape}>
  store %gy[0, 0], %b
}}""")
    )


def lane_pair(before: str, after: str) -> Pair:
    return parse_layout(before), parse_layout(after)  # type: ignore[return-value]


ROWS = "spatial(32, 1) * local(1, 2)"
KNOWN = {
    # A lane's two elements go to two lanes, whose elements come from two.
    "swap": (("local(1, 2) * spatial(8, 4)", "local(2, 1) * spatial(4, 8)"), 32, 2, "lanes"),
    # The same where a lane keeps one of both.
    "stay": (
        ("spatial(16, 2) * local(1, 2)", "spatial(16, 1) * local(1, 2) * spatial(1, 2)"),
        32,
        1,
        "lanes",
    ),
    # Only lanes change: one exchange a word, nothing chosen.
    "lanes": (("column_spatial(8, 4)", "spatial(8, 4)"), 32, 1, "lanes"),
    # Everything on every lane.
    "spread": (("spatial(1, 32)", "replicate(32) * local(1, 32)"), 32, 32, "lanes"),
    # A pair of halves stays a word.
    "words": (
        ("spatial(8, 4) * local(1, 2)", "column_spatial(8, 4) * local(1, 2)"),
        16,
        1,
        "lanes",
    ),
    # Between warps: shared memory.
    "warps": (("spatial(64, 1)", "replicate(2) * spatial(32, 1) * local(2, 1)"), 32, 0, "memory"),
    # 32 x 32: five selects a word on each side cost more than the trip through memory.
    "transpose": (
        ("local(32, 1) * spatial(1, 32)", "spatial(32, 1) * local(1, 32)"),
        32,
        0,
        "memory",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_way_that_is_chosen(name: str) -> None:
    (before, after), bits, shuffles, way = KNOWN[name]
    pair = lane_pair(before, after)
    threads = max(32, *(layout.num_threads for layout in pair))
    plan = plan_conversion(*pair, bits)
    assert (plan.exchange is not None) is (way == "lanes"), plan
    assert (plan.shared is not None) is (way == "memory"), plan
    ptx = converting(pair, {16: "f16", 32: "f32"}[bits], threads).ptx
    assert ptx.count("shfl.sync") == shuffles
    assert ("st.shared" in ptx) is (way == "memory")
    if plan.exchange is not None:
        assert str(plan).startswith(f"by lane exchange: {shuffles} shuffle")


def through_memory(count: int) -> list[tuple[Pair, int, int]]:
    """Pairs of power-of-two layouts, bits of an element and threads."""
    draw, found = random.Random(5), []
    while len(found) < count:
        warps, pair = layouts_of(draw, 2)
        powers = all(extent & (extent - 1) == 0 for extent in pair[0].shape)
        if powers and warps != 3:
            found.append(((pair[0], pair[1]), draw.choice([8, 16, 32, 64]), 32 * warps))
    return found


@cache
def swizzles() -> list[Swizzle | None]:
    return [None] + [
        Swizzle(bits, base, shift)
        for bits, base, shift in product((1, 2, 3), (4, 5), (1, 2, 3, 4, 5))
        if shift >= bits
    ]


def wavefronts_of(pair: Pair, memory: MemoryLayout, bits: int, widest: int) -> Counter[str]:
    """What the pair's accesses take of a memory layout at the best width that it allows."""
    total: Counter[str] = Counter()
    for layout in pair:
        vector = widest
        while vector:
            try:
                taken = access_wavefronts(layout, memory, bits, vector)
            except LayoutError:
                vector //= 2
                continue
            break
        lanes = [min(32, layout.num_threads - i) for i in range(0, layout.num_threads, 32)]
        per_pass = {1: 32, 2: 32, 4: 32, 8: 16, 16: 8}[vector * bits // 8]
        total["wavefronts"] += int(taken.sum())
        total["least"] += sum(-(-n // per_pass) for n in lanes) * taken.shape[1]
    return total


def test_no_bank_conflicts() -> None:
    """None in the chosen memory layout; so none where an xor swizzle avoids them, and of those
    that do, none takes fewer wavefronts."""
    for pair, bits, threads in through_memory(60):
        route = plan_shared_route(*pair, bits, threads)
        assert route.conflicts == 0, (pair, bits, route)
        ours = route.writes.wavefronts + route.reads.wavefronts
        shape = pair[0].shape
        for order in ((0, 1), (1, 0)):
            plain = row_major(*(shape[d] for d in order)).permute(*order)
            for swizzle in swizzles():
                memory = MemoryLayout(shape, plain.digits, swizzle)
                other = wavefronts_of(pair, memory, bits, 128 // bits)
                if other["wavefronts"] == other["least"]:
                    assert ours <= other["wavefronts"], (pair, bits, route.memory, memory)


def test_the_code_has_the_wavefronts_that_were_planned() -> None:
    """The addresses in the PTX, counted bank by bank."""
    checked = 0
    for pair, bits, threads in through_memory(60):
        plan = plan_conversion(*pair, bits)
        if plan.shared is None:
            continue
        lowered = converting(pair, {8: "u8", 16: "f16", 32: "f32", 64: "i64"}[bits], threads)
        found = shared_accesses(lowered.ptx, "f", threads)
        assert not any(access.is_conflicting for access in found), lowered.ptx
        stores = [a for a in found if a.opcode.startswith("st")]
        assert sum(a.wavefronts or 0 for a in stores) == plan.shared.writes.wavefronts
        assert sum(a.wavefronts or 0 for a in found) == (
            plan.shared.writes.wavefronts + plan.shared.reads.wavefronts
        )
        checked += 1
    assert checked > 20


def test_extents_that_are_no_powers_of_two_are_padded() -> None:
    rows, columns = parse_layout("spatial(24, 1) * local(1, 12)"), None
    columns = parse_layout("local(8, 1) * spatial(3, 12)")
    route = plan_shared_route(rows, columns, 32, 64)  # type: ignore[arg-type]
    assert route.conflicts == 0


def test_products_in_a_row() -> None:
    """An accumulator, rounded to halves, is the left operand of the next product."""
    accumulator = local(1, 2) * fragments.mma_c("f16")
    plan = plan_conversion(accumulator, fragments.mma_a("f16"), 16)
    assert plan.kept is not None and str(plan) == "free: each thread holds what it wants"


def test_the_counts_are_those_of_the_code() -> None:
    draw, checked = random.Random(9), 0
    for _ in range(150):
        warps, (before, after) = layouts_of(draw, 2)
        plan = plan_conversion(before, after, 32)
        if plan.counts is None:
            continue
        ptx = converting((before, after), "f32", 32 * warps).ptx
        assert ptx.count("shfl.sync") == plan.counts.shuffles
        assert ptx.count("selp.b32") <= plan.counts.selects
        assert "bar.sync" not in ptx
        checked += 1
    assert checked > 20
