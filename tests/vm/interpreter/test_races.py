"""Accesses that nothing orders: between barriers, before waits, and within one byte."""

from typing import Any

import numpy as np
import pytest

from .program_text import body

DATA = np.zeros(64, np.float32)


# Races between barriers


RACE = """
    %x = full {{fill = 1.0}} : reg<f32, [32], #row>
    %s = alloc_shared : shared<f32, [32]>
    store %s[0], %x
    {between}
    %y = load %s[{offset}] : reg<f32, [{count}], {layout}>
"""
TURNED = "local(2) * spatial(16)"


@pytest.mark.parametrize(
    ("offset", "count", "layout", "races"),
    [
        (0, 32, "#row", False),  # each thread reads what it wrote
        (1, 32, "#row", True),
        (0, 32, TURNED, True),
        (0, 16, "spatial(16)", False),
        (0, 32, "replicate(1) * spatial(32)", False),
        (0, 16, "replicate(2) * spatial(16)", True),
    ],
)
def test_reading_what_another_thread_wrote(
    message: Any, interpret: Any, offset: int, count: int, layout: str, races: bool
) -> None:
    text = body(RACE.format(between="", offset=offset, count=count, layout=layout))
    if races:
        assert "race on `%s`" in message(text, [DATA.copy()])
        interpret(text, [DATA.copy()], checks=False)
    else:
        interpret(text, [DATA.copy()])
    fenced = RACE.format(between="barrier", offset=offset, count=count, layout=layout)
    interpret(body(fenced), [DATA.copy()])


def test_the_race_message(message: Any) -> None:
    text = body(RACE.format(between="", offset=1, count=4, layout="spatial(4)"))
    assert message(text, [DATA.copy()]) == (
        "execution error: `load`: race on `%s`: element [1] is accessed by thread 0, and was "
        "written by thread 1 with no barrier in between\n"
        " --> <text>:9:3\n"
        "  |\n"
        "9 |   %y = load %s[1] : reg<f32, [4], spatial(4)>\n"
        "  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "note: written here\n"
        " --> <text>:7:3\n"
        "hint: add a `barrier` between the two"
    )


OVERWRITE = """
    %x = full {{fill = 1.0}} : reg<f32, [32], #row>
    %s = alloc_shared : shared<f32, [32]>
    store %s[0], %x
    barrier
    %y = load %s[0] : reg<f32, [32], {layout}>
    {between}
    %z = full {{fill = 2.0}} : reg<f32, [32], #row>
    store %s[0], %z
"""


@pytest.mark.parametrize(("layout", "races"), [("#row", False), (TURNED, True)])
def test_overwriting_what_another_thread_reads(
    message: Any, interpret: Any, layout: str, races: bool
) -> None:
    text = body(OVERWRITE.format(layout=layout, between=""))
    if races:
        assert "and was read by" in message(text, [DATA.copy()])
    else:
        interpret(text, [DATA.copy()])
    interpret(body(OVERWRITE.format(layout=layout, between="barrier")), [DATA.copy()])


TWICE = """
    %i = arange : reg<f32, [32], #row>
    %s = alloc_shared : shared<f32, [32]>
    store %s[0], %i
    %x = {second}
    store %s[0], %x
"""


def test_writing_what_another_thread_wrote(message: Any, interpret: Any) -> None:
    other = f"full {{fill = 5.0}} : reg<f32, [32], {TURNED}>"
    text = body(TWICE.format(second=other))
    assert "and was written by" in message(text, [DATA.copy()])
    same = f"arange : reg<f32, [32], {TURNED}>"
    interpret(body(TWICE.format(second=same)), [DATA.copy()])
    replicated = TWICE.replace("#row", "replicate(2) * spatial(16) * local(2)")
    interpret(body(replicated.format(second=same)), [DATA.copy()])
    interpret(body(TWICE.format(second="full {fill = 5.0} : reg<f32, [32], #row>")), [DATA.copy()])


