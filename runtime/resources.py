"""What a kernel takes of a multiprocessor, and how many of its blocks fit one.

A multiprocessor hands out registers by the warp, in units of 256, from four equal parts (a warp
lives in one), and shared memory by the block, in units of 128 bytes, plus 1 KiB that the system
keeps for each block. The numbers are the CUDA programming guide's table of compute capabilities.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .assemble import RESERVED_SHARED_BYTES, Assembled, compute_capability

_WARP = 32
_REGISTERS = 65536
_REGISTER_UNIT = 256
_SHARED_UNIT = 128
_PARTS = 4


@dataclass(frozen=True)
class Multiprocessor:
    """The limits of one multiprocessor. `shared` in bytes, the system's share included."""

    threads: int
    blocks: int
    shared: int


_MULTIPROCESSORS = {
    (8, 0): Multiprocessor(2048, 32, 164 * 1024),
    (8, 6): Multiprocessor(1536, 16, 100 * 1024),
    (8, 7): Multiprocessor(1536, 16, 164 * 1024),
    (8, 9): Multiprocessor(1536, 24, 100 * 1024),
    (9, 0): Multiprocessor(2048, 32, 228 * 1024),
    (10, 0): Multiprocessor(2048, 32, 228 * 1024),
    (12, 0): Multiprocessor(1536, 24, 100 * 1024),
}


@dataclass(frozen=True)
class Resources:
    """What one kernel takes. `registers` and `stack` are a thread's; spills are a thread's bytes;
    `blocks_per_multiprocessor` and `occupancy` (of the possible threads, 0 to 1) follow from them,
    and `limited_by` names what is exhausted first."""

    registers: int
    spill_stores: int
    spill_loads: int
    stack: int
    static_shared: int
    dynamic_shared: int
    threads: int
    blocks_per_multiprocessor: int
    occupancy: float
    limited_by: str

    @property
    def shared(self) -> int:
        """Bytes of shared memory a block."""
        return self.static_shared + self.dynamic_shared

    def as_dict(self) -> dict[str, Any]:
        """The fields, as JSON has them."""
        return asdict(self)


def resources_of(assembled: Assembled, kernel: str, threads: int, dynamic_shared: int) -> Resources:
    """The resources of one kernel of a cubin, launched with `threads` a block."""
    usage = next(k for k in assembled.kernels if k.name == kernel)
    blocks, limit = blocks_per_multiprocessor(
        assembled.target, usage.registers, threads, usage.static_shared + dynamic_shared
    )
    possible = multiprocessor(assembled.target).threads
    warps = -(-threads // _WARP)
    return Resources(
        registers=usage.registers,
        spill_stores=usage.spill_stores,
        spill_loads=usage.spill_loads,
        stack=usage.stack,
        static_shared=usage.static_shared,
        dynamic_shared=dynamic_shared,
        threads=threads,
        blocks_per_multiprocessor=blocks,
        occupancy=blocks * warps * _WARP / possible,
        limited_by=limit,
    )


def blocks_per_multiprocessor(
    target: str, registers: int, threads: int, shared: int
) -> tuple[int, str]:
    """How many blocks fit a multiprocessor, and what allows no more.

    `registers` a thread, `shared` bytes a block. 0 blocks: the kernel can't run.
    """
    limits = block_limits(target, registers, threads, shared)
    name = min(limits, key=lambda limit: limits[limit])
    return limits[name], name


def block_limits(target: str, registers: int, threads: int, shared: int) -> dict[str, int]:
    """How many blocks each resource of a multiprocessor would allow alone."""
    unit = multiprocessor(target)
    warps = -(-threads // _WARP)
    limits = {"threads": unit.threads // (warps * _WARP), "blocks": unit.blocks}
    if registers:
        a_warp = _rounded(registers * _WARP, _REGISTER_UNIT)
        fitting_warps = _REGISTERS // _PARTS // a_warp * _PARTS
        limits["registers"] = fitting_warps // warps
    a_block = _rounded(shared + RESERVED_SHARED_BYTES, _SHARED_UNIT)
    limits["shared memory"] = unit.shared // a_block
    return limits


def multiprocessor(target: str) -> Multiprocessor:
    """The limits of a target's multiprocessors; of the nearest older one where it is unknown."""
    capability = compute_capability(target)
    known = [c for c in _MULTIPROCESSORS if c <= capability]
    return _MULTIPROCESSORS[max(known)] if known else _MULTIPROCESSORS[8, 0]


def _rounded(amount: int, unit: int) -> int:
    return -(-amount // unit) * unit
