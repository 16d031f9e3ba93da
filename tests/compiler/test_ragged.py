"""Tiles whose place is promised: they move in whole vectors wherever the extents end."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom.compiler import compile_function
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.interpreter import run

KINDS: dict[str, Any] = {"f32": np.float32, "f16": np.float16, "u8": np.uint8}
# Row r of [m, n] begins r * n % v elements behind a whole vector: its tile begins there too.
ROWS = """func @f(%x: *{t}, %y: *{t}, %m: i32, %n: i32) warps = 1, grid = [%m] {{
  %gx = global_view %x : global<{t}, [%m, %n]>
  %gy = global_view %y : global<{t}, [%m, %n]>
  %a = load %gx[block.x, -(block.x % {v} * (%n % {v}) % {v})] {{alignment = 16}} : \
reg<{t}, [1, {width}], local(1, 2) * spatial(1, 32) * local(1, {v})>
  store %gy[block.x, -(block.x % {v} * (%n % {v}) % {v})], %a {{alignment = 16}}
}}"""
TILE = """func @f(%x: *f32, %y: *f32, %m: i32, %n: i32, %i: i32, %j: i32) warps = 1 {{
  %gx = global_view %x : global<f32, [%m, %n]>
  %gy = global_view %y : global<f32, [%m, %n]>
  %a = load %gx[%i, %j] {{alignment = {load}}} : reg<f32, [16, 32], {layout}>
  store %gy[%i, %j], %a {{alignment = {store}}}
}}"""
LAYOUTS = ["local(16, 1) * spatial(1, 32)", "local(2, 1) * spatial(8, 4) * local(1, 8)"]


def rows(kind: str) -> str:
    vector = 16 // np.dtype(KINDS[kind]).itemsize
    return ROWS.format(t=kind, v=vector, width=64 * vector)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(("m", "n"), [(9, 3), (17, 77), (8, 200), (5, 1), (3, 64), (4, 249)])
def test_odd_rows(kind: str, m: int, n: int) -> None:
    x = np.random.default_rng(n).integers(1, 100, (m, n)).astype(KINDS[kind])
    found = agree(rows(kind), [x, np.full_like(x, 7), m, n])[1]
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_whole_vectors_move_at_once(kind: str) -> None:
    ptx = compile_function(parse(rows(kind))).ptx
    for opcode in ("ld.global", "st.global"):
        widths = re.findall(rf"{opcode}\.(\S+) ", ptx)
        assert widths.count("v4.b32") == 2  # two runs a thread
        # And one by one where a run lies on both sides of an extent.
        assert (
            len(set(widths)) == 2 and len(widths) == 2 + 128 // np.dtype(KINDS[kind]).itemsize // 4
        )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("promise", "m", "n", "i", "j"),
    [
        (4, 16, 32, 0, 0), (4, 40, 70, 7, 11), (4, 20, 35, 10, 15), (4, 9, 40, -3, -5),
        (16, 40, 70, 2, 4),  # the rows below begin inside vectors
    ],
)  # fmt: skip
def test_tiles_across_both_ends(layout: str, promise: int, m: int, n: int, i: int, j: int) -> None:
    x = np.random.default_rng(m).integers(1, 100, (m, n)).astype(np.float32)
    text = TILE.format(load=promise, store=promise, layout=layout)
    found = agree(text, [x, np.full_like(x, 7), m, n, i, j])[1]
    wanted = np.full_like(x, 7)
    box = (slice(max(i, 0), max(i + 16, 0)), slice(max(j, 0), max(j + 32, 0)))
    wanted[box] = x[box]
    np.testing.assert_array_equal(found, wanted)


def test_a_tile_of_single_elements_has_one_condition() -> None:
    text = TILE.format(load=4, store=4, layout=LAYOUTS[0])
    ptx = compile_function(parse(text)).ptx
    before = ptx[: ptx.index("$skip")]
    predicates = re.findall(r"@(%p\d+) ld\.global", before)
    assert len(predicates) == 16 and len(set(predicates)) == 1


@pytest.mark.parametrize(
    ("view", "alignment", "message"),
    [
        ("global<f32, [64]>", "3", "no power of two up to 16"),
        ("global<f32, [64]>", "2", "holds no whole `f32`"),
        ("global<u4, [64]>", "1", "holds no whole `u4`"),
    ],
)
def test_promises_that_say_nothing(view: str, alignment: str, message: str) -> None:
    kind = view[7:].split(",")[0]
    text = f"""func @f(%x: *{kind}) warps = 1 {{
  %g = global_view %x : {view}
  %a = load %g[0] {{alignment = {alignment}}} : reg<{kind}, [32]>
}}"""
    with pytest.raises(VMError, match=message):
        parse(text)


def test_no_promise_about_shared_tiles() -> None:
    text = """func @f() warps = 1 {
  %s = alloc_shared : shared<f32, [64]>
  %a = load %s[0] {alignment = 4} : reg<f32, [32]>
}"""
    with pytest.raises(VMError, match="a promise about global views"):
        parse(text)


def test_the_interpreter_checks_the_promise() -> None:
    x = np.zeros((40, 70), np.float32)
    function = parse(TILE.format(load=16, store=4, layout=LAYOUTS[1]))
    run(function, [x, x.copy(), 40, 70, 2, 4])  # element 144
    with pytest.raises(VMError, match="begins 568 bytes after `%gx`"):
        run(function, [x, x.copy(), 40, 70, 2, 2])
    run(function, [x, x.copy(), 40, 70, 2, 2], checks=False)
