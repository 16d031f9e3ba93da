"""Layouts as HTML, and what registers and memory hold."""

from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given

from tileloom.layouts import (
    LayoutError,
    MemoryLayout,
    RegisterLayout,
    access_costs,
    draw,
    fragments,
    lines_of,
    local,
    memory_html,
    page,
    parse_memory_layout,
    register_html,
    registers_of,
    replicate,
    row_major,
    spatial,
    swizzled,
)
from tileloom.layouts.draw import is_cropped

from .strategies import drawn, memory_layouts, register_layouts

VOID = {"meta", "br", "link", "img"}


class Structure(HTMLParser):
    """Checks that elements nest, and collects the text and what is loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def test_registers_of_a_thread() -> None:
    assert registers_of(fragments.mma_a("f16"), 5, 16)[:2] == [
        (0, ((1, 2), (1, 3))), (1, ((9, 2), (9, 3))),
    ]  # fmt: skip
    # 24-bit elements reach over the ends of registers.
    assert registers_of(local(3), 0, 24) == [
        (0, ((0,), (1,))), (1, ((1,), (2,))), (2, ((2,),)),
    ]  # fmt: skip
    with pytest.raises(LayoutError, match="thread 32 of a layout of 32 threads"):
        registers_of(spatial(32), 32, 16)


def test_lines_of_a_swizzled_tile() -> None:
    first, second, *rest = lines_of(swizzled([8, 64], 16), 16)
    assert first == (0, tuple((0, 8 * i) for i in range(8)))
    assert second == (128, tuple((1, 8 * (i ^ 1)) for i in range(8)))
    assert len(rest) == 6
    (only,) = lines_of(row_major(3), 8)
    assert only.chunks == ((0,), *[None] * 7)


@drawn(40)
@given(memory_layouts(60))
def test_lines_name_the_first_element_of_each_chunk(layout: MemoryLayout) -> None:
    named = {}
    for line in lines_of(layout, 16):
        for number, index in enumerate(line.chunks):
            if index is not None:
                named[line.byte + 16 * number] = layout.byte_offset(index, 16)
    every = np.indices(layout.shape).reshape(layout.rank, -1).T
    offsets = layout.byte_offsets(every, 16)
    for chunk in set(offsets // 16 * 16):
        inside = offsets[offsets // 16 * 16 == chunk]
        assert named[int(chunk)] == inside.min()
    assert len(named) == len(set(offsets // 16))


def test_access_costs() -> None:
    rows = dict((c.access, (c.wavefronts, c.least)) for c in access_costs(row_major(16, 64), 16))
    assert rows == {
        "16 lanes along dimension 0": (16, 1),
        "32 lanes along dimension 1": (1, 1),
        "ldmatrix of 8 rows of 16 bytes": (8, 1),
    }
    swizzle = access_costs(swizzled([16, 64], 16), 16)
    assert [c.wavefronts for c in swizzle] == [2, 1, 1]
    assert access_costs(row_major(32, 4), 4) == []
    assert [c.access for c in access_costs(row_major(8, 12), 16)] == [
        "8 lanes along dimension 0", "12 lanes along dimension 1",
    ]  # fmt: skip
    assert access_costs(row_major(32), 128)[0][1:] == (4, 4)


def test_cropped_pictures() -> None:
    layout = local(8, 8, 8)
    assert is_cropped(layout.shape, 8) and not is_cropped((8, 8), 8)
    assert not is_cropped(layout.shape, None) and not is_cropped((2, 2, 4, 4), 8)
    assert is_cropped((2, 3, 4, 4), 8) and is_cropped((1, 9), 8)
    lines = draw(layout, 2).splitlines()
    assert lines[:4] == ["[0, :, :]", "     0    1", "0  0.0  0.1", "1  0.8  0.9"]
    assert len(lines) == 4
    assert "only the first 2 rows and columns are shown" in register_html(layout, limit=2)
    assert "are shown" not in register_html(local(8, 8), limit=8)
    many = register_html(replicate(32) * spatial(1, 2), limit=3)
    assert "thread 4 local 0, and 29 more</title>" in many


@drawn(25)
@given(register_layouts(60))
def test_register_pages_are_well_formed(layout: RegisterLayout) -> None:
    found = Structure(page("x < y", [register_html(layout, 16)]))
    assert found.loaded == [] and str(layout) in found.words and "x < y" in found.words
    assert layout._repr_html_() == register_html(layout)


@drawn(25)
@given(memory_layouts(60))
def test_memory_pages_are_well_formed(layout: MemoryLayout) -> None:
    found = Structure(page("memory", [memory_html(layout)]))
    assert found.loaded == [] and str(layout) in found.words
    assert layout._repr_html_() == memory_html(layout)


def test_what_the_cards_say() -> None:
    text = register_html(fragments.mma_c("f16") * replicate(2), 32)
    assert "shape [16, 8], 64 threads of 4 elements; each element in 2 threads" in text
    assert "registers of thread 0, elements of 32 bits" in text
    assert "1 thread of 1 element" in register_html(local(1))
    text = memory_html(swizzled([8, 64], 16))
    assert "shape [8, 64], 1024 bytes with elements of 16 bits" in text
    assert "what a warp&#x27;s accesses cost" in text
    text = memory_html(parse_memory_layout("row_major(8, 64) ^ swizzle(3, 4, 3)"), 3)
    assert "cannot swizzle elements of 3 bits" in text
