"""Layouts to text and back."""

import pytest
from hypothesis import given

from tileloom.layouts import (
    LayoutError,
    MemoryLayout,
    RegisterLayout,
    column_major,
    local,
    parse_layout,
    parse_memory_layout,
    replicate,
    row_major,
    spatial,
    strided,
)

from .strategies import drawn, memory_layouts, pairs, register_layouts


@drawn(500)
@given(register_layouts())
def test_register_layout_round_trip(layout: RegisterLayout) -> None:
    assert parse_layout(str(layout)) == layout


@drawn(100)
@given(pairs())
def test_text_composes(both: tuple[RegisterLayout, RegisterLayout]) -> None:
    f, g = both
    assert parse_layout(f"{f} * {g}") == f * g == parse_layout(f"({f})*({g})")


@drawn(200)
@given(memory_layouts())
def test_memory_layout_round_trip(layout: MemoryLayout) -> None:
    assert parse_memory_layout(str(layout)) == layout


@pytest.mark.parametrize(
    "text",
    [
        "column_local(2, 2) * spatial(8, 4) * local(1, 2)",
        "local(2, 1) * column_spatial(4, 8) * local(2, 1)",
        "local(2, 1) * spatial(8, 4) * local(1, 2)",
        "local(2, 1) * replicate(4) * spatial(8, 1)",
        "local(1, 2) * spatial(8, 1) * replicate(4)",
        "replicate(4) * local(1, 1)",
        "replicate(4)",
        "local()",
        "local(1)",
        "layout(shape=[4], modes=[[2, 2]], spatial=[1, 0], local=[])",
        "layout(shape=[4, 3], modes=[[2, 2], [3]], spatial=[1, replicate(2), 0], local=[2])",
    ],
)
def test_canonical_texts(text: str) -> None:
    assert str(parse_layout(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "row_major(8, 64)",
        "column_major(8, 64)",
        "strided([8, 64], [72, 1])",
        "row_major(8, 64) ^ swizzle(3, 4, 3)",
        "memory(shape=[8, 128], digits=[[8], [2, 64]], strides=[[64], [512, 1]], start=0)",
        "memory(shape=[2], digits=[[2]], strides=[[1]], start=7) ^ swizzle(1, 4, 3)",
    ],
)
def test_canonical_memory_texts(text: str) -> None:
    assert str(parse_memory_layout(text)) == text


def test_texts_name_what_they_mean() -> None:
    assert parse_layout(" spatial( 2,3 )*local(1,2)") == spatial(2, 3) * local(1, 2)
    assert parse_layout("replicate(3) * local(2)") == replicate(3) * local(2)
    assert parse_memory_layout("row_major(3, 5)") == row_major(3, 5)
    assert parse_memory_layout("column_major(3, 5)") == column_major(3, 5)
    assert parse_memory_layout("strided([3, 5], [7, 1])") == strided([3, 5], [7, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one of `local`, .* at column 1, not the end: ``"),
        ("locl(2)", "expected one of .* at column 1, not `locl`"),
        ("local(2", "expected `,` at column 8, not the end"),
        ("local(2) spatial(3)", "expected the end at column 10, not `spatial`"),
        ("local(x)", "expected an integer at column 7, not `x`"),
        ("local(2) * spatial(2, 2)", "cannot compose layouts of rank 1 and 2"),
        ("replicate(2, 2)", "`replicate` takes one number, not 2"),
        ("layout(shape=[4], modes=[[4]], spatial=[1], local=[])", "no mode 1 of 1"),
        ("layout(shape=[4], modes=[[4]], spatial=[], local=[])", "give 1 of extent 4"),
        ("layout(shape=[4], modes=[[4], [2]], spatial=[0], local=[])", "modes of 2 dimensions"),
    ],
)
def test_wrong_text_is_explained(text: str, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        parse_layout(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows(2)", "expected one of `row_major`, .* at column 1, not `rows`"),
        ("strided([2], [1, 1])", "2 strides for 1 dimensions"),
        ("row_major(4, 64) ^ swizzle(3, 2, 3)", "no swizzle of 3 bits at 2"),
        ("memory(shape=[4], digits=[[2]], strides=[[1]], start=0)", "do not give the shape"),
        ("memory(shape=[4], digits=[[4]], strides=[[1, 1]], start=0)", "differ in number"),
    ],
)
def test_wrong_memory_text_is_explained(text: str, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        parse_memory_layout(text)
