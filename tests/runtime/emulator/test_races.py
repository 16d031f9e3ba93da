"""Races on shared memory: every planted one is found, and correct programs raise no alarm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError, parse_module

from .harness import kernel_text, run_kernel

SEEDS = [0, 1, 2, 3, 4]
# Thread t of 128 has word t of shared memory at %r2, its neighbour's (in the next warp) at %r3.
PLACES = """
  mov.u32 %r1, smem; shl.b32 %r2, %r50, 2; add.u32 %r2, %r1, %r2;
  add.u32 %r3, %r50, 32; and.b32 %r3, %r3, 127; shl.b32 %r3, %r3, 2; add.u32 %r3, %r1, %r3;
  mov.u32 %r9, 0; shr.u32 %r10, %r50, 5; setp.eq.u32 %p0, %r10, 0;
  mul.wide.u32 %rd10, %r50, 16; add.u64 %rd11, %rd0, %rd10;
"""
STORE, LOAD, FAR = (
    "st.shared.u32 [%r2], %r50;",
    "ld.shared.u32 %r4, [%r2];",
    "ld.shared.u32 %r4, [%r3];",
)
BARRIER = "\nbar.sync 0;\n"


def run(body: str, seed: int = 0, **options: Any) -> None:
    data = np.zeros(4 * 128, np.uint32)
    run_kernel(PLACES + body, [data], block=128, shared=4096, seed=seed, **options)


COPY = """
  shl.b32 %r20, %r50, 4; add.u32 %r20, %r1, %r20; add.u32 %r21, %r20, 512;
  cp.async.cg.shared.global [%r20+2048], [%rd11], 16; cp.async.commit_group;
