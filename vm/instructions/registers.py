"""How many registers the threads of a group may use."""

from __future__ import annotations

from ..instruction import Effect, Instruction, instruction
from ..types import Type
from .checks import fail


@instruction
class SetRegisters(Instruction, name="set_registers", effect=Effect.SYNCHRONIZES, result=False):
    """From now on each thread of the warp group may use `count` registers (a hint).

    With `change = less` it gives registers back, with `change = more` it waits until others have
    given enough; all threads start with the same number, no more than who takes some first asks
    for. It stands at the beginning of a role, in groups of 4 warps; targets without it ignore it.
    """

    count: int
    change: str

    def result_type(self, annotation: Type | None) -> None:
        if self.count % 8 or not 24 <= self.count <= 256:
            fail(self, f"`count` is {self.count}", hint="a multiple of 8 from 24 to 256")
        if self.change not in ("less", "more"):
            fail(self, f"unknown `change` `{self.change}`", hint="less or more")
