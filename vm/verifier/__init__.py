"""The verifier: everything a program must obey, whoever made it (a text, a trace, a pass)."""

from .registers import largest_start, starting_registers
from .scalars import Kind, expect_kind, scalar_kind
from .verify import verify

__all__ = [
    "Kind",
    "expect_kind",
    "largest_start",
    "scalar_kind",
    "starting_registers",
    "verify",
]
