"""Barriers that count, written wrongly."""

from __future__ import annotations

import pytest

from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

HEAD = """func @f(%n: i32, %c: f32) warps = 1 {
  %s = alloc_shared : shared<f32, [16]>
  %b = alloc_mbarrier : mbarrier<[4]>
"""


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("%r = alloc_mbarrier", "`alloc_mbarrier`: the type is missing", "add `: mbarrier<[4]>`"),
        (
            "%r = alloc_mbarrier {count = 0} : mbarrier<[4]>",
            "`alloc_mbarrier`: `count` is 0",
            "1 to 1048575",
        ),
        (
            "%r = alloc_mbarrier : mbarrier<[1025]>",
            "`%r` has 1025 barriers, the limit is 1024",
            None,
        ),
        (
            "%r = alloc_mbarrier : mbarrier<f32, [4]>",
            "`mbarrier` needs a shape and nothing else",
            "write `mbarrier<[4]>`",
        ),
        ("%r = alloc_mbarrier : mbarrier", "`mbarrier` needs a shape", "write `mbarrier<[4]>`"),
        (
            "mbarrier_arrive %s[0]",
            "`mbarrier_arrive`: `%s` must be an array of barriers",
            "make one with `alloc_mbarrier`",
        ),
        (
            "mbarrier_arrive %b[0, 1]",
            "`mbarrier_arrive`: 2 indices for a tile of rank 1",
            "give 1 indices, one a dimension",
        ),
        ("mbarrier_arrive %b[0] {count = 0}", "`mbarrier_arrive`: `count` is 0", "1 to 1048575"),
        (
            "mbarrier_arrive %b[0] {per = block}",
            "`mbarrier_arrive`: unknown `per` `block`",
            "thread or warp",
        ),
        ("mbarrier_arrive %b[0], %s", "`mbarrier_arrive`: the rank must be a scalar", None),
        (
            "mbarrier_expect %b[0], %c",
            "`mbarrier_expect`: the number of bytes is a float, not an integer: `%c`",
            None,
        ),
        (
            "mbarrier_wait %b[0], 1.0",
            "`mbarrier_wait`: the phase is a float, not an integer: `1.0`",
            None,
        ),
        (
            "%r = mbarrier_test %b[0], true",
            "`mbarrier_test`: the phase is a condition, not an integer: `true`",
            None,
        ),
    ],
)
def test_wrong_operands(line: str, message: str, hint: str | None) -> None:
    with pytest.raises(VMError) as caught:
        parse(f"{HEAD}  {line}\n}}")
    assert caught.value.message == message
    assert hint is None or caught.value.hint == hint
    assert caught.value.location is not None and caught.value.location.line == 4
