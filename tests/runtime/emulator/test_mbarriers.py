"""`mbarrier` by the book: counts, states, bytes, and what breaks the rules."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError

from .harness import run_kernel

INIT = """
  mov.u32 %r0, smem; setp.eq.u32 %p0, %r50, 0;
  @%p0 mbarrier.init.shared::cta.b64 [%r0], COUNT;
  bar.sync 0;
"""
# p1, p2: whether phases of parity 0 and 1 are over; each thread stores p1 + 2 * p2.
ASK = """
  mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r0], 0;
  mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r0], 1, 1000;
  selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 2, 0, %p2; add.u32 %r1, %r1, %r2;
  mul.wide.u32 %rd1, %r50, 4; add.u64 %rd0, %rd0, %rd1; st.global.u32 [%rd0], %r1;
"""


def ask(body: str, count: int = 64) -> set[int]:
    """What the threads of two warps see after `body`."""
    out = np.zeros(64, np.uint32)
    text = INIT.replace("COUNT", str(count)) + body + "  bar.sync 0;\n" + ASK
    run_kernel(text, [out], block=64, shared=16)
    return set(out.tolist())


def fails(body: str, count: int = 64) -> str:
    with pytest.raises(EmulatorError) as caught:
        ask(body, count)
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "count", "seen"),
    [
        ("", 64, 2),
        ("mbarrier.arrive.shared::cta.b64 _, [%r0];", 64, 1),
        ("mbarrier.arrive.release.cta.shared::cta.b64 %rd5, [%r0], 2;", 128, 1),
        ("mbarrier.arrive.shared::cta.b64 _, [%r0];", 65, 2),
        ("@%p0 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r0], 0;", 1, 1),
        ("@%p0 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r0], 16;", 1, 2),
        ("@%p0 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r0], 16;", 1, 2),
        ("mbarrier.arrive.shared::cta.b64 _, [%r0];\n" * 2, 32, 1),
    ],
)
def test_phases(body: str, count: int, seen: int) -> None:
    if body.count("arrive") == 2:
        first, second = body.splitlines()
        body = f"setp.lt.u32 %p3, %r50, 32; @%p3 {first} bar.sync 0; @!%p3 {second}"
        seen = 2  # two phases are over, the third runs
    assert ask(body, count) == {seen}


LOOK = """
  setp.lt.u32 %p3, %r50, 32; @%p3 bra FIRST;
  mbarrier.arrive.shared::cta.b64 _, [%r0];
  bra END;
  FIRST: ORDER mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r0], 0;
  selp.u32 %r1, 1, 0, %p1;
  mul.wide.u32 %rd1, %r50, 4; add.u64 %rd0, %rd0, %rd1; st.global.u32 [%rd0], %r1;
  END:
