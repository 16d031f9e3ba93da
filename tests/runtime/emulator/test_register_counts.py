"""`setmaxnreg`: what a group of four warps may give and take."""

from __future__ import annotations

import pytest

from tileloom.runtime.emulator import EmulatorError, parse_module

from .harness import kernel_text

ROLES = """
  mov.u32 %r0, %tid.x; setp.lt.u32 %p0, %r0, 128; @%p0 bra FIRST;
  SECOND bra END;
  FIRST:
  ONE
  END:
"""
LESS, MORE = "setmaxnreg.dec.sync.aligned.u32 {};", "setmaxnreg.inc.sync.aligned.u32 {};"


def launch(one: str, second: str, head: str = ".minnctapersm 1") -> None:
    body = ROLES.replace("ONE", one).replace("SECOND", second)
    text = kernel_text(body, 0).replace(".visible .entry k()", f".visible .entry k()\n{head}")
    for seed in range(3):
        parse_module(text).kernels["k"].launch(2, 256, [], seed=seed)


def more(count: int) -> str:
    return MORE.format(count)


def less(count: int) -> str:
    return LESS.format(count)


@pytest.mark.parametrize(
    ("one", "second", "head"),
    [
        (less(40), more(216), ".minnctapersm 1"),
        (more(128) + less(56), more(160), ".maxnreg 128"),
        (more(160) + less(56), less(40) + more(160), ".minnctapersm 1"),
        (less(80), "", ".minnctapersm 2"),
        (more(160) + more(128), "", ""),  # without a start the assembler leaves them out
    ],
)
def test_roles(one: str, second: str, head: str) -> None:
    launch(one, second, head)


@pytest.mark.parametrize(
    ("one", "second", "head", "said"),
    [
        (more(128), more(160), ".minnctapersm 1", "warp 0 has 160 registers a thread already"),
        (less(64), less(40) + less(48), ".minnctapersm 1", "warp 4 has 40 registers a thread"),
        (less(136), "", ".minnctapersm 2", "warp 0 has 128 registers a thread already"),
        (more(128), more(160), ".maxnreg 128", "of their lanes, and it has 1024"),
        (more(44), "", "", "takes a multiple of 8 from 24 to 256"),
        (
            "setp.eq.u32 %p1, %r0, 3; @%p1 bra END;" + more(40), "", ".maxnreg 40",
            "setmaxnreg needs all threads of its warps",
        ),
        (
            "setp.lt.u32 %p1, %r0, 64; @%p1 bra END;" + more(40), "", ".maxnreg 32",
            "warps of a group of four don't change together",
        ),
    ],
)  # fmt: skip
def test_mistakes(one: str, second: str, head: str, said: str) -> None:
    with pytest.raises(EmulatorError) as caught:
        launch(one, second, head)
    assert said in caught.value.message
