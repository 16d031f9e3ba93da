"""Barriers that count arrivals and bytes, and registers of warp groups, in a traced kernel."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isfunction
from typing import NoReturn, TypeAlias

from ..diagnostics import VMTypeError, user_errors
from ..expr import Expr, Ref
from ..instructions import mbarrier, registers
from ..ir import Value
from ..types import BarrierType
from .arguments import as_offsets, as_shape
from .trace import emit, here
from .values import Scalar, ScalarLike, as_expr, kind_of

Place: TypeAlias = "ScalarLike | Sequence[ScalarLike]"


class Mbarriers:
    """An array of barriers that count arrivals and bytes, in shared memory."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value

    @property
    def description(self) -> str:
        """What to call them in a message."""
        return f"the barriers `{self.value.name}`"

    @property
    def shape(self) -> tuple[int, ...]:
        type_ = self.value.type
        assert isinstance(type_, BarrierType)
        return type_.shape

    def __getitem__(self, index: object) -> NoReturn:
        raise VMTypeError(
            f"`{self.value.name}` can't be indexed",
            here(),
            hint=f"name the barrier's place: `vm.mbarrier_wait({self.value.name}, [i], phase)`",
        )


def as_barriers(value: object) -> Mbarriers:
    """An array of barriers.

    Raises:
        VMTypeError: anything else.
    """
    if isinstance(value, Mbarriers):
        return value
    raise VMTypeError(
        f"expected barriers, found {kind_of(value)}",
        here(),
        hint="make them with `vm.alloc_mbarrier([stages])`",
    )


def as_place(value: Place) -> tuple[Expr, ...]:
    """The index of a barrier: a list, or a single scalar for arrays of rank 1."""
    return as_offsets(value if isinstance(value, Sequence) else [value])


def alloc_mbarrier(shape: Sequence[int], count: int = 1) -> Mbarriers:
    """Barriers whose phases end after `count` arrivals and the bytes announced; the block meets."""
    value = emit(mbarrier.AllocMbarrier, BarrierType(as_shape(shape)), count=count)
    assert value is not None
    return Mbarriers(value)


def mbarrier_arrive(
    barriers: Mbarriers,
    index: Place,
    rank: ScalarLike | None = None,
    *,
    count: int = 1,
    per: str = "thread",
) -> None:
    """Every thread of the group (or every warp) arrives, perhaps in the block of a `rank`."""
    emit(
        mbarrier.MbarrierArrive,
        barrier=as_barriers(barriers).value,
        index=as_place(index),
        rank=None if rank is None else as_expr(rank),
        count=count,
        per=per,
    )


def mbarrier_expect(
    barriers: Mbarriers, index: Place, num_bytes: ScalarLike, rank: ScalarLike | None = None
) -> None:
    """One thread of the group announces bytes that copies will bring, and arrives."""
    emit(
        mbarrier.MbarrierExpect,
        barrier=as_barriers(barriers).value,
        index=as_place(index),
        num_bytes=as_expr(num_bytes),
        rank=None if rank is None else as_expr(rank),
    )


def mbarrier_wait(barriers: Mbarriers, index: Place, phase: ScalarLike) -> None:
    """Waits until the phase of parity `phase` % 2 is over."""
    emit(
        mbarrier.MbarrierWait,
        barrier=as_barriers(barriers).value,
        index=as_place(index),
        phase=as_expr(phase),
    )


def mbarrier_test(barriers: Mbarriers, index: Place, phase: ScalarLike) -> Scalar:
    """Whether the phase of parity `phase` % 2 is over; in groups of one thread or warp."""
    value = emit(
        mbarrier.MbarrierTest,
        barrier=as_barriers(barriers).value,
        index=as_place(index),
        phase=as_expr(phase),
    )
    assert value is not None
    return Scalar(Ref(value))


def set_registers(count: int, change: str) -> None:
    """From now on each thread of the 4 warps may use `count` registers, `less` or `more`."""
    emit(registers.SetRegisters, count=count, change=change)


# A call outside a kernel has no `Kernel.trace` around it that cuts our frames off the traceback.
for _name, _function in list(globals().items()):
    if isfunction(_function) and _function.__module__ == __name__ and not _name.startswith("_"):
        globals()[_name] = user_errors()(_function)
