"""Where instructions may stand: which threads must run them together."""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import VMSyntaxError
from ..instruction import REGISTRY, Instruction
from ..instructions.cluster import ClusterBarrier
from ..instructions.mbarrier import AllocMbarrier, MbarrierTest
from ..instructions.memory import AllocShared, FreeShared
from ..instructions.registers import SetRegisters
from ..ir import Part

# Whole warps run these together.
_OF_WARPS = (
    "mma", "load_matrix", "store_matrix", "shuffle", "lock", "warp_barrier", "wgmma",
    "wgmma_commit", "wgmma_wait",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """The threads that run a statement, all threads of the block, and how deep it is nested."""

    part: Part
    block: Part
    depth: int

    @property
    def in_group(self) -> bool:
        return self.part != self.block


# A dictionary, not `functools.cache`: a class with `eq=False` is no `Hashable` to mypy.
_PLACED: dict[type[Instruction], bool] = {}


def is_placed(cls: type[Instruction]) -> bool:
    """Whether it matters where instructions of a class stand."""
    if cls not in _PLACED:
        others = (AllocShared, FreeShared, ClusterBarrier, AllocMbarrier, MbarrierTest)
        _PLACED[cls] = issubclass(cls, (*others, SetRegisters, *_of_warps()))
    return _PLACED[cls]


def check_placement(instruction: Instruction, place: Place) -> None:
    """Checks that the threads that run an instruction are those it needs.

    Raises:
        VMSyntaxError: they aren't.
    """
    _check_block_wide(instruction, place)
    if place.part.single and isinstance(instruction, _of_warps()):
        _fail(instruction, "whole warps run it together", "move it out of `single_thread`")
    if isinstance(instruction, MbarrierTest) and place.part.num_threads > 32:
        _fail(
            instruction,
            f"{place.part.num_threads} threads might see different answers",
            "test in a `single_thread`, or wait with `mbarrier_wait`",
        )
    if isinstance(instruction, SetRegisters):
        first, count = place.part.first, place.part.num_threads
        if place.part.single or first % 128 or count % 128:
            _fail(
                instruction,
                "groups of 4 warps, from a multiple of 4 on, change their registers together",
                "put it in a `warp_group` of such warps",
            )


def _check_block_wide(instruction: Instruction, place: Place) -> None:
    match instruction:
        case AllocShared() | FreeShared() if place.in_group:
            _fail(instruction, "all threads of the block share it", "move it before the group")
        case ClusterBarrier() if place.in_group:
            _fail(
                instruction,
                "all threads of the cluster meet there, the group is a part of them",
                "let the group meet with `barrier`, and arrive at an `mbarrier` of other blocks",
            )
        case AllocMbarrier() if place.depth > 1:
            _fail(
                instruction,
                "barriers live as long as the block and are made once",
                "move it out of loops, branches and groups",
            )


def _of_warps() -> tuple[type[Instruction], ...]:
    return tuple(REGISTRY[name] for name in _OF_WARPS if name in REGISTRY)


def _fail(instruction: Instruction, why: str, hint: str) -> None:
    raise VMSyntaxError(
        f"`{instruction.name}` can't stand here: {why}", instruction.location, hint=hint
    )