def test_an_equal_value_is_no_excuse_for_a_reader(message: Any) -> None:
    """After two threads stored equal values neither may rely on being the last."""
    text = body(
        TWICE.format(second=f"arange : reg<f32, [32], {TURNED}>")
        + "%y = load %s[0] : reg<f32, [32], #row>"
    )
    assert "written by several threads" in message(text, [DATA.copy()])


def test_tiles_without_a_layout_count_as_anyones(message: Any, interpret: Any) -> None:
    text = """
        %x = full {fill = 1.0} : reg<f32, [32]>
        %s = alloc_shared : shared<f32, [32]>
        store %s[0], %x
        %y = load %s[0] : reg<f32, [32]>"""
    assert "race on `%s`" in message(body(text), [DATA.copy()])
    interpret(body(text.replace("%y =", "barrier\n%y =")), [DATA.copy()])


def test_shared_atomics_race_with_plain_accesses_only(message: Any, interpret: Any) -> None:
    text = """
        %x = full {fill = 1.0} : reg<f32, [32], #row>
        %s = alloc_shared : shared<f32, [32]>
        store %s[0], %x
        barrier
        atomic %s[0], %x
        atomic %s[0], %x
        %y = load %s[0] : reg<f32, [32], #row>"""
    assert "race on `%s`" in message(body(text), [DATA.copy()])
    ordered = text.replace("%y =", "barrier\n%y =") + "\nstore %g[0], %y"
    data = DATA.copy()
    interpret(body(ordered), [data])
    assert data[:32].tolist() == [3.0] * 32
    assert "race on `%s`" in message(body(ordered.replace("barrier\n%y", "%y")), [data])
    early = text.replace("barrier\n        atomic", "atomic")
    assert "`atomic`: race on `%s`" in message(body(early), [data])


# Asynchronous copies


COPY = """
    %s = alloc_shared : shared<f32, [64]>
    {before}
    copy_async %s[0], %g[0] {{shape = [32]}}
    copy_async_commit
    {between}
    {use}
"""
USES = {
    "read": "%y = load %s[16] : reg<f32, [32]>",
    "written": "%y = full : reg<f32, [32]>\nstore %s[16], %y",
    "copied to": "copy_async %s[31], %g[0] {shape = [32]}",
    "freed": "free_shared %s",
}


@pytest.mark.parametrize("use", sorted(USES))
def test_using_a_tile_while_a_copy_is_in_flight(message: Any, interpret: Any, use: str) -> None:
    fill = "%f = full {fill = 1.0} : reg<f32, [64]>\nstore %s[0], %f\nbarrier"
    text = COPY.format(before=fill, between="", use=USES[use])
    assert "an asynchronous copy into it is in flight" in message(body(text), [DATA.copy()])
    waited = COPY.format(before=fill, between="copy_async_wait\nbarrier", use=USES[use])
    interpret(body(waited), [DATA.copy()])


def test_elements_beside_a_copy_may_be_used(interpret: Any) -> None:
    text = COPY.format(
        before="%f = full {fill = 1.0} : reg<f32, [64]>\nstore %s[0], %f\nbarrier",
        between="",
        use="%y = load %s[32] : reg<f32, [32]>\ncopy_async %s[32], %g[0] {shape = [16]}",
    )
    text = text.replace("%s[32], %g", "%s[48], %g").replace(
        "%s[32] : reg<f32, [32]>", "%s[32] : reg<f32, [16]>"
    )
    interpret(body(text), [DATA.copy()])


def test_a_wait_alone_shows_the_data_to_no_other_thread(message: Any, interpret: Any) -> None:
    text = COPY.format(before="", between="copy_async_wait", use="%y = load %s[0] : reg<f32, [32]>")
    assert "written by several threads with no barrier" in message(body(text), [DATA.copy()])
    interpret(body(text.replace("copy_async_wait", "copy_async_wait\nbarrier")), [DATA.copy()])


