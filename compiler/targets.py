"""Targets: what each GPU architecture offers, and its limits.

`features` names what code selection may use; the tables below give the lowest PTX ISA version in
which an opcode exists, so that a module asks for no more than it needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tileloom.vm.diagnostics import TargetError, call_location

_SM80 = frozenset(
    {
        "cp.async", "ldmatrix", "mma.f16", "mma.bf16", "mma.tf32", "mma.s8", "fma.bf16x2",
        "redux", "mbarrier", "max.f16x2", "tanh.approx",
    }
)  # fmt: skip
_SM86 = _SM80 | {"min.xorsign"}
_SM89 = _SM86 | {"cvt.fp8"}
_SM90 = _SM89 | {
    "stmatrix", "add.bf16x2", "cluster", "tma", "wgmma", "setmaxnreg", "griddepcontrol",
    "red.v2", "fence.proxy.async", "elect", "atom.bf16x2",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One architecture. Shared memory in bytes a block may ask for; clocks per SM where rated."""

    name: str
    compute_capability: tuple[int, int]
    ptx_version: tuple[int, int]
    max_shared_bytes: int
    features: frozenset[str]
    max_registers_per_thread: int = 255
    registers_per_sm: int = 65536
    max_threads_per_block: int = 1024
    num_barriers: int = 16

    def has(self, feature: str) -> bool:
        """True if the feature is native."""
        return feature in self.features


TARGETS = {
    target.name: target
    for target in (
        Target("sm_80", (8, 0), (7, 0), 163 * 1024, _SM80),
        Target("sm_86", (8, 6), (7, 1), 99 * 1024, _SM86),
        Target("sm_89", (8, 9), (7, 8), 99 * 1024, _SM89),
        Target("sm_90a", (9, 0), (8, 0), 227 * 1024, _SM90),
    )
}

# (part of an opcode, lowest PTX version that has it)
_VERSIONS: tuple[tuple[str, tuple[int, int]], ...] = (
    ("xorsign", (7, 2)),
    ("createpolicy", (7, 4)),
    ("cvta.param", (7, 7)),
    ("L1::", (7, 4)),
    ("L2::", (7, 4)),
    ("stmatrix", (7, 8)),
    ("e4m3x2", (7, 8)),
    ("e5m2x2", (7, 8)),
    ("satfinite.f16x2", (8, 1)),
    ("red.async", (8, 1)),
    ("red.global.add.v", (8, 1)),
    ("red.global.add.noftz.v", (8, 1)),
    ("s32.u8.s8", (8, 4)),  # wgmma only: mma has no mixed integers here
    ("s32.s8.u8", (8, 4)),
    ("sync_restrict", (8, 6)),
    ("sync_restrict", (8, 6)),
)
# The conversions of fp8 came to sm_89 later than to sm_90.
_VERSIONS_OF_SM_89 = (("e4m3x2", (8, 1)), ("e5m2x2", (8, 1)))


def target_named(name: str) -> Target:
    """The target of that name; TargetError listing the known ones if there is none."""
    target = TARGETS.get(name)
    if target is None:
        known = ", ".join(f"`{known}`" for known in TARGETS)
        raise TargetError(
            f"unknown target `{name}`",
            call_location(),
            hint=f"known targets: {known}",
        )
    return target


def lowest_version(target: Target, opcodes: Iterable[str]) -> tuple[int, int]:
    """The lowest PTX ISA version that serves the target and every opcode."""
    table = _VERSIONS + (_VERSIONS_OF_SM_89 if target.name == "sm_89" else ())
    needed = [version for opcode in set(opcodes) for part, version in table if part in opcode]
    return max([target.ptx_version, *needed])
