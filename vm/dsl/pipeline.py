"""A ring of stages between threads that fill them and threads that use them.

    ring = vm.Pipeline(stages=4, consumers=4)
    with vm.warp_group(4, 1), vm.single_thread():
        fill = ring.producer()
        for k in vm.range(n):
            with fill.turn(num_bytes) as stage:  # waits until the stage is free
                vm.copy_tensor(shared, [stage, 0, 0], ..., fill.barriers, stage, ...)
    with vm.warp_group(0, 4):
        use = ring.consumer()
        for k in vm.range(n):
            with use.turn(per="warp") as stage:  # waits until the stage is full
                tile = vm.load(shared, [stage, 0, 0], ...)

A stage has two barriers, `full` and `empty`. Turn t of either side belongs to stage t % stages and
to phase t // stages of its barriers; the first turns of a producer wait for a phase that is over
before it began. So each side knows all by the number of its turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..diagnostics import VMValueError
from ..dtypes import dtype
from .mbarrier import Mbarriers, alloc_mbarrier, mbarrier_arrive, mbarrier_expect, mbarrier_wait
from .ops import larger, smaller, var
from .trace import here
from .values import Scalar, ScalarLike


class Pipeline:
    """The barriers of a ring, made in the kernel's outermost block.

    A stage is full after `producers` arrivals and the bytes they announce, and free again after
    `consumers` arrivals: of threads, or of warps where turns say `per="warp"`.
    """

    def __init__(self, stages: int, *, producers: int = 1, consumers: int = 1) -> None:
        if not isinstance(stages, int) or stages < 1:
            raise VMValueError(f"a ring of {stages} stages", here(), hint="1 or more")
        self.stages = stages
        full = alloc_mbarrier([stages], count=producers)
        empty = alloc_mbarrier([stages], count=consumers)
        self.full, self.empty = full, empty

    def producer(self) -> Producer:
        """The side that fills stages, to be made where its threads run."""
        return Producer(self)

    def consumer(self) -> Consumer:
        """The side that uses stages, to be made where its threads run."""
        return Consumer(self)


class _Side:
    """One side of a ring; it counts its turns, by stage and phase: a division by a number of stages
    that is no power of two would lengthen every turn."""

    def __init__(self, ring: Pipeline) -> None:
        self.ring = ring
        turn = var(0, dtype("u32"))
        self._turn = turn
        self._divides = ring.stages & (ring.stages - 1) == 0
        if not self._divides:
            place, phase = var(0, dtype("i32")), var(0, dtype("i32"))
            self._place, self._phase = place, phase

    @property
    def number(self) -> Scalar:
        """The number of this turn, from 0 on."""
        return self._turn

    @property
    def stage(self) -> Scalar:
        """The stage of this turn."""
        return self._turn % self.ring.stages if self._divides else self._place

    @property
    def phase(self) -> Scalar:
        """The phase of the stage's barriers that this turn belongs to."""
        return self._turn // self.ring.stages if self._divides else self._phase

    def before(self, turns: int) -> Scalar:
        """The stage of so many turns ago, fewer than there are stages."""
        if self._divides:
            return (self._turn - turns) % self.ring.stages
        if not 0 <= turns < self.ring.stages:
            raise VMValueError(f"{turns} turns ago in a ring of {self.ring.stages}", here())
        place = self._place - turns
        return place + smaller(larger(0 - place, 0), 1) * self.ring.stages

    def advance(self) -> None:
        """Goes on to the next turn."""
        self._turn.set(self._turn + 1)
        if not self._divides:
            around = larger(self._place - (self.ring.stages - 2), 0)  # 1 at the last stage
            self._phase.set(self._phase + around)
            self._place.set(self._place + 1 - around * self.ring.stages)


class Producer(_Side):
    """The side that fills stages."""

    @property
    def barriers(self) -> Mbarriers:
        """The barriers that copies into stages tell."""
        return self.ring.full

    def acquire(self, num_bytes: ScalarLike | None = None) -> Scalar:
        """Waits until the turn's stage is free, and announces the bytes that copies will bring."""
        mbarrier_wait(self.ring.empty, self.stage, self.phase + 1)
        if num_bytes is not None:
            mbarrier_expect(self.ring.full, self.stage, num_bytes)
        return self.stage

    @contextmanager
    def turn(self, num_bytes: ScalarLike | None = None, *, per: str = "thread") -> Iterator[Scalar]:
        """Fills a stage: by copies of `num_bytes` altogether, or by stores (None), whose threads
        (or warps) arrive at the end."""
        yield self.acquire(num_bytes)
        if num_bytes is None:
            mbarrier_arrive(self.ring.full, self.stage, per=per)
        self.advance()


class Consumer(_Side):
    """The side that uses stages."""

    def acquire(self) -> Scalar:
        """Waits until the turn's stage is full."""
        mbarrier_wait(self.ring.full, self.stage, self.phase)
        return self.stage

    def release(
        self, *, behind: int = 0, per: str = "thread", rank: ScalarLike | None = None
    ) -> None:
        """The threads (or warps) need the stage no more that they had so many turns ago; in the
        block of a `rank`, if the stage was filled from there."""
        mbarrier_arrive(self.ring.empty, self.before(behind), rank, per=per)

    @contextmanager
    def turn(self, *, per: str = "thread") -> Iterator[Scalar]:
        """Uses a stage, which is free again behind it."""
        yield self.acquire()
        self.release(per=per)
        self.advance()