"""


def looks(order: str) -> set[int]:
    """How many lanes of a warp see that a phase has ended, in many orders of the warps."""
    found = set()
    for seed in range(1, 40):
        out = np.zeros(64, np.uint32)
        text = INIT.replace("COUNT", "32") + LOOK.replace("ORDER", order)
        text = text.replace("bra END;", "bar.sync 0; bra END;") if "bar" in order else text
        run_kernel(text, [out], block=64, shared=16, seed=seed)
        found.add(int(out.sum()))
    return found


def test_lanes_may_see_a_phase_end_at_different_times() -> None:
    found = looks("")
    assert {0, 32} < found and min(found - {0}) < 16 < max(found - {32})
    # Who knows of all arrivals, or that somebody has seen it end, sees it too.
    assert looks("bar.sync 0;") == {32}
    wait = "WAIT: mbarrier.try_wait.parity.shared::cta.b64 %p4, [%r0], 0; @!%p4 bra WAIT;"
    assert looks(wait) == {32}


def test_states_of_phases() -> None:
    body = """mbarrier.arrive.shared::cta.b64 %rd5, [%r0];
  SPIN: mbarrier.test_wait.shared::cta.b64 %p3, [%r0], %rd5; @!%p3 bra SPIN;"""
    assert ask(body) == {1}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("mbarrier.arrive.shared::cta.b64 _, [%r0], 2;", "128 arrivals at the mbarrier"),
        ("mbarrier.arrive.shared::cta.b64 _, [%r0+8];", "no mbarrier was initialised"),
        ("mbarrier.arrive.shared::cta.b64 _, [%r0+4];", "4 is no place for an mbarrier"),
        ("mbarrier.arrive.shared::cta.b64 _, [%r0+16];", "16 is no place for an mbarrier"),
        ("mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r0], 2;", "parity is 0 or 1"),
        ("@%p0 mbarrier.inval.shared::cta.b64 [%r0]; bar.sync 0;", "no mbarrier was initialised"),
        ("@%p0 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r0], 1048576;", "counts at most"),
        ("mbarrier.init.shared::cta.b64 [%r0+8], 1;", "several threads initialise"),
        ("@%p0 mbarrier.init.shared::cta.b64 [%r0+8], 0;", "an mbarrier of 0 arrivals"),
        (
            "@%p0 mbarrier.init.shared::cta.b64 [%r0+8], 64; "
            "mbarrier.arrive.shared::cta.b64 _, [%r0+8];",
            "used with no barrier after its initialisation",
        ),
        (
            "SPIN: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r0], 0; @!%p3 bra SPIN;",
            "deadlock: nobody can run; waiting: block (0, 0, 0), warp 0 at the mbarrier",
        ),
    ],
)
def test_mistakes(body: str, said: str) -> None:
    assert said in fails(body, 63)


def test_who_is_kept_from_a_barrier_by_what_it_waits_for() -> None:
    """A lane in a deadlock, while the rest of its warp has come to the block's barrier."""
    said = fails(
        "@!%p0 bra NEXT; "
        "SPIN: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r0], 0; @!%p3 bra SPIN; NEXT:",
        63,
    )
    assert "barrier divergence: block (0, 0, 0), warp 0, lane 0 is not at this barrier" in said
    assert "warp 0 at the mbarrier at shared address 0 (phase 0 runs, 0 of 63 arrivals" in said


def test_its_bytes_are_no_data() -> None:
    assert "has no defined value" in fails("ld.shared.b32 %r5, [%r0]; st.global.b32 [%rd0], %r5;")


EXCHANGE = (
    INIT
    + """
  mov.u32 %r3, 7; setp.lt.u32 %p3, %r50, 32; @!%p3 bra OTHER;
  @%p0 st.shared.b32 [%r0+8], %r3;
  {arrive}
  bra DONE;
  OTHER: mbarrier.try_wait.parity.shared::cta.b64 %p4, [%r0], 0; @!%p4 bra OTHER;
  ld.shared.b32 %r4, [%r0+8]; st.global.b32 [%rd0], %r4;
  DONE:
"""
)


@pytest.mark.parametrize("seed", range(4))
def test_a_wait_orders_what_was_done_before_the_arrivals(seed: int) -> None:
    out = np.zeros(1, np.uint32)
    body = EXCHANGE.format(arrive="mbarrier.arrive.shared::cta.b64 _, [%r0];")
    run_kernel(body.replace("COUNT", "32"), [out], block=64, shared=16, seed=seed)
    assert out[0] == 7


def test_an_arrival_before_the_write_orders_nothing() -> None:
    arrive = "mbarrier.arrive.shared::cta.b64 _, [%r0]; @%p0 st.shared.b32 [%r0+8], %r3;"
    body = EXCHANGE.format(arrive=arrive).replace("  @%p0 st.shared.b32 [%r0+8], %r3;\n", "", 1)
    with pytest.raises(EmulatorError) as caught:
        for seed in range(6):
            out = np.zeros(1, np.uint32)
            run_kernel(body.replace("COUNT", "32"), [out], block=64, shared=16, seed=seed)
    assert "race" in caught.value.message or "no defined value" in caught.value.message