def test_a_copy_over_what_others_still_read(message: Any, interpret: Any) -> None:
    text = COPY.format(
        before="%f = full : reg<f32, [64]>\nstore %s[0], %f\nbarrier\n"
        "%r = load %s[0] : reg<f32, [64]>\n{sync}",
        between="",
        use="",
    )
    raced = body(text.replace("{sync}", ""))
    assert "`copy_async`: race on `%s`" in message(raced, [DATA.copy()])
    interpret(body(text.replace("{sync}", "barrier")), [DATA.copy()])


# Bytes shared by threads


BYTES = """layout #x = {layout}
func @f(%p: *u3, %n: i32) warps = 1, grid = [%n] {{
  %g = global_view %p : global<u3, [64]>
  %x = full {{fill = 5}} : reg<u3, [16], #x>
  store %g[{at}], %x
}}"""


@pytest.mark.parametrize(
    ("layout", "at", "fine"),
    [
        ("spatial(2) * local(8)", "0", True),
        ("spatial(4) * local(4)", "0", False),
        ("local(2) * spatial(8)", "0", False),
        ("spatial(2) * local(8)", "1", False),
        ("spatial(1) * local(16)", "1", True),
        ("replicate(4) * spatial(2) * local(8)", "8", True),
    ],
)
def test_one_byte_has_one_thread(
    message: Any, interpret: Any, layout: str, at: str, fine: bool
) -> None:
    text = BYTES.format(layout=layout, at=at)
    data = np.zeros(24, np.uint8)
    if fine:
        interpret(text, [data, 1])
    else:
        found = message(text, [data, 1])
        assert "both store to byte" in found
        assert "a thread stores whole bytes" in found
    interpret(text, [data, 1], checks=False)


def test_one_byte_has_one_block(message: Any, interpret: Any) -> None:
    layout = "spatial(1) * local(16)"
    interpret(BYTES.format(layout=layout, at="block.x * 16"), [np.zeros(24, np.uint8), 4])
    text = BYTES.format(layout=layout, at="block.x * 15")
    found = message(text, [np.zeros(24, np.uint8), 2])
    assert "both store to one byte of `%p`" in found


def test_one_byte_of_shared_memory_has_one_thread(message: Any, interpret: Any) -> None:
    text = """layout #x = {layout}
layout #s = {memory}
func @f() warps = 1 {{
  %s = alloc_shared : shared<u4, [8, 4], #s>
  %x = full {{fill = 5}} : reg<u4, [8, 4], #x>
  store %s[0, 0], %x
}}"""
    rows, columns = "spatial(8, 1) * local(1, 4)", "spatial(1, 4) * local(8, 1)"
    down = "strided([8, 4], [1, 8])"
    interpret(text.format(layout=rows, memory="row_major(8, 4)"), [])
    interpret(text.format(layout=columns, memory=down), [])
    for layout, memory in ((columns, "row_major(8, 4)"), (rows, down)):
        assert "both store to byte" in message(text.format(layout=layout, memory=memory), [])


# Meetings of warps

WARPS = """layout #row = spatial(64) * local(2)
layout #turned = spatial(2) * local(2) * spatial(32)
layout #far = local(2) * spatial(64)
func @f(%p: *f32) warps = 2 {{
  %g = global_view %p : global<f32, [128]>
  %s = alloc_shared : shared<f32, [128]>
  {fill}
  {between}
  %y = load %s[{offset}] : reg<f32, [{count}], {layout}>
  {after}
}}"""
STORED = "%x = full : reg<f32, [128], #row>\n  store %s[0], %x"
COPY_ALL = "copy_async %s[0], %g[0] {{shape = [128]{layout}}}"
WIDE = np.zeros(128, np.float32)


def warps(
    fill: str, between: str, layout: str = "#turned", after: str = "", offset: int = 0
) -> str:
    count = 128 if layout.startswith("#") else 64
    return WARPS.format(
        fill=fill, between=between, layout=layout, after=after, offset=offset, count=count
    )


