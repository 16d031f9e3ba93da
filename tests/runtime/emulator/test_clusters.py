"""Clusters: special registers, the barrier, mapped addresses, and what breaks the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError, parse_module

from .harness import kernel_text

ARRIVE, WAIT = "  barrier.cluster.arrive.aligned;\n", "  barrier.cluster.wait.aligned;\n"
# Thread i of every block puts 100 * ctaid + i at smem[i], whose address is in %r5; %r6: its rank.
FILL = """
  ld.param.u64 %rd0, [p0];
  mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mov.u32 %r6, %cluster_ctarank;
  mov.u32 %r4, smem; mad.lo.u32 %r5, %r0, 4, %r4;
  mad.lo.u32 %r2, %r1, 100, %r0;
  mov.u32 %r3, %ntid.x; mad.lo.u32 %r7, %r1, %r3, %r0; mul.wide.u32 %rd1, %r7, 4;
  add.u64 %rd0, %rd0, %rd1;
  st.shared.u32 [%r5], %r2;
"""
# %r10: the address of smem[i] in the next rank.
NEXT = """
  add.u32 %r8, %r6, 1; mov.u32 %r9, %cluster_nctarank; rem.u32 %r8, %r8, %r9;
  mapa.shared::cluster.u32 %r10, %r5, %r8;
