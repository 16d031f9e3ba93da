"""Scalars out of tiles and memory, mutable scalars, tiles without values, and semaphores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree, emulate

from tileloom import vm
from tileloom.vm import parse
from tileloom.vm.diagnostics import ExecutionError, VMError
from tileloom.vm.dtypes import pack_bits
from tileloom.vm.interpreter import run

ITEM = """func @f(%x: *{t}, %y: *{t}) warps = 3 {{
  %gx = global_view %x : global<{t}, [8, 8]>
  %gy = global_view %y : global<{t}, [4]>
  %a = load %gx[3, 5] : reg<{t}, [1, 1]{layout}>
  %s = item %a
  %b = load %gx[0, 0] : reg<{t}, [1, 1]{layout}>
  assign %a, %b
  %one = full {{fill = 1}} : reg<{t}, [1]>
  %t = mul %one, %s
  store %gy[0], %t
  %u = reshape %a {{shape = [1]}}
  store %gy[1], %u
  %far = load %gx[8, 0] : reg<{t}, [1, 1]{layout}>
  %zero = item %far
  %v = mul %one, %zero
  store %gy[2], %v
  %w = load_scalar %gx[3, 6]
  %z = mul %one, %w
  store %gy[3], %z
}}"""
WIDENED = """func @f(%x: *{t}, %y: *i64) warps = 1 {{
  %gx = global_view %x : global<{t}, [8]>
  %gy = global_view %y : global<i64, [1]>
  %w = load_scalar %gx[3]
  %one = full {{fill = 1}} : reg<i64, [1]>
  %z = mul %one, %w
  store %gy[0], %z
}}"""
LAYOUTS = [
    "",
    ", local(1, 1)",
    ", replicate(32) * local(1, 1)",
    ", replicate(96) * local(1, 1)",
    ", replicate(7) * spatial(1, 1)",
]
KINDS: dict[str, Any] = {
    "f32": np.float32, "f16": np.float16, "f64": np.float64, "i8": np.int8, "u8": np.uint8,
    "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64,
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_items_and_loaded_scalars(kind: str, layout: str) -> None:
    """The tile changes after its item was taken; an element outside the memory is zero."""
    x = (np.arange(64) * 3 + 1).reshape(8, 8).astype(KINDS[kind])
    if np.dtype(KINDS[kind]).kind == "u":
        x[3, 5] = np.iinfo(KINDS[kind]).max
    if np.dtype(KINDS[kind]).kind == "i":
        x[3, 5] = np.iinfo(KINDS[kind]).min
    text = ITEM.format(t=kind, layout=layout)
    found = agree(text, [x, np.full(4, 77, x.dtype)])[1]
    np.testing.assert_array_equal(found, [x[3, 5], x[0, 0], 0, x[3, 6]])


DECIDE = """func @f(%x: *i32, %y: *i32) warps = 2 {{
  %gx = global_view %x : global<i32, [70]>
  %gy = global_view %y : global<i32, [70]>
  %a = load %gx[0] : reg<i32, [70]{layout}>
  %p = lt %a, 0
  %any = reduce %p {{op = any}}
  %negative = item %any
  %largest = reduce %a {{op = max}}
  %most = item %largest
  if %negative {{
    %b = add %a, %most
    store %gy[0], %b
  }} else {{
    store %gy[%most], %a
  }}
}}"""


@pytest.mark.parametrize("layout", ["", ", local(7) * spatial(10)", ", spatial(35) * local(2)"])
@pytest.mark.parametrize("negative", [False, True])
def test_items_decide(negative: bool, layout: str) -> None:
    x = np.random.default_rng(0).integers(0, 30, 70).astype(np.int32)
    x[41] = -1 if negative else 1
    found = agree(DECIDE.format(layout=layout), [x, np.zeros_like(x)])[1]
    meant = x + x.max() if negative else np.concatenate([np.zeros(x.max(), np.int32), x])[:70]
    np.testing.assert_array_equal(found, meant)


EMPTY = """func @f(%x: *{t}, %y: *{t}) warps = 1 {{
  %gx = global_view %x : global<{t}, [24, 8]>
  %gy = global_view %y : global<{t}, [24, 8]>
  %a = alloc_registers : reg<{t}, [24, 8]{layout}>
  for %i in 0 to 3 {{
    %b = load %gx[0, 0] : reg<{t}, [24, 8]>
    assign %a, %b
  }}
  store %gy[0, 0], %a
}}"""


@pytest.mark.parametrize("kind", ["f32", "u3", "f16", "i64"])
@pytest.mark.parametrize(
    "layout", ["", ", spatial(8, 1) * local(3, 8)", ", replicate(2) * spatial(12, 1) * local(2, 8)"]
)
def test_tiles_without_values(kind: str, layout: str) -> None:
    x: Any = np.random.default_rng(0).integers(0, 8, (24, 8))
    x = pack_bits(x, 3) if kind == "u3" else x.astype(KINDS[kind])
    found = agree(EMPTY.format(t=kind, layout=layout), [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%s = item %t", "`item`: the tile has shape [1, 2], not one element"),
        ("%s = item %n", "`item`: the value must be a register tile, not `%n`"),
        ("%s = load_scalar %g[0]", "`load_scalar`: `u4` is no scalar type"),
        ("%s = alloc_registers", "`alloc_registers`: the result's register type is missing"),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    text = f"""func @f(%p: *u4, %n: i32) warps = 1 {{
  %g = global_view %p : global<u4, [8]>
  %t = full : reg<i32, [1, 2]>
  {line}
}}"""
    with pytest.raises(VMError) as caught:
        parse(text)
    assert caught.value.message.startswith(message.partition(", not `%n`")[0])


# Blocks take turns: each adds its number to what the one before it left, a digit at a time.
TURNS = """func @f(%y: *f32, %turn: *{t}, %n: i32) warps = {warps}, grid = [%n] {{
  %gy = global_view %y : global<f32, [40]>
  %gt = global_view %turn : global<{t}, [2]>
  lock %gt[1], {first} + block.x
  %a = load %gy[0] : reg<f32, [40]{layout}>
  %b = mul %a, 3.0
  %c = add %b, block.x
  store %gy[0], %c
  release %gt[1], {first} + block.x + 1
}}"""


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("warps", "layout"),
    [(1, ""), (2, ", spatial(20) * local(2)"), (3, ", replicate(12) * local(5) * spatial(8)")],
)
@pytest.mark.parametrize(("kind", "first"), [("i32", -2), ("u32", 2**32 - 3)])
def test_semaphores_order_blocks(kind: str, first: int, warps: int, layout: str, seed: int) -> None:
    """The turns pass zero, as numbers with a sign and without."""
    turn = np.array([0, first], KINDS[kind])
    text = TURNS.format(t=kind, warps=warps, layout=layout, first=first)
    args = [np.ones(40, np.float32), turn, 6]
    found = agree(text, args)
    value = 1.0
    for block in range(6):
        value = 3 * value + block
    assert (found[0] == value).all()
    assert found[1][1] == np.int64(first + 6).astype(KINDS[kind])
    emulate(text, args, seed=seed)
    np.testing.assert_array_equal(args[0], found[0])


def test_a_semaphore_that_nobody_releases_is_a_deadlock() -> None:
    text = TURNS.format(t="i32", warps=1, layout="", first=1)
    with pytest.raises(ExecutionError) as caught:
        run(parse(text), [np.ones(40, np.float32), np.zeros(2, np.int32), 2])
    assert "deadlock" in caught.value.message
    assert any("waits for `%gt`[1] to become 1" in note for note, _ in caught.value.notes)


def test_from_python() -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32], s: vm.Ptr[vm.u32]) -> None:
        vm.launch(grid=[2])
        turn = vm.global_view(s, [1])
        vm.lock(turn, [0], vm.block_index())
        a = vm.load(vm.global_view(x, [64]), [0], (64,))
        most = vm.item(vm.reduce(a, "max", 0))
        scale = vm.var(most, vm.f32)
        scale.set(scale * 2.0)
        vm.store(vm.global_view(y, [64]), [0], a * scale)
        vm.release(turn, [0], vm.block_index() + 1)

    x = np.random.default_rng(0).normal(size=64).astype(np.float32)
    found = agree(f.trace(), [x, np.zeros_like(x), np.zeros(1, np.uint32)])[1]
    np.testing.assert_array_equal(found, x * (x.max() * np.float32(2)))


@pytest.mark.parametrize("kind", ["i8", "u8", "i16", "u16", "i32", "u32"])
def test_loaded_scalars_keep_their_sign(kind: str) -> None:
    x = (np.arange(8) - 100).astype(np.dtype(kind.replace("i", "int").replace("u", "uint")))
    found = agree(WIDENED.format(t=kind), [x, np.zeros(1, np.int64)])[1]
    assert found[0] == x[3]
