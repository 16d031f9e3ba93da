from __future__ import annotations
from ..ir import Function
def verify(function: Function) -> None:
    return None
