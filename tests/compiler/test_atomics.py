"""Compare-and-swap, pairs of halves, and old values of replicated tiles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import agree, assemble, emulate

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import bf16, dtype

CAS = """func @f(%p: *{t}, %x: *{t}, %c: *{t}, %r: *{t}) warps = 2 {{
  %g = global_view %p : global<{t}, [50]>
  %gx = global_view %x : global<{t}, [48]>
  %gc = global_view %c : global<{t}, [48]>
  %gr = global_view %r : global<{t}, [48]>
  %new = load %gx[0] : reg<{t}, [48]{layout}>
  %expected = load %gc[0] : reg<{t}, [48]>
  {old}atomic %g[7], %new, %expected {{op = cas}}
  {store}
}}"""
LAYOUTS = ["", ", spatial(12) * local(4)", ", spatial(16) * replicate(4) * local(3)"]


EXTREMES = """func @f(%p: *{t}, %x: *{t}) warps = 1 {{
  %g = global_view %p : global<{t}, [64]>
  %gx = global_view %x : global<{t}, [64]>
  %a = load %gx[0] : reg<{t}, [64]>
  atomic %g[0], %a {{op = {op}}}
}}"""


@pytest.mark.parametrize("op", ["min", "max"])
@pytest.mark.parametrize("kind", ["i32", "u32", "i64", "u64"])
def test_extremes_know_signs(kind: str, op: str) -> None:
    numpy = np.dtype(kind.replace("i", "int").replace("u", "uint"))
    codes = np.random.default_rng(0).integers(0, 1 << 62, (2, 64), np.int64) * 4
    p, x = (row.view(np.uint64).astype(numpy) for row in codes)
    x[::2] = ~x[::2]
    found = agree(EXTREMES.format(t=kind, op=op), [p, x])[0]
    np.testing.assert_array_equal(found, getattr(np, f"{op}imum")(p, x))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["i32", "u64"])
@pytest.mark.parametrize("old", [True, False])
def test_compare_and_swap(old: bool, kind: str, layout: str) -> None:
    """The last five elements lie outside."""
    numpy: Any = {"i32": np.int32, "u64": np.uint64}[kind]
    rng = np.random.default_rng(0)
    memory, new = (rng.integers(0, 99, n).astype(numpy) for n in (50, 48))
    expected = memory[7:].copy()
    expected[::3] += 1
    expected = np.concatenate([expected, np.zeros(5, numpy)])
    text = CAS.format(
        t=kind,
        layout=layout,
        old="%old = " if old else "",
        store="store %gr[0], %old" if old else "",
    )
    found = agree(text, [memory, new, expected, np.zeros(48, numpy)])
    meant = memory.copy()
    swapped = memory[7:] == expected[:43]
    meant[7:][swapped] = new[:43][swapped]
    np.testing.assert_array_equal(found[0], meant)
    if old:
        np.testing.assert_array_equal(found[3], np.concatenate([memory[7:], np.zeros(5, numpy)]))


HALVES = """func @f(%p: *f16, %x: *f16, %r: *f16) warps = 2 {{
  %g = global_view %p : global<f16, [3, 40]>
  %gx = global_view %x : global<f16, [4, 32]>
  %gr = global_view %r : global<f16, [4, 32]>
  %a = load %gx[0, 0] : reg<f16, [4, 32]{layout}>
  {old}atomic %g[{row}, {column}], %a
  {store}
}}"""


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    ("row", "column", "layout", "pairs"),
    [
        (0, 4, ", spatial(4, 8) * local(1, 4)", 2),
        (0, 3, ", spatial(4, 8) * local(1, 4)", 0),
        (-1, 11, ", spatial(4, 16) * local(1, 2)", 0),
        (-1, 10, ", replicate(2) * spatial(4, 8) * local(1, 4)", 2),
        (0, 0, ", local(4, 1) * spatial(1, 32)", 0),
    ],
)
def test_pairs_of_halves(old: bool, row: int, column: int, layout: str, pairs: int) -> None:
    rng = np.random.default_rng(0)
    memory, x = (rng.integers(0, 50, shape).astype(np.float16) for shape in ((3, 40), (4, 32)))
    text = HALVES.format(
        row=row,
        column=column,
        layout=layout,
        old="%old = " if old else "",
        store="store %gr[0, 0], %old" if old else "",
    )
    found = agree(text, [memory, x, np.zeros((4, 32), np.float16)])
    meant = np.zeros((20, 80), np.float16)
    meant[4:7, :40] = memory
    meant[4 + row : 8 + row, column : column + 32] += x
    np.testing.assert_array_equal(found[0], meant[4:7, :40])
    ptx = compile_function(parse(text)).ptx
    vectors = re.findall(r"(?:red|atom)\.global\.add\.noftz\.(?:v(\d)\.)?f16x2", ptx)
    assert sum(int(size or 1) for size in vectors) == pairs


SHARED = """func @f(%x: *f16, %y: *f16) warps = 1 {
  %gx = global_view %x : global<f16, [4, 64]>
  %gy = global_view %y : global<f16, [64]>
  %s = alloc_shared : shared<f16, [64]>
  %zero = full : reg<f16, [64]>
  store %s[0], %zero
  barrier
  for %i in 0 to 4 {
    %a = load %gx[%i, 0] {dims = [1]} : reg<f16, [64], spatial(32) * local(2)>
    atomic %s[0], %a
  }
  barrier
  %b = load %s[0] : reg<f16, [64]>
  store %gy[0], %b
}"""


def test_halves_in_shared_memory() -> None:
    x = np.random.default_rng(0).integers(0, 50, (4, 64)).astype(np.float16)
    found = agree(SHARED, [x, np.zeros(64, np.float16)])[1]
    np.testing.assert_array_equal(found, x.sum(axis=0))
    assert "red.shared.add.noftz.f16x2" in compile_function(parse(SHARED)).ptx


SMALL = """func @f(%p: *i32, %r: *i32) warps = 4 {
  %g = global_view %p : global<i32, [16]>
  %gr = global_view %r : global<i32, [16]>
  %one = full {fill = 1} : reg<i32, [16]>
  %old = atomic %g[0], %one
  assign %one, %old
  %two = add %old, %one
  store %gr[0], %two
}"""


def test_old_values_of_few_elements() -> None:
    """More threads than elements: one of each element's threads updates."""
    memory = np.arange(16, dtype=np.int32)
    found = agree(SMALL, [memory, np.zeros(16, np.int32)])
    np.testing.assert_array_equal(found[0], memory + 1)
    np.testing.assert_array_equal(found[1], 2 * memory)


