"""Which rule explains which instruction class."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeAlias, TypeVar

from ..instruction import Instruction

Rule: TypeAlias = Callable[..., Any]
RuleT = TypeVar("RuleT", bound=Rule)

_RULES: Final[dict[type[Instruction], Rule]] = {}
FAMILIES: Final = (
    "atomics",
    "bulk",
    "cluster",
    "create",
    "debug",
    "dependencies",
    "dims",
    "elementwise",
    "gather",
    "matmul",
    "matrices",
    "mbarrier",
    "memory",
    "reduction",
    "registers",
    "scalars",
    "shuffle",
    "sync",
    "tensor",
    "transform",
    "wgmma",
)


def semantics(*classes: type[Instruction]) -> Callable[[RuleT], RuleT]:
    """Register the decorated function as the meaning of instruction classes."""

    def register(rule: RuleT) -> RuleT:
        for cls in classes:
            assert cls not in _RULES, f"two rules for {cls.name}"
            _RULES[cls] = rule
        return rule

    return register


@cache
def rules() -> dict[type[Instruction], Rule]:
    """Every rule by class; the families are imported at the first call."""
    for family in FAMILIES:
        import_module(f"{__package__}.{family}")
    return _RULES


def rule_of(cls: type[Instruction]) -> Rule:
    """The rule of a class; that there is none is our mistake."""
    rule = rules().get(cls)
    assert rule is not None, f"`{cls.name}` has no semantics"
    return rule
