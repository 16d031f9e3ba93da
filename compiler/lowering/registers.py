"""Lowering of changes to how many registers a group may use."""

from __future__ import annotations

from tileloom.vm.instructions.registers import SetRegisters

from ..emit.context import Context
from .registry import lowering


@lowering(SetRegisters)
def lower_set_registers(context: Context, instruction: SetRegisters) -> None:
    if context.target.has("setmaxnreg"):
        change = "dec" if instruction.change == "less" else "inc"
        context.builder.emit(f"setmaxnreg.{change}.sync.aligned.u32", (), (instruction.count,))
