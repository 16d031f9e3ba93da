"""What a load tells the caches.

`L2::evict_first` on the load itself exists for 32-byte vectors only, so the L2's hint is a policy
operand; the assembler folds the making of a whole-range policy into constants.
"""

from __future__ import annotations

from ..ptx import Float32, Operand, Register, RegisterKind
from .context import Context

_L1 = {"stream": ".L1::no_allocate", "keep": ""}
_L2 = {"stream": "evict_first", "keep": "evict_last"}


def cache_hints(context: Context, cache: str) -> tuple[str, tuple[Operand, ...]]:
    """The modifiers of a load from global memory, and its operands after the address."""
    if not cache:
        return "", ()
    return f"{_L1[cache]}.L2::cache_hint", (cache_policy(context, cache),)


def cache_policy(context: Context, cache: str) -> Register:
    """The L2's policy for a hint."""
    opcode = f"createpolicy.fractional.L2::{_L2[cache]}.b64"
    return context.builder.pure(opcode, RegisterKind.B64, Float32.of(1.0))