def test_a_warp_reads_what_it_wrote_once_it_has_met(message: Any, interpret: Any) -> None:
    assert "race on `%s`" in message(warps(STORED, ""), [WIDE.copy()])
    interpret(warps(STORED, "warp_barrier"), [WIDE.copy()])


@pytest.mark.parametrize("layout", ["#far", "spatial(32) * local(2)"])
def test_meetings_of_warps_order_nothing_between_warps(
    message: Any, interpret: Any, layout: str
) -> None:
    offset = 0 if layout == "#far" else 64
    text = warps(STORED, "warp_barrier", layout, offset=offset)
    assert "written by a thread of warp" in message(text, [WIDE.copy()])
    interpret(warps(STORED, "barrier", layout, offset=offset), [WIDE.copy()])


@pytest.mark.parametrize(
    ("layout", "between", "races"),
    [
        ("", "warp_barrier", True),
        ("", "barrier", False),
        (", layout = #far", "warp_barrier", True),
        (", layout = #far", "barrier", False),
        (", layout = #row", "", True),
        (", layout = #row", "warp_barrier", False),
        (", layout = #turned", "", False),
    ],
)
def test_copies_are_their_threads_or_nobodys(
    message: Any, interpret: Any, layout: str, between: str, races: bool
) -> None:
    copy = f"{COPY_ALL.format(layout=layout)}\n  copy_async_commit\n  copy_async_wait"
    text = warps(copy, between)
    if races:
        assert "race on `%s`" in message(text, [WIDE.copy()])
    else:
        interpret(text, [WIDE.copy()])


def test_a_copy_over_what_its_warp_read(message: Any, interpret: Any) -> None:
    again, fill = COPY_ALL.format(layout=", layout = #row"), f"{STORED}\n  barrier"
    assert "race on `%s`" in message(warps(fill, "", after=again), [WIDE.copy()])
    interpret(warps(fill, "", after=f"warp_barrier\n  {again}"), [WIDE.copy()])


def test_an_access_after_a_meeting_is_not_ordered_yet(message: Any) -> None:
    """A lane reads after the meeting what another then overwrites."""
    again = "warp_barrier\n  %a = load %s[0] : reg<f32, [128], #turned>\n  store %s[0], %z"
    fill = f"{STORED}\n  %z = full {{fill = 2.0}} : reg<f32, [128], #row>\n  barrier"
    assert "race on `%s`" in message(warps(fill, "", "#row", again), [WIDE.copy()])


@pytest.mark.parametrize(
    ("layout", "races"),
    [
        ("spatial(2) * replicate(4) * spatial(8) * local(8)", False),  # of one warp's lanes
        ("replicate(2) * spatial(32) * local(4)", True),
    ],
)
def test_lanes_that_hold_the_same(message: Any, interpret: Any, layout: str, races: bool) -> None:
    text = warps(STORED, "warp_barrier", "#row").replace("%y = load %s[0] : reg<f32, [128], #row>",
        f"%y = load %s[0] : reg<f32, [128], {layout}>")  # fmt: skip
    if races:
        assert "race on `%s`" in message(text, [WIDE.copy()])
    else:
        interpret(text, [WIDE.copy()])
        assert "accessed by threads of warp 0" in message(
            text.replace("warp_barrier\n", "\n"), [WIDE.copy()]
        )


@pytest.mark.parametrize("between", ["warp_barrier", ""])
def test_lanes_that_wrote_the_same_meet_where_clocks_say_what_is_ordered(
    message: Any, interpret: Any, between: str
) -> None:
    layout = "spatial(2) * replicate(4) * spatial(8) * local(8)"
    barriers = "%b = alloc_mbarrier : mbarrier<[1]>"
    text = warps(f"{barriers}\n  {STORED.replace('#row', layout)}", between, "#turned")
    if between:
        interpret(text, [WIDE.copy()])
    else:
        assert "race on `%s`" in message(text, [WIDE.copy()])
