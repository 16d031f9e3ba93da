"""Pictures of layouts."""

from textwrap import dedent
from xml.etree import ElementTree

import pytest
from hypothesis import given

from tileloom.layouts import (
    MemoryLayout,
    RegisterLayout,
    draw,
    draw_banks,
    draw_banks_svg,
    draw_svg,
    local,
    replicate,
    row_major,
    spatial,
    swizzled,
)

from .strategies import drawn, memory_layouts, register_layouts

SVG = "{http://www.w3.org/2000/svg}"


def test_text_of_a_register_layout() -> None:
    picture = """\
             0    1    2    3
        0  0.0  0.1  1.0  1.1
        1  2.0  2.1  3.0  3.1
        2  4.0  4.1  5.0  5.1"""
    assert draw(spatial(3, 2) * local(1, 2)) == dedent(picture)


def test_replicas_and_further_dimensions() -> None:
    picture = """\
        [0, :, :]
              0     1
        0  0+.0  2+.0
        [1, :, :]
              0     1
        0  0+.1  2+.1"""
    assert draw(local(2, 1, 1) * spatial(1, 1, 2) * replicate(2)) == dedent(picture)


def test_ranks_below_two() -> None:
    assert draw(local(2)) == "     0    1\n0  0.0  0.1"
    assert draw(replicate(2)) == "      0\n0  0+.0"


def test_text_of_banks() -> None:
    rows = [line.split() for line in draw_banks(swizzled([2, 64], 16), 16).splitlines()]
    assert rows[0] == [str(column) for column in range(64)]
    assert rows[1][1:] == [str(column // 2) for column in range(64)]
    assert rows[2][1:9] == [str(4 + column // 2) for column in range(8)]
    assert draw_banks(row_major(1, 3), 4) == "   0  1  2\n0  0  0  0"


@pytest.mark.filterwarnings("error")
@drawn(40)
@given(register_layouts(size=60))
def test_svg_has_every_owner(layout: RegisterLayout) -> None:
    root = ElementTree.fromstring(draw_svg(layout))
    titles = [group.findtext(f"{SVG}title") for group in root.iter(f"{SVG}g")]
    held = [
        f"thread {thread} local {i}"
        for thread in range(layout.num_threads)
        for i in range(layout.num_locals)
    ]
    assert root.findtext(f"{SVG}title") == str(layout)
    assert sorted(
        part for title in titles for part in (title or "").split(": ")[1].split(", ")
    ) == (sorted(held))
    inside(root)


@drawn(40)
@given(memory_layouts(60))
def test_svg_of_banks(layout: MemoryLayout) -> None:
    root = ElementTree.fromstring(draw_banks_svg(layout, 16))
    bytes_ = [int((g.findtext(f"{SVG}title") or "").split()[-1]) for g in root.iter(f"{SVG}g")]
    banks = [int(group.findtext(f"{SVG}text") or "") for group in root.iter(f"{SVG}g")]
    assert banks == [byte // 4 % 32 for byte in bytes_]
    assert len(set(bytes_)) == len(bytes_)
    inside(root)


def inside(root: ElementTree.Element) -> None:
    """All cells lie in the picture, none on another."""
    cells = [(int(r.attrib["x"]), int(r.attrib["y"])) for r in root.iter(f"{SVG}rect")]
    assert len(set(cells)) == len(cells)
    assert all(x + 44 <= int(root.attrib["width"]) for x, _ in cells)
    assert all(y + 22 <= int(root.attrib["height"]) for _, y in cells)
