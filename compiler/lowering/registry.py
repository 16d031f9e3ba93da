"""The registries of rules, one of each kind per instruction class.

@lowering(C)          emits the code of an instruction
@layout_rule(C)       proposes layouts of some of its tiles from those of others
@layout_default(C)    proposes layouts where nothing else did, earliest phase first
@layout_demand(C)     the layouts it needs of its operands once all are known
@scratch(C)           bytes of shared memory its code uses for a moment
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tileloom.layouts import RegisterLayout
from tileloom.vm.diagnostics import at_location
from tileloom.vm.instruction import Instruction

from ..emit.context import Context, LoweringError

if TYPE_CHECKING:
    from ..passes.inference import Inference

Demand = list[tuple[str, RegisterLayout]]
F = TypeVar("F", bound=Callable[..., Any])

RULES: dict[type[Instruction], Callable[[Context, Any], None]] = {}
LAYOUT_RULES: dict[type[Instruction], Callable[[Inference, Any], None]] = {}
LAYOUT_DEFAULTS: dict[type[Instruction], tuple[int, Callable[[Inference, Any], None]]] = {}
LAYOUT_DEMANDS: dict[type[Instruction], Callable[[Any, int], Demand]] = {}
SCRATCH: dict[type[Instruction], Callable[[Any, int], int]] = {}


def _registrar(registry: dict[type[Instruction], Any], *classes: type[Instruction]) -> Any:
    def register(rule: F) -> F:
        for cls in classes:
            assert cls not in registry, f"two rules of one kind for {cls.name}"
            registry[cls] = rule
        return rule

    return register


def lowering(*classes: type[Instruction]) -> Callable[[F], F]:
    """Registers `rule(context, instruction)`, which emits the code of an instruction."""
    return _registrar(RULES, *classes)  # type: ignore[no-any-return]


def layout_rule(*classes: type[Instruction]) -> Callable[[F], F]:
    """Registers `rule(inference, instruction)`, called when one of its tiles gets a layout."""
    return _registrar(LAYOUT_RULES, *classes)  # type: ignore[no-any-return]


def layout_default(*classes: type[Instruction], phase: int) -> Callable[[F], F]:
    """Registers `rule(inference, instruction)`, called where layouts are still missing."""

    def register(rule: F) -> F:
        for cls in classes:
            assert cls not in LAYOUT_DEFAULTS, f"two layout defaults for {cls.name}"
            LAYOUT_DEFAULTS[cls] = (phase, rule)
        return rule

    return register


def layout_demand(*classes: type[Instruction]) -> Callable[[F], F]:
    """Registers `rule(instruction, num_threads)`: (operand field, layout it must have) pairs.

    The field `result` stands for the layout that the instruction itself produces.
    """
    return _registrar(LAYOUT_DEMANDS, *classes)  # type: ignore[no-any-return]


def scratch(*classes: type[Instruction]) -> Callable[[F], F]:
    """Registers `rule(instruction, num_threads)`: bytes of shared scratch memory."""
    return _registrar(SCRATCH, *classes)  # type: ignore[no-any-return]


def lower_instruction(context: Context, instruction: Instruction) -> None:
    """Emits the code of one instruction.

    Raises:
        VMError: the program asks for what the compiler or the target can't do.
    """
    rule = RULES.get(type(instruction))
    if rule is None:
        raise LoweringError(
            f"`{instruction.name}` can't be compiled yet",
            instruction.location,
            hint='run the program with `device="interpreter"`',
        )
    with at_location(instruction.location, f"`{instruction.name}`: "):
        rule(context, instruction)