# Each block takes the lock by itself: no order is given, only exclusion.
CLAIM = """func @f(%y: *i32, %state: *i32, %n: i32) warps = 2, grid = [%n] {
  %gy = global_view %y : global<i32, [48]>
  %gs = global_view %state : global<i32, [1]>
  %taken = var 1 : i32
  while %taken == 1 {
    %seen = atomic_scalar %gs[0], 1, 0 {op = cas}
    assign %taken, %seen
  }
  %a = load %gy[0] : reg<i32, [48]>
  %b = mul %a, 3
  %c = add %b, 1
  store %gy[0], %c
  %before = atomic_scalar %gs[0], 0 {op = exchange}
  assert %before == 1
}"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_lock_by_compare_and_swap(seed: int) -> None:
    args = [np.zeros(48, np.int32), np.zeros(1, np.int32), 5]
    agree(CLAIM, args)
    emulate(CLAIM, args, seed=seed)
    np.testing.assert_array_equal(args[0], np.full(48, 121))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("atomic %g[0], %i {op = cas}", "`atomic`: `cas` needs the value to compare with"),
        ("atomic %g[0], %i, %i", "`atomic`: `add` compares nothing"),
        (
            "atomic %g[0], %i, %j {op = cas}",
            "`atomic`: the expected and the new value need one dtype and shape",
        ),
        (
            "atomic_scalar %g[0], 1 {op = cas}",
            "`atomic_scalar`: `cas` needs the value to compare with",
        ),
        ("atomic %g[0], %i {op = nand}", "`atomic`: unknown operation `nand`"),
        ("atomic %h[0], %x {op = max}", "`atomic`: `max` has no floating form"),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    text = f"""func @f(%p: *i32, %q: *f32) warps = 1 {{
  %g = global_view %p : global<i32, [16]>
  %h = global_view %q : global<f32, [16]>
  %i = full : reg<i32, [8]>
  %j = full : reg<u32, [8]>
  %x = full : reg<f32, [8]>
  {line}
}}"""
    with pytest.raises(VMError) as caught:
        parse(text)
    assert caught.value.message == message


def test_bytes_have_no_atomics() -> None:
    text = """func @f(%p: *u8) warps = 1 {
  %g = global_view %p : global<u8, [16]>
  %x = full : reg<u8, [16]>
  atomic %g[0], %x
}"""
    with pytest.raises(VMError, match="memory has no atomics on `u8`"):
        compile_function(parse(text))


def test_from_python() -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.i32], y: vm.Ptr[vm.i32]) -> None:
        g = vm.global_view(x, [32])
        one, zero = vm.full(vm.i32, (32,), 1), vm.full(vm.i32, (32,), 0)
        old = vm.atomic(g, [0], one, "cas", compare=zero)
        first = vm.atomic_scalar(g, [3], 9, "cas", compare=1)
        vm.store(vm.global_view(y, [32]), [0], old + first)

    x = np.arange(32, dtype=np.int32) % 3
    found = agree(f.trace(), [x, np.zeros_like(x)])
    np.testing.assert_array_equal(found[1], x + 1)


ADDED = """func @f(%p: *{t}, %x: *{t}, %n: i32) warps = 1 {{
  %g = global_view %p {{alignment = {alignment}}} : global<{t}, [%n]>
  %gx = global_view %x : global<{t}, [256]>
  %a = load %gx[0] : reg<{t}, [256], spatial(32) * local(8)>
  {old}atomic %g[{start}], %a
}}"""


@pytest.mark.parametrize(
    ("kind", "start", "alignment", "n", "opcode", "count"),
    [
        ("f32", 8, 16, "256", "red.global.add.v4.f32", 2),
        ("f32", 2, 16, "256", "red.global.add.v2.f32", 2),  # and four in between
        ("f32", 8, 8, "256", "red.global.add.v2.f32", 4),
        ("f32", 1, 16, "256", "red.global.add.f32", 2),  # and two and four in between
        ("f32", 0, 16, "250", "red.global.add.v2.f32", 4),
        ("f32", 0, 16, "251", "red.global.add.f32", 8),  # each element has an edge of its own
        ("f16", 8, 16, "256", "red.global.add.noftz.v4.f16x2", 1),
        ("bf16", 4, 16, "256", "red.global.add.noftz.v2.bf16x2", 2),
        ("u32", 0, 16, "256", "red.global.add.u32", 8),
        ("f64", 0, 16, "256", "red.global.add.f64", 8),
    ],
)
def test_neighbours_are_added_at_once(
    kind: str, start: int, alignment: int, n: str, opcode: str, count: int, tmp_path: Path
) -> None:
    values = {"alignment": alignment, "start": start, "t": kind, "old": ""}
    text = ADDED.format(**values).replace("[%n]", f"[{int(n) + start if n == '256' else n}]")
    rng, numpy = np.random.default_rng(0), dtype(kind).numpy
    size = int(n) + (start if n == "256" else 0)
    whole = [rng.integers(-8, 9, many) if kind != "u32" else rng.integers(0, 9, many)
             for many in (size, 256)]  # fmt: skip
    p, x = (bf16.encode(v).astype(np.uint16) if kind == "bf16" else v.astype(numpy) for v in whole)
    found = agree(text, [p, x, size])[0]
    added = whole[0].copy()
    added[start:] += whole[1][: size - start]
    np.testing.assert_array_equal(bf16.decode(found) if kind == "bf16" else found, added)
    lowered = compile_function(parse(text))
    assert lowered.ptx.count(f"{opcode} ") == count
    assemble(lowered.ptx, "sm_90a", tmp_path)
    if kind != "bf16":
        older = compile_function(parse(text), "sm_89").ptx
        assert not re.search(r"red\S+\.v[24]", older)


def test_old_values_come_one_by_one() -> None:
    text = ADDED.format(alignment=16, start=0, t="f32", old="%o = ")
    lowered = compile_function(parse(text))
    assert "red." not in lowered.ptx and lowered.ptx.count("atom.global.add.f32 ") == 8
