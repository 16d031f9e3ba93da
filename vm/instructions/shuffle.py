"""Exchange of a tile's elements between the lanes of a warp."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tileloom.layouts import RegisterLayout

from ..diagnostics import LayoutMismatchError, VMValueError
from ..instruction import Instruction, Operand, instruction
from ..types import Type
from .checks import fail, no_annotation, reg

MODES = ("up", "down", "xor", "index")
LANES = 32


@instruction
class Shuffle(Instruction, name="shuffle"):
    """Each thread's elements replaced by those another lane of its group holds in their place.

    Groups are `width` neighbouring lanes of a warp (a power of two). A thread's source is
    `lane` lanes below (`up`) or above (`down`), the one whose number differs in the bits of
    `lane` (`xor`), or lane `lane` of its group (`index`). Where that is outside the group, or
    holds no part of the tile, a thread keeps its own elements.
    """

    value: Operand
    mode: str = "xor"
    lane: int = 1
    width: int = LANES

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        if self.mode not in MODES:
            fail(self, f"unknown mode `{self.mode}`", hint=", ".join(MODES))
        if self.width not in (1, 2, 4, 8, 16, LANES):
            fail(
                self,
                f"`width` {self.width} is no power of two up to {LANES}",
                error=VMValueError,
            )
        if not 0 <= self.lane < self.width:
            fail(
                self,
                f"`lane` {self.lane} of groups of {self.width} lanes",
                error=VMValueError,
                hint=f"0 to {self.width - 1}",
            )
        if source.layout is not None:
            self.check_replicas(source.layout)
        return no_annotation(self, annotation, source)

    def sources(self, layout: RegisterLayout) -> npt.NDArray[np.int64]:
        """For each thread of a layout the thread whose elements it gets, itself included."""
        thread = np.arange(layout.num_threads)
        place = thread % self.width
        first = thread - place
        wanted = {
            "up": thread - self.lane,
            "down": thread + self.lane,
            "xor": first + (place ^ self.lane),
            "index": first + self.lane,
        }[self.mode]
        inside = (wanted >= first) & (wanted < first + self.width) & (wanted < layout.num_threads)
        return np.where(inside, wanted, thread)

    def check_replicas(self, layout: RegisterLayout) -> None:
        """Threads that hold the same elements must get the same ones.

        Raises:
            LayoutMismatchError: two replicas would differ.
        """
        if layout.num_replicas == 1:
            return
        kept = layout.spatial_table
        got = kept[self.sources(layout)]
        _, group = np.unique(kept, axis=0, return_inverse=True)
        group = group.reshape(-1)
        first = np.zeros(group.max() + 1, np.int64)
        first[group[::-1]] = np.arange(len(group))[::-1]
        differing = np.flatnonzero((got != got[first[group]]).any(axis=1))
        if not differing.size:
            return
        thread = int(differing[0])
        fail(
            self,
            f"threads {first[group[thread]]} and {thread} hold the same elements, "
            "but would get different ones",
            self.value,
            error=LayoutMismatchError,
            hint="move between lanes that hold different elements, or use another layout",
        )