"""
NEAR = "xor.b32 %r6, %r50, 1; shl.b32 %r6, %r6, 2; add.u32 %r6, %r1, %r6;"
MATRIX = "shl.b32 %r5, %r50, 4; add.u32 %r5, %r1, %r5;"
RACES = {
    "read after write": STORE + FAR,
    "write after read": STORE + BARRIER + FAR + STORE,
    "write after write": STORE + "st.shared.u32 [%r3], %r50;",
    "barrier before the write only": BARRIER + STORE + FAR,
    "second iteration": f"LOOP: {STORE} {BARRIER} {FAR} add.u32 %r9, %r9, 1;"
    "setp.lt.u32 %p1, %r9, 2; @%p1 bra LOOP;",
    "one warp writes, all read": "@%p0 st.shared.u32 [%r2], %r9; and.b32 %r5, %r50, 31;"
    "shl.b32 %r5, %r5, 2; add.u32 %r5, %r1, %r5; ld.shared.u32 %r4, [%r5];",
    "bytes": "cvt.u16.u32 %h1, %r50; add.u32 %r5, %r1, %r50; st.shared.u8 [%r5], %h1;"
    "xor.b32 %r6, %r50, 64; add.u32 %r6, %r1, %r6; ld.shared.u8 %h2, [%r6];",
    "wide over narrow": STORE + "setp.eq.u32 %p2, %r50, 7;"
    "@%p2 ld.shared.v4.u32 {%r5, %r6, %r7, %r8}, [%r1+128];",
    "wrong named barrier": "setp.lt.u32 %p1, %r50, 64; selp.u32 %r11, 1, 2, %p1;" + STORE
    + "bar.sync %r11, 64;" + "xor.b32 %r5, %r50, 64; shl.b32 %r5, %r5, 2; add.u32 %r5, %r1, %r5;"
    "ld.shared.u32 %r4, [%r5];",
    "arrive does not wait": "setp.ge.u32 %p1, %r50, 64; @%p1 bra B;" + STORE
    + "bar.sync 1, 128; bra E;\nB: bar.arrive 1, 128; ld.shared.u32 %r4, [%r2+-256];\nE:",
    "different values in one instruction": "st.shared.u32 [smem], %r50;",
    "different values of warps": "st.shared.u32 [smem], %r10;",
    "stmatrix against load": "shl.b32 %r5, %r50, 4; add.u32 %r5, %r1, %r5;"
    "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r5], {%r9, %r9, %r9, %r9};"
    "ld.shared.u32 %r4, [%r3+512];",
    "ldmatrix after store": "shl.b32 %r5, %r50, 4; and.b32 %r5, %r5, 511; add.u32 %r5, %r1, %r5;"
    + STORE + "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r6, %r7, %r8}, [%r5];",
    "copy over what is read": STORE + BARRIER + FAR + "setp.lt.u32 %p1, %r50, 32;"
    "shl.b32 %r20, %r50, 4; add.u32 %r20, %r1, %r20;"
    "@%p1 cp.async.cg.shared.global [%r20], [%rd11], 16;",
    "copy without a barrier": COPY + "cp.async.wait_group 0; xor.b32 %r5, %r50, 64;"
    "shl.b32 %r5, %r5, 4; add.u32 %r5, %r1, %r5; ld.shared.u32 %r4, [%r5+2048];",
    "barrier before the wait": COPY + BARRIER + "cp.async.wait_group 0; xor.b32 %r5, %r50, 64;"
    "shl.b32 %r5, %r5, 4; add.u32 %r5, %r1, %r5; ld.shared.u32 %r4, [%r5+2048];",
    "store into a copy in flight": COPY + "xor.b32 %r5, %r50, 64; shl.b32 %r5, %r5, 4;"
    "add.u32 %r5, %r1, %r5; add.u32 %r9, %r50, 1; st.shared.u32 [%r5+2048], %r9;",
    "atomic after store": "@%p0 st.shared.u32 [%r2], %r9; atom.shared.add.u32 %r4, [%r3], 1;",
    "read after atomic": STORE + BARRIER + "red.shared.add.u32 [%r3], 1;" + LOAD,
    "read of another's atomic": STORE + BARRIER + "red.shared.add.u32 [%r2], 1;" + FAR,
    "atomic after read": STORE + BARRIER + FAR + "red.shared.add.u32 [%r2], 1;",
    "store after atomic": STORE + BARRIER + "red.shared.add.u32 [%r3], 1;" + STORE,
    # Lanes of a warp run in any order: %r6 is the word of the lane's neighbour.
    "a neighbour's word": NEAR + STORE + "ld.shared.u32 %r4, [%r6];",
    "over a neighbour's word": NEAR + STORE + "st.shared.u32 [%r6], %r9;",
    "over what a neighbour reads": NEAR + STORE + "bar.warp.sync 0xffffffff;"
    "ld.shared.u32 %r4, [%r6]; st.shared.u32 [%r2], %r9;",
    "ldmatrix within a warp": MATRIX + "st.shared.v4.u32 [%r5], {%r50, %r9, %r9, %r9};"
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r4, %r6, %r7, %r8}, [%r5];",
    "load after stmatrix within a warp": MATRIX
    + "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r5], {%r50, %r9, %r9, %r9};"
    "ld.shared.u32 %r4, [%r5];",
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", RACES)
def test_race_is_found(name: str, seed: int) -> None:
    with pytest.raises(EmulatorError) as caught:
        run(RACES[name], seed)
    assert "race: block (0, 0, 0), warp" in caught.value.message or (
        "never written" in caught.value.message or "no defined value" in caught.value.message
    )


@pytest.mark.parametrize("name", sorted(set(RACES) - {"barrier before the wait"}))
def test_race_is_found_in_early_mode(name: str) -> None:
    with pytest.raises(EmulatorError, match="race"):
        run(PREPARED + RACES[name], asynchronous="early")


# All of shared memory is defined, so that only the race is wrong.
PREPARED = "shl.b32 %r30, %r50, 5; add.u32 %r30, %r1, %r30;" + "".join(
    f"st.shared.v4.u32 [%r30+{16 * i}], {{%r9, %r9, %r9, %r9}};" for i in range(2)
) + BARRIER  # fmt: skip

CORRECT = {
    "a neighbour's word": NEAR + STORE + "bar.warp.sync 0xffffffff; ld.shared.u32 %r4, [%r6];"
    "bar.warp.sync 0xffffffff;" + STORE,
    "lanes that say the same": "shr.u32 %r5, %r50, 1; shl.b32 %r6, %r5, 2; add.u32 %r6, %r1, %r6;"
    "st.shared.u32 [%r6], %r5; ld.shared.u32 %r4, [%r6]; st.shared.u32 [%r6], %r5;"
    "add.u32 %r5, %r5, 1; bar.warp.sync 0xffffffff; st.shared.u32 [%r6], %r5;",
    "matrices that lanes hold alike": "and.b32 %r5, %r50, 31; shl.b32 %r6, %r10, 9;"
    "shl.b32 %r7, %r5, 4; add.u32 %r6, %r1, %r6; add.u32 %r7, %r6, %r7; shl.b32 %r8, %r5, 2;"
    "add.u32 %r8, %r6, %r8; stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r7], {%r9, %r50, %r9, %r9};"
    "ld.shared.u32 %r4, [%r8+128]; st.shared.u32 [%r8+128], %r10;"
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r11, %r12, %r13, %r14}, [%r7];",
    "own word": STORE + LOAD + STORE,
    "barrier": STORE + BARRIER + FAR + BARRIER + STORE,
    "loop": f"LOOP: {STORE} {BARRIER} {FAR} {BARRIER} add.u32 %r9, %r9, 1;"
    "setp.lt.u32 %p1, %r9, 3; @%p1 bra LOOP;",
    "double buffer": f"LOOP: {STORE} {BARRIER} {FAR}"
    "xor.b32 %r2, %r2, 1024; xor.b32 %r3, %r3, 1024;"
    "add.u32 %r9, %r9, 1; setp.lt.u32 %p1, %r9, 4; @%p1 bra LOOP;",
    "replicas": "and.b32 %r5, %r50, 31; shl.b32 %r6, %r5, 2; add.u32 %r6, %r1, %r6;"
    "st.shared.u32 [%r6], %r5; ld.shared.u32 %r4, [%r6];" + BARRIER + "ld.shared.u32 %r4, [%r1];",
    "replicas one after another": "LOOP: setp.ne.u32 %p1, %r10, %r9; @%p1 bra SKIP;"
    "and.b32 %r5, %r50, 31; shl.b32 %r6, %r5, 2; add.u32 %r6, %r1, %r6;"
    "st.shared.u32 [%r6], %r5; ld.shared.u32 %r4, [%r6];"
    "SKIP: add.u32 %r9, %r9, 1; setp.lt.u32 %p1, %r9, 4; @%p1 bra LOOP;",
    "readers": "@%p0 st.shared.u32 [%r2], %r9;" + BARRIER + "and.b32 %r5, %r50, 31;"
    "shl.b32 %r5, %r5, 2; add.u32 %r5, %r1, %r5; ld.shared.u32 %r4, [%r5];" + BARRIER
    + "@%p0 st.shared.u32 [%r2], %r9;",
    "neighbouring bytes": "cvt.u16.u32 %h1, %r50; and.b32 %r5, %r50, 31; shl.b32 %r5, %r5, 2;"
    "add.u32 %r5, %r10, %r5; add.u32 %r5, %r1, %r5;"
    "st.shared.u8 [%r5], %h1; ld.shared.u8 %h2, [%r5];",
    "named barriers": "setp.lt.u32 %p1, %r50, 64; selp.u32 %r11, 1, 2, %p1;" + STORE
    + "bar.sync %r11, 64; xor.b32 %r5, %r50, 32; shl.b32 %r5, %r5, 2; add.u32 %r5, %r1, %r5;"
    "ld.shared.u32 %r4, [%r5];",
    "arrive hands over": "setp.ge.u32 %p1, %r50, 64; @%p1 bra B; bar.sync 1, 128;"
    "ld.shared.u32 %r4, [%r2+256]; bra E;\nB:" + STORE + "bar.arrive 1, 128;\nE:",
    "chain of barriers": "@%p0 st.shared.u32 [%r2], %r9; setp.lt.u32 %p1, %r50, 64;"
    "@%p1 bar.sync 1, 64;\n setp.lt.u32 %p2, %r50, 96; setp.ge.and.u32 %p2, %r50, 32, %p2;"
    "@%p2 bar.sync 2, 64;\n setp.ge.u32 %p3, %r50, 64; @%p3 bar.sync 3, 64;\n"
    "setp.ge.u32 %p4, %r50, 96; @%p4 ld.shared.u32 %r4, [%r3];",
    "copy": COPY + "cp.async.wait_group 0;" + BARRIER + "xor.b32 %r5, %r50, 64;"
    "shl.b32 %r5, %r5, 4; add.u32 %r5, %r1, %r5; ld.shared.u32 %r4, [%r5+2048];",
    "own copy": COPY + "cp.async.wait_group 0; ld.shared.u32 %r4, [%r20+2048];",
    "atomics": "setp.eq.u32 %p1, %r50, 0; @%p1 st.shared.u32 [smem], %r9;" + BARRIER
    + "red.shared.add.u32 [smem], 1; atom.shared.add.u32 %r4, [smem], 1;" + BARRIER
    + "ld.shared.u32 %r4, [smem];",
    "read of one's own atomic": STORE + "red.shared.add.u32 [%r2], 1;" + LOAD,
    "volatile flag": "setp.eq.u32 %p1, %r50, 0; @%p1 st.shared.u32 [smem+2048], %r9;" + BARRIER
    + "mov.u32 %r11, 5; @!%p0 bra WAIT; st.shared.u32 [%r2], %r9;"
    "st.release.cta.shared.u32 [smem+2048], %r11; bra E;\n"
    "WAIT: ld.acquire.cta.shared.u32 %r5, [smem+2048]; setp.ne.u32 %p1, %r5, %r11; @%p1 bra WAIT;"
    "ld.shared.u32 %r4, [smem];\nE:",
    "matrices": "shl.b32 %r5, %r50, 4; add.u32 %r5, %r1, %r5;"
    "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r5], {%r9, %r9, %r9, %r9};" + BARRIER
    + "xor.b32 %r6, %r5, 1024;"
    "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r4, %r6, %r7, %r8}, [%r6];",
}  # fmt: skip


@pytest.mark.parametrize("when", ["late", "early"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CORRECT)
def test_no_false_alarm(name: str, seed: int, when: str) -> None:
    run(CORRECT[name], seed, asynchronous=when)


def test_report_names_both_places() -> None:
    with pytest.raises(EmulatorError) as caught:
        run("\n" + STORE + "\n" + FAR)
    message = caught.value.message
    assert "reads shared address 128, written by another warp in line" in message
    assert f"(`{STORE}`) with no barrier between" in message
    assert caught.value.text == FAR


def test_races_of_blocks_are_apart() -> None:
    """Blocks use the same addresses of memories of their own."""
    data = np.zeros(1, np.uint32)
    run_kernel(PLACES + STORE + LOAD, [data], grid=8, block=128, shared=4096)


def test_check_can_be_turned_off() -> None:
    run(STORE + BARRIER + FAR + STORE, check_races=False)


def test_races_in_a_cluster() -> None:
    """A block reads its neighbour's memory: after the cluster's barrier only."""
    sync = "barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"
    body = """
      ld.param.u64 %rd0, [p0]; mov.u32 %r50, %tid.x; mov.u32 %r1, smem; shl.b32 %r2, %r50, 2;
      add.u32 %r2, %r1, %r2; st.shared.u32 [%r2], %r50; SYNC
      mov.u32 %r3, %cluster_ctarank; xor.b32 %r3, %r3, 1; mapa.shared::cluster.u32 %r4, %r2, %r3;
      ld.shared::cluster.u32 %r5, [%r4]; END"""
    right = body.replace("SYNC", sync).replace("END", sync)
    data = np.zeros(1, np.uint32)
    for seed in SEEDS:
        kernel = parse_module(kernel_text(right, 1, shared=True)).kernels["k"]
        kernel.launch(4, 64, [data], shared_bytes=256, seed=seed, cluster=2)
    local = body.replace("SYNC", "bar.sync 0;").replace("END", sync)
    with pytest.raises(EmulatorError, match=r"race|no defined value"):
        kernel = parse_module(kernel_text(local, 1, shared=True)).kernels["k"]
        kernel.launch(4, 64, [data], shared_bytes=256, cluster=2)
