"""How many registers a group may use: nothing that a program could see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..instructions.registers import SetRegisters
from .registry import semantics

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(SetRegisters)
def set_registers(group: ThreadGroup, instruction: SetRegisters) -> None:
    """Nothing to do."""
