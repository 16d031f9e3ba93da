"""Occupancy: the CUDA occupancy calculator's numbers for some kernels."""

from __future__ import annotations

import pytest

from tileloom.runtime.resources import blocks_per_multiprocessor


@pytest.mark.parametrize(
    ("target", "registers", "threads", "shared", "blocks", "limit"),
    [
        ("sm_90a", 32, 256, 0, 8, "threads"),
        ("sm_90a", 16, 32, 0, 32, "blocks"),
        ("sm_90a", 255, 256, 0, 1, "registers"),
        ("sm_90a", 168, 384, 0, 1, "registers"),
        ("sm_90a", 128, 128, 0, 4, "registers"),
        ("sm_90a", 40, 128, 0, 12, "registers"),
        ("sm_90a", 32, 128, 227 * 1024, 1, "shared memory"),
        ("sm_90a", 32, 128, 113 * 1024, 2, "shared memory"),
        ("sm_90a", 32, 128, 100 * 1024, 2, "shared memory"),
        ("sm_90a", 32, 128, 228 * 1024, 0, "shared memory"),
        ("sm_80", 32, 128, 163 * 1024, 1, "shared memory"),
        ("sm_86", 32, 256, 0, 6, "threads"),
        ("sm_86", 16, 32, 0, 16, "blocks"),
        ("sm_89", 16, 32, 0, 24, "blocks"),
        ("sm_89", 32, 128, 99 * 1024, 1, "shared memory"),
    ],
)
def test_blocks(
    target: str, registers: int, threads: int, shared: int, blocks: int, limit: str
) -> None:
    assert blocks_per_multiprocessor(target, registers, threads, shared) == (blocks, limit)
