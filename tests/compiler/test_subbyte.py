"""Elements smaller than a byte, in global and shared memory, at every offset a byte can have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree
from hypothesis import given, settings
from hypothesis import strategies as st

from tileloom.compiler import compile_function
from tileloom.compiler.emit.ownership import _distinct
from tileloom.layouts import parse_layout
from tileloom.vm import dtype, parse
from tileloom.vm.diagnostics import ExecutionError, VMError
from tileloom.vm.dtypes import pack_bits, unpack_bits
from tileloom.vm.interpreter import run
from tileloom.vm.ir import instructions
from tileloom.vm.types import RegType

KINDS = ["u1", "i2", "u3", "nf4", "b5", "e3m2", "u7"]


def random_codes(bits: int, *shape: int) -> Any:
    return np.random.default_rng(bits).integers(0, 1 << bits, shape).astype(np.uint8)


# A tile is copied from one odd place to another; what lies around it must stay.
MOVE = """func @f(%x: *{t}, %y: *{t}, %m: i32, %n: i32, %i: i32, %j: i32) warps = {warps} {{
  {assume}
  %gx = global_view %x : global<{t}, [%m, %n]>
  %gy = global_view %y : global<{t}, [%m, %n]>
  %a = load %gx[%i, %j] : reg<{t}, [{rows}, {columns}], {layout}>
  store %gy[{row}, {column}], %a
}}"""


def moved(text: str, kind: str, m: int, n: int, i: int, j: int, row: int, column: int) -> None:
    bits = dtype(kind).bits
    (load,) = (i for i in instructions(parse(text).body) if i.name == "load")
    assert load.result is not None and isinstance(load.result.type, RegType)
    rows, columns = load.result.type.shape
    x, y = random_codes(bits, m, n), random_codes(bits, m, n) ^ 1
    args = [pack_bits(x, bits), pack_bits(y, bits), m, n, i, j]
    found = unpack_bits(agree(text, args)[1], bits, m * n).reshape(m, n)
    wide = np.zeros((m + 200, n + 200), np.uint8)
    wide[100 : 100 + m, 100 : 100 + n] = x
    tile = wide[100 + i : 100 + i + rows, 100 + j : 100 + j + columns]
    low, high = max(0, column), min(n, column + columns)
    y[row : row + rows, low:high] = tile[: m - row, low - column : high - column]
    np.testing.assert_array_equal(found, y)


@pytest.mark.parametrize("column", [-3, 0, 1, 5, 30])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_at_odd_places(kind: str, column: int) -> None:
    """Rows of 53 elements begin anywhere in a byte; one thread stores a whole tile row, and rows
    of the tile lie a byte apart."""
    text = MOVE.format(
        t=kind, warps=1, assume="", rows=1, columns=27, layout="replicate(32) * local(1, 27)",
        row=2, column=column,
    )  # fmt: skip
    moved(text, kind, 5, 53, 1, 13, 2, column)


LAYOUTS = [
    "spatial(8, 1) * local(1, 32)",
    "local(2, 1) * spatial(4, 1) * replicate(8) * local(1, 32)",
    "spatial(8, 4) * local(1, 8)",
    "column_spatial(8, 4) * local(1, 8)",
]


@pytest.mark.parametrize("column", [0, 8, 40, 56])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_threads_with_bytes_of_their_own(kind: str, layout: str, column: int) -> None:
    """Offsets of whole bytes; at 56 of 72 columns, and 10 of 12 rows, the tile is ragged."""
    text = MOVE.format(
        t=kind, warps=1, assume="assume %n % 8 == 0 and %j % 8 == 0", rows=8, columns=32,
        layout=layout, row=4, column=column,
    )  # fmt: skip
    moved(text, kind, 10, 72, 1, 16, 4, column)


@pytest.mark.parametrize("kind", ["u3", "u4", "u7"])
@pytest.mark.parametrize("n", [67, 70])
def test_ragged_ends_inside_a_byte(kind: str, n: int) -> None:
    """One row a block: what follows its end in the last byte stays."""
    text = MOVE.format(
        t=kind, warps=1, assume="", rows=1, columns=16, layout="replicate(32) * local(1, 16)",
        row=0, column=n - 5,
    )  # fmt: skip
    moved(text, kind, 2, n, 0, 3, 0, n - 5)


SHARED = """func @f(%x: *{t}, %y: *{t}, %k: i32) warps = 2 {{
  assume %k >= 0 and %k <= 20
  %gx = global_view %x : global<{t}, [8, 64]>
  %gy = global_view %y : global<{t}, [2, 8, 32]>
  %s = alloc_shared : shared<{t}, [8, 64]{memory}>
  %a = load %gx[0, 0] : reg<{t}, [8, 64], spatial(8, 8) * local(1, 8)>
  store %s[0, 0], %a
  barrier
  %b = load %s[0, %k] : reg<{t}, [8, 32], spatial(8, 4) * local(1, 8)>
  store %gy[0, 0, 0], %b
  barrier
  %c = load %gx[0, 32] : reg<{t}, [8, 21], spatial(8, 1) * local(1, 21)>
  store %s[0, %k + 1], %c
  store %s[0, 43], %c
  barrier
  %d = load %s[0, 3] : reg<{t}, [8, 32], spatial(8, 4) * local(1, 8)>
  store %gy[1, 0, 0], %d
}}"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "memory", ["", ", strided([8, 64], [72, 1])", ", row_major(8, 64) ^ swizzle(1, 4, 3)"]
)
@pytest.mark.parametrize("k", [0, 5, 20])
def test_shared_tiles(kind: str, memory: str, k: int) -> None:
    bits = dtype(kind).bits
    if "swizzle" in memory and 128 % bits:
        pytest.skip("swizzled elements divide 16 bytes")
    x = random_codes(bits, 8, 64)
    y = np.zeros(2 * 8 * 32 * bits // 8, np.uint8)
    found = agree(SHARED.format(t=kind, memory=memory), [pack_bits(x, bits), y, k])[1]
    tiles = unpack_bits(found, bits, 512).reshape(2, 8, 32)
    np.testing.assert_array_equal(tiles[0], x[:, k : k + 32])
    changed = x.copy()
    changed[:, k + 1 : k + 22] = changed[:, 43:64] = x[:, 32:53]
    np.testing.assert_array_equal(tiles[1], changed[:, 3:35])


WORDS = """func @f(%x: *u12, %y: *u12, %n: i32) warps = 1 {
  %gx = global_view %x : global<u12, [%n]>
  %gy = global_view %y : global<u12, [%n]>
  %a = load %gx[3] : reg<u12, [16], replicate(32) * local(16)>
  store %gy[%n - 14], %a
}"""


def test_elements_of_a_byte_and_a_half() -> None:
    codes = np.random.default_rng(0).integers(0, 1 << 12, 33).astype(np.uint16)
    out = pack_bits(np.zeros(33, np.uint16), 12)
    found = unpack_bits(agree(WORDS, [pack_bits(codes, 12), out, 33])[1], 12, 33)
    np.testing.assert_array_equal(found[19:], codes[3:17])
    assert not found[:19].any()


SHARING = [
    ("u4", "local(8, 1) * spatial(1, 32)", 0, ""),
    ("u4", "spatial(8, 4) * local(1, 8)", 1, "assume %n % 8 == 0"),
    ("u3", "spatial(8, 8) * local(1, 4)", 0, "assume %n % 8 == 0"),
    ("u4", "spatial(8, 4) * local(1, 8)", 0, ""),  # rows may begin inside a byte
]


@pytest.mark.parametrize(("kind", "layout", "column", "assume"), SHARING)
def test_threads_that_may_share_a_byte_are_an_error(
    kind: str, layout: str, column: int, assume: str
) -> None:
    text = MOVE.format(
        t=kind, warps=2, assume=assume, rows=8, columns=32, layout=layout, row=0, column=column
    )
    with pytest.raises(VMError) as caught:
        compile_function(parse(text))
    assert caught.value.message == (
        f"`store`: elements of `{kind}` may share bytes between threads"
    )
    bits, n = dtype(kind).bits, 41
    data = pack_bits(random_codes(bits, 8, n), bits)
    with pytest.raises(ExecutionError, match="both store to byte"):
        run(parse(text.replace(assume, "")), [data, data.copy(), 8, n, 0, 0])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*LAYOUTS, "spatial(4, 2) * local(2, 3)", "local(3, 1) * spatial(2, 6)"]),
    st.integers(1, 7), st.integers(0, 7), st.integers(0, 80),
)  # fmt: skip
def test_the_proof_of_ownership_is_exact(text: str, bits: int, residue: int, stride: int) -> None:
    layout = parse_layout(text)
    table = layout.table()
    places = (table[..., 0] * stride + table[..., 1]) * bits + residue
    owners: dict[int, set[tuple[int, ...]]] = {}
    for thread in range(layout.num_threads):
        for place in places[thread].tolist():
            for byte in range(place // 8, (place + bits - 1) // 8 + 1):
                owners.setdefault(byte, set()).add(layout.spatial_part(thread))
    meant = all(len(threads) == 1 for threads in owners.values())
    assert _distinct(layout, np.zeros_like(places), places, bits) == meant


INFERRED = """func @f(%x: *f32, %y: *{t}, %z: *{t}) warps = 4 {{
  %gx = global_view %x : global<f32, [24, 40]>
  %gy = global_view %y : global<{t}, [24, 40]>
  %gz = global_view %z : global<{t}, [24, 40]>
  %a = load %gx[0, 0] : reg<f32, [24, 40]>
  %b = cast %a {{dtype = {t}}}
  store %gy[0, 0], %b
  %c = load %gy[0, 0] : reg<{t}, [24, 40]>
  store %gz[0, 0], %c
}}"""


@pytest.mark.parametrize("kind", ["u1", "i3", "u4", "e2m3", "u7"])
def test_inferred_layouts_keep_bytes_whole(kind: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, (24, 40)).astype(np.float32)
    y = np.zeros(24 * 40 * dtype(kind).bits // 8, np.uint8)
    found = agree(INFERRED.format(t=kind), [x, y, y.copy()])
    np.testing.assert_array_equal(found[1], found[2])
    assert found[1].any()