"""
READ, KEEP = "  ld.shared::cluster.u32 %r11, [%r10];\n", "  st.global.u32 [%rd0], %r11;\n"


def launch(body: str, y: np.ndarray[Any, Any], required: str = "4, 1, 1", **options: Any) -> None:
    text = kernel_text(body, 1, shared=True)
    head = f")\n.explicitcluster\n.reqnctapercluster {required}\n{{" if required else ")\n{"
    kernel = parse_module(text.replace(")\n{", head, 1)).kernels["k"]
    grid, block = options.pop("grid", 8), options.pop("block", 64)
    kernel.launch(grid, block, [y], **{"shared_bytes": 256, **options})


@pytest.mark.parametrize("seed", range(6))
def test_each_block_reads_the_next_one(seed: int) -> None:
    y = np.zeros((8, 64), np.uint32)
    launch(FILL + ARRIVE + NEXT + WAIT + READ + ARRIVE + WAIT + KEEP, y, seed=seed)
    order = np.array([1, 2, 3, 0, 5, 6, 7, 4])
    np.testing.assert_array_equal(y, 100 * order[:, None] + np.arange(64))


@pytest.mark.parametrize("seed", range(3))
def test_each_block_writes_and_updates_the_next_one(seed: int) -> None:
    body = FILL + ARRIVE + NEXT + WAIT
    body += "mad.lo.u32 %r13, %r0, 4, %r10; st.shared::cluster.v2.u32 [%r13+256], {%r1, %r0};"
    body += "atom.shared::cluster.add.u32 %r12, [%r10], 5;" + ARRIVE + WAIT
    body += (
        "ld.shared.u32 %r11, [%r5]; mad.lo.u32 %r14, %r0, 4, %r5; ld.shared.u32 %r15, [%r14+256];"
    )
    body += "mad.lo.u32 %r11, %r15, 1000, %r11;"
    y = np.zeros((8, 64), np.uint32)
    launch(body + KEEP, y, seed=seed, shared_bytes=1024)
    blocks, before = np.arange(8)[:, None], np.array([3, 0, 1, 2, 7, 4, 5, 6])[:, None]
    np.testing.assert_array_equal(y, 1000 * before + 100 * blocks + np.arange(64) + 5)


def test_special_registers() -> None:
    names = ["%cluster_ctaid.x", "%cluster_ctaid.z", "%cluster_nctaid.z", "%clusterid.x",
             "%clusterid.z", "%nclusterid.x", "%cluster_ctarank", "%cluster_nctarank"]  # fmt: skip
    body = """ld.param.u64 %rd0, [p0];
      mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ctaid.z; mad.lo.u32 %r1, %r2, 4, %r1;
      mul.wide.u32 %rd1, %r1, 32; add.u64 %rd0, %rd0, %rd1;"""
    for number, name in enumerate(names):
        body += f"mov.u32 %r5, {name}; st.global.u32 [%rd0+{4 * number}], %r5;\n"
    y = np.zeros((6, 4, 8), np.uint32)
    launch(body, y, "2, 1, 3", grid=(4, 1, 6), block=1)
    z, x = np.indices((6, 4))
    found = [x % 2, z % 3, 3, x // 2, z // 3, 2, x % 2 + 2 * (z % 3), 6]
    np.testing.assert_array_equal(y, np.stack(np.broadcast_arrays(*found), -1))


def test_ranks_of_addresses_and_own_addresses() -> None:
    body = FILL + NEXT + "getctarank.shared::cluster.u32 %r11, %r10;" + ARRIVE + WAIT
    body += "ld.shared::cluster.u32 %r12, [%r5]; getctarank.shared::cluster.u32 %r13, %r5;"
    body += "sub.u32 %r12, %r12, %r2; mad.lo.u32 %r11, %r13, 10, %r11; add.u32 %r11, %r11, %r12;"
    y = np.zeros((8, 64), np.uint32)
    launch(body + KEEP, y)
    np.testing.assert_array_equal(y[:4, 0], [1, 12, 23, 30])


def test_ended_blocks_count_as_arrived() -> None:
    body = FILL + "setp.eq.u32 %p1, %r6, 2; @%p1 bra END;" + ARRIVE + WAIT + "mov.u32 %r11, 1;"
    y = np.zeros((8, 64), np.uint32)
    for seed in range(4):
        launch(body + KEEP + "END:", y, seed=seed)
        np.testing.assert_array_equal(y[:, 0], [1, 1, 0, 1, 1, 1, 0, 1])


def test_few_resident_blocks_still_hold_whole_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tileloom.runtime.emulator.kernel._RESIDENT_LANES", 64)
    y = np.zeros((8, 64), np.uint32)
    launch(FILL + ARRIVE + NEXT + WAIT + READ + ARRIVE + WAIT + KEEP, y)
    assert y[7, 0] == 400


def mistake(body: str, **options: Any) -> str:
    with pytest.raises(EmulatorError) as caught:
        launch(FILL + body, np.zeros((8, 64), np.uint32), **options)
    return caught.value.message


def test_memory_ends_with_its_block() -> None:
    end = "setp.eq.u32 %p1, %r6, 1; @%p1 bra END;"
    body = NEXT + ARRIVE + WAIT + end + ARRIVE + WAIT + READ + KEEP + "END:"
    assert mistake(body) == (
        "the shared memory of block (1, 0, 0) is accessed by its cluster, but that block has ended"
    )


def test_arriving_and_waiting_go_together() -> None:
    assert "arrives twice without waiting" in mistake(ARRIVE + ARRIVE + WAIT)
    assert "waits but has not arrived" in mistake(WAIT)


def test_a_rank_too_many() -> None:
    found = mistake("mapa.shared::cluster.u32 %r10, %r5, 4;")
    assert found.startswith("there is no rank 4 in a cluster of 4 (block (0, 0, 0), warp 0, lane 0")


def test_mapped_addresses_are_of_the_cluster_only() -> None:
    body = ARRIVE + WAIT + "mapa.shared::cluster.u32 %r10, %r5, 0;"
    assert "no address in the block's own" in mistake(body + "ld.shared.u32 %r11, [%r10];")
    assert "out of bounds" in mistake(body + "ld.shared::cluster.u32 %r11, [%r10+256];")


OWN_BASE = "mov.u32 %r4, smem; shr.u32 %r11, %r4, 24; getctarank.shared::cluster.u32 %r12, %r4;"


@pytest.mark.parametrize(("required", "field"), [("4, 1, 1", [1, 2, 3, 4]), ("", [0])])
def test_the_address_of_a_variable_says_whose_it_is(required: str, field: list[int]) -> None:
    """What keeps fewer bits of it, as descriptors of matrices do, must cut it itself."""
    y = np.zeros((8, 64), np.uint32)
    launch(FILL + OWN_BASE + KEEP, y, required)
    np.testing.assert_array_equal(y[:, 0], np.resize(field, 8))
    launch(FILL + OWN_BASE + "mov.u32 %r11, %r12;" + KEEP, y, required)
    np.testing.assert_array_equal(y[:, 0], np.resize(np.arange(len(field)), 8))


def test_a_deadlock() -> None:
    found = mistake("setp.eq.u32 %p1, %r6, 1; @%p1 bar.sync 1, 128;" + ARRIVE + WAIT)
    assert found.startswith("deadlock: nobody can run; waiting: block (1, 0, 0), warp 0 at barrier")
    assert "block (0, 0, 0), warp 0 at the cluster's barrier" in found


def test_a_lane_that_is_missing() -> None:
    body = "setp.eq.u32 %p1, %r0, 3; @%p1 bra END;" + ARRIVE + "bar.sync 0;" + WAIT
    assert "barrier divergence" in mistake(body + "END: bar.sync 0;")


def test_grids_and_clusters_that_do_not_fit() -> None:
    y = np.zeros((8, 64), np.uint32)
    with pytest.raises(ValueError, match="don't divide the grid"):
        launch(FILL, y, grid=6)
    with pytest.raises(ValueError, match="needs clusters of"):
        launch(FILL, y, cluster=2)
    with pytest.raises(EmulatorError, match="unreadable extents"):
        launch(FILL, y, "4, none")


def test_a_launch_may_say_the_cluster() -> None:
    y = np.zeros((8, 64), np.uint32)
    launch(FILL + ARRIVE + NEXT + WAIT + READ + ARRIVE + WAIT + KEEP, y, "", cluster=(2,))
    np.testing.assert_array_equal(y[:, 0], [100, 0, 300, 200, 500, 400, 700, 600])
