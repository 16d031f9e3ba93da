"""Programmatic dependent launch: a kernel that starts while the one before it still runs."""

from __future__ import annotations

from ..instruction import Effect, Instruction, instruction
from ..types import Type


@instruction
class WaitDependencies(
    Instruction, name="wait_dependencies", effect=Effect.SYNCHRONIZES, result=False
):
    """Waits until the launches this one depends on have ended and what they wrote is visible.

    It matters only where a launch asks to start early (`programmatic=True`); before it, a block
    may read nothing that the launch before writes, and write nothing that it reads or writes.
    """

    def result_type(self, annotation: Type | None) -> None:
        return None


@instruction
class LaunchDependents(
    Instruction, name="launch_dependents", effect=Effect.SYNCHRONIZES, result=False
):
    """Lets the launch after this one start, once every block has come here or ended.

    It says nothing of what was written: the next launch waits for that itself.
    """

    def result_type(self, annotation: Type | None) -> None:
        return None
