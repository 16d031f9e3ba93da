"""Bulk copies by the book: sizes, alignment, groups, and what breaks the rules."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError

from .harness import run_kernel

HEAD = """
  mov.u32 %r0, smem; setp.eq.u32 %p0, %r50, 0;
  @%p0 mbarrier.init.shared::cta.b64 [%r0], 1;
  bar.sync 0;
  @!%p0 bra AFTER;
"""
LOAD = (
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0+16], [%rd0], {}, [%r0];"
)
WAIT = """
  AFTER: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r0], 0; @!%p1 bra AFTER;
"""
ANNOUNCE = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r0], {};\n"
STORE = "cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r0+16], {};"


def copy(body: str, tail: str = "", when: str = "late", seed: int = 0) -> np.ndarray:
    """What stands in the second array after `body` in thread 0 and `tail` in all."""
    x, y = np.arange(64, dtype=np.uint32) + 1, np.zeros(64, np.uint32)
    run_kernel(
        HEAD + body + WAIT + tail, [x, y], block=64, shared=512, asynchronous=when, seed=seed
    )
    return y


def fails(body: str, tail: str = "", when: str = "late") -> str:
    with pytest.raises(EmulatorError) as caught:
        copy(body, tail, when)
    return caught.value.message


OUT = f"@!%p0 bra END; {STORE.format(128)} cp.async.bulk.commit_group; "
FETCH = ANNOUNCE.format(128) + LOAD.format(128)


@pytest.mark.parametrize("when", ["late", "early"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "wait", ["cp.async.bulk.wait_group 0;", "cp.async.bulk.wait_group.read 0;"]
)
def test_there_and_back(when: str, seed: int, wait: str) -> None:
    y = copy(FETCH, OUT + wait + " END:", when, seed)
    assert y[:32].tolist() == list(range(1, 33)) and not y[32:].any()


def test_a_store_reads_as_late_as_it_may() -> None:
    """Without a wait for the reading, a later write is what is stored: a race."""
    tail = OUT + "mov.u32 %r9, 77; st.shared.u32 [%r0+16], %r9; cp.async.bulk.wait_group 0; END:"
    assert fails(FETCH, tail).startswith("race")


def test_newest_groups_may_be_in_flight() -> None:
    two = OUT + STORE.format(16).replace("+16", "+32") + " cp.async.bulk.commit_group; "
    one_left = two + "cp.async.bulk.wait_group.read 1; END:"
    assert "ends without a wait" in fails(FETCH, one_left)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (ANNOUNCE.format(8) + LOAD.format(8), "a bulk copy of 8 bytes"),
        (ANNOUNCE.format(0) + LOAD.format(0), "a bulk copy of 0 bytes"),
        (FETCH.replace("[%r0+16]", "[%r0+8]"), "128 bytes at shared address 8"),
        (FETCH.replace("[%r0+16]", "[%r0+400]"), "128 bytes at shared address 400"),
        (FETCH.replace("[%rd0]", "[%rd0+8]"), "is no multiple of 16"),
        (FETCH.replace("[%rd0]", "[%rd0+144]"), "144 bytes into `p0`, of 256"),
        (FETCH.replace("[%rd0], 128, [%r0]", "[%rd0], 128, [%r0+8]"), "no mbarrier was init"),
        (ANNOUNCE.format(64) + LOAD.format(128), "64 bytes more land"),
        (ANNOUNCE.format(256) + LOAD.format(128), "deadlock"),
        (FETCH + LOAD.format(128), "race"),
    ],
)
def test_mistakes(body: str, said: str) -> None:
    assert said in fails(body, "ld.shared.u32 %r1, [%r0+16];")


def test_what_is_in_flight_is_undefined() -> None:
    tail = """@%p0 bra HERE; bra END;
  HERE: mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r0], 128;
  cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0+16], [%rd0], 128, [%r0];
  ld.shared.u32 %r1, [%r0+16]; st.global.u32 [%rd1], %r1; END:"""
    assert "race" in fails(FETCH, tail)


def test_nobody_may_leave_a_load_behind() -> None:
    tail = f"@!%p0 bra END; {FETCH.replace('+16', '+256')} END:"
    assert "all threads have ended, but this copy's bytes are in flight" in fails(FETCH, tail)


def test_undefined_bytes_are_not_stored() -> None:
    assert "reads undefined bits" in fails(
        FETCH, OUT.replace("[%r0+16]", "[%r0+256]") + "cp.async.bulk.wait_group 0; END:"
    )
