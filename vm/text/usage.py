"""How an instruction is written, from its class: for hints."""

from __future__ import annotations

import dataclasses

from ..instruction import Instruction, Role, roles


def usage(cls: type[Instruction]) -> str:
    """Such as "written `%x = load %source[...] {dims, in_bounds, cache} : type`"."""
    operands: list[str] = []
    attributes: list[str] = []
    for name, role in roles(cls).items():
        match role:
            case Role.ATTRIBUTE:
                attributes.append(f"{name} = ..." if _has_no_default(cls, name) else name)
            case Role.INDICES:
                operands[-1] += "[...]"
            case _:
                operands.append(f"%{name}")
    parts = ["%x ="] if cls.has_result is True else []
    parts.append(cls.name)
    if operands:
        parts.append(", ".join(operands))
    if attributes:
        parts.append(f"{{{', '.join(attributes)}}}")
    if cls.needs_type:
        parts.append(": type")
    return f"written `{' '.join(parts)}`"


def _has_no_default(cls: type[Instruction], name: str) -> bool:
    return any(f.name == name and f.default is dataclasses.MISSING for f in dataclasses.fields(cls))
