"""Programmatic dependent launch. Launches run one after the other here, so that every wait is
over before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..instruction import Instruction
from ..instructions.dependencies import LaunchDependents, WaitDependencies
from .registry import semantics

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(WaitDependencies, LaunchDependents)
def depend(group: ThreadGroup, instruction: Instruction) -> None:
    """Nothing to do."""
