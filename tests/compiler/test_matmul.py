"""Products on tensor cores: fragments, permutations of rows, columns and k, batches, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree
from numpy.typing import NDArray

from tileloom.compiler import compile_function
from tileloom.vm import dtype, parse
from tileloom.vm.diagnostics import VMError

PRODUCT = """func @f(%a: *{t}, %b: *{t}, %c: *{s}) warps = {warps} {{
  %ga = global_view %a : global<{t}, [{m}, {k}]>
  %gb = global_view %b : global<{t}, [{k}, {n}]>
  %gc = global_view %c : global<{s}, [{m}, {n}]>
  %acc = full {{fill = 1}} : reg<{s}, [{m}, {n}]{lc}>
  %x = load %ga[0, 0] : reg<{t}, [{m}, {k}]{la}>
  %y = load %gb[0, 0] : reg<{t}, [{k}, {n}]{lb}>
  mma %acc, %x, %y
  store %gc[0, 0], %acc
}}"""
A16 = ", column_local(2, 2) * spatial(8, 4) * local(1, 2)"
B16 = ", local(2, 1) * column_spatial(4, 8) * local(2, 1)"
C = ", local(2, 1) * spatial(8, 4) * local(1, 2)"


def product(
    kind: str, total: str, m: int, n: int, k: int, layouts: tuple[str, str, str], warps: int = 1
) -> None:
    rng = np.random.default_rng(0)
    element, sums = dtype(kind), dtype(total)
    a, b = (element.encode(rng.integers(-4, 5, shape)) for shape in ((m, k), (k, n)))
    la, lb, lc = layouts
    text = PRODUCT.format(t=kind, s=total, m=m, n=n, k=k, la=la, lb=lb, lc=lc, warps=warps)
    storage = [_storage(a, kind), _storage(b, kind), np.zeros((m, n), _numpy(total))]
    found = agree(text, storage)[2]
    meant = 1 + element.decode(a).astype(np.float64) @ element.decode(b).astype(np.float64)
    np.testing.assert_array_equal(sums.decode(found.view(sums.code_dtype)), meant)


def _numpy(kind: str) -> Any:
    return dtype(kind).numpy or dtype(kind).code_dtype


def _storage(codes: NDArray[Any], kind: str) -> NDArray[Any]:
    return np.ascontiguousarray(codes).view(_numpy(kind))


@pytest.mark.parametrize(
    ("kind", "total"),
    [
        ("f16", "f32"),
        ("f16", "f16"),
        ("bf16", "f32"),
        ("tf32", "f32"),
        ("i8", "i32"),
        ("u8", "i32"),
    ],
)
@pytest.mark.parametrize(
    ("m", "n", "k", "warps"), [(16, 8, 32, 1), (32, 16, 64, 1), (64, 32, 32, 4), (16, 64, 32, 2)]
)
def test_inferred_layouts(kind: str, total: str, m: int, n: int, k: int, warps: int) -> None:
    product(kind, total, m, n, k, ("", "", ""), warps)


@pytest.mark.parametrize(
    "layouts",
    [
        (A16, B16, C),
        ("", "", C),
        # k permuted: lane q owns four consecutive k
        (
            ", local(2, 1) * spatial(8, 4) * local(1, 4)",
            ", column_spatial(4, 8) * local(4, 1)",
            C,
        ),
        # rows interleaved: lane group g owns rows 2g, 2g + 1
        (
            ", local(1, 2) * spatial(8, 4) * local(2, 1) * local(1, 2)",
            B16,
            ", spatial(8, 4) * local(2, 2)",
        ),
        # the default fragment's words in another order
        (", local(2, 2) * spatial(8, 4) * local(1, 2)", B16, C),
    ],
)
def test_annotated_layouts(layouts: tuple[str, str, str]) -> None:
    product("f16", "f32", 16, 8, 16, layouts)


def test_half_a_fragment() -> None:
    product(
        "f16",
        "f32",
        16,
        8,
        8,
        (", local(2, 1) * spatial(8, 4) * local(1, 2)", ", column_spatial(4, 8) * local(2, 1)", C),
    )


def test_operands_in_other_layouts_are_converted() -> None:
    layouts = (", spatial(16, 2) * local(1, 8)", ", spatial(16, 2) * local(1, 4)", C)
    product("f16", "f32", 16, 8, 16, layouts)
    text = PRODUCT.format(
        t="f16", s="f32", m=16, n=8, k=16, la=layouts[0], lb=layouts[1], lc=C, warps=1
    )
    reports = [str(c) for c in compile_function(parse(text)).conversions]
    assert len(reports) == 2 and "`mma`: a converted from" in reports[0]
    assert all(", by lane exchange: " in text and text.endswith(" cycles") for text in reports)


BATCH = """func @f(%a: *f16, %b: *f16, %c: *f32) warps = 2 {
  %ga = global_view %a : global<f16, [2, 32, 16]>
  %gb = global_view %b : global<f16, [2, 16, 8]>
  %gc = global_view %c : global<f32, [2, 32, 8]>
  %acc = full : reg<f32, [2, 32, 8]>
  %x = load %ga[0, 0, 0] : reg<f16, [2, 32, 16]>
  %y = load %gb[0, 0, 0] : reg<f16, [2, 16, 8]>
  mma %acc, %x, %y
  mma %acc, %x, %y
  store %gc[0, 0, 0], %acc
}"""


def test_batches() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, s).astype(np.float16) for s in ((2, 32, 16), (2, 16, 8)))
    found = agree(BATCH, [a, b, np.zeros((2, 32, 8), np.float32)])[2]
    np.testing.assert_array_equal(found, 2 * (a.astype("f4") @ b.astype("f4")))


def test_a_mismatch_names_the_layouts() -> None:
    text = PRODUCT.format(
        t="f16",
        s="f32",
        m=16,
        n=8,
        k=16,
        la="",
        lb="",
        lc=", spatial(16, 2) * local(1, 4)",
        warps=1,
    )
    with pytest.raises(VMError) as caught:
        compile_function(parse(text))
    error = caught.value
    assert error.message.startswith("`mma`: the layouts are no fragments: ")
    assert [note.split("`")[1] for note, _ in error.notes] == ["%acc", "%x", "%y"]
    assert "spatial(16, 2) * local(1, 4)" in error.notes[0][0]
    assert error.location is not None and error.location.line == 8


SIMT = """func @f(%a: *{t}, %b: *{t}, %c: *{t}) warps = 1 {{
  %ga = global_view %a : global<{t}, [16, 6]>
  %gb = global_view %b : global<{t}, [6, 8]>
  %gc = global_view %c : global<{t}, [16, 8]>
  %acc = full {{fill = 1}} : reg<{t}, [16, 8], spatial(8, 4) * local(2, 2)>
  %x = load %ga[0, 0] : reg<{t}, [16, 6]>
  %y = load %gb[0, 0] : reg<{t}, [6, 8]>
  simt_dot %acc, %x, %y
  store %gc[0, 0], %acc
}}"""


DEPTH_ONE = """func @f(%a: *f32, %b: *f32, %c: *f32) warps = 1 {
  %ga = global_view %a : global<f32, [16, 1]>
  %gb = global_view %b : global<f32, [1, 8]>
  %gc = global_view %c : global<f32, [16, 8]>
  %acc = full {fill = 1.0} : reg<f32, [16, 8], spatial(8, 4) * local(2, 2)>
  %x = load %ga[0, 0] : reg<f32, [16, 1]>
  %y = load %gb[0, 0] : reg<f32, [1, 8]>
  simt_dot %acc, %x, %y
  store %gc[0, 0], %acc
}"""


def test_a_product_of_depth_one_is_added_too() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 9, s).astype(np.float32) for s in ((16, 1), (1, 8)))
    found = agree(DEPTH_ONE, [a, b, np.zeros((16, 8), np.float32)])[2]
    np.testing.assert_array_equal(found, 1 + a @ b)


@pytest.mark.parametrize("kind", ["f32", "i32"])
def test_products_on_plain_lanes(kind: str) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 9, s).astype(dtype(kind).numpy) for s in ((16, 6), (6, 8)))
    found = agree(SIMT.format(t=kind), [a, b, np.zeros((16, 8), a.dtype)])[2]
    np.testing.assert_array_equal(found, 1 + a @ b)
