"""Lowering of programmatic dependent launch. Older targets have none: each launch waits for the
one before it as a whole, and nothing is to be done."""

from __future__ import annotations

from tileloom.vm.instructions.dependencies import LaunchDependents, WaitDependencies

from ..emit.context import Context
from .registry import lowering


@lowering(WaitDependencies)
def lower_wait_dependencies(context: Context, instruction: WaitDependencies) -> None:
    if context.target.has("griddepcontrol"):
        context.builder.emit("griddepcontrol.wait")


@lowering(LaunchDependents)
def lower_launch_dependents(context: Context, instruction: LaunchDependents) -> None:
    if context.target.has("griddepcontrol"):
        context.builder.emit("griddepcontrol.launch_dependents")
