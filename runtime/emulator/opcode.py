"""The registry of opcodes: an opcode's text -> its `Form`, which says how to execute it.

    ld.global.nc.v2.b32      base `ld`, modifiers global, nc, v2, b32
    mul.wide.u32             base `mul`, modifiers wide, u32

A family module registers one function a base name with `@opcode`. It takes the modifiers it knows
from `Mods`; whatever is left makes the opcode unknown, so nothing is ever skipped silently. Forms
depend on the opcode's text only and are cached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from .step import Flow
from .types import TYPES, Type

if TYPE_CHECKING:
    from .linker import Linker
    from .step import Control, Step
    from .syntax import Instruction


class OpcodeError(ValueError):
    """An unknown opcode or modifier, or operands that do not fit; the caller adds the line."""


@dataclass(frozen=True, slots=True)
class Pure:
    """Destinations are a function of the sources: `fn` maps raw arrays to a raw array (or several).

    `fn` must not mutate its arguments: registers alias each other. `flow` says how undefined bits
    of sources pass to the results; without it any of them makes the results undefined.
    """

    outs: tuple[Type, ...]
    ins: tuple[Type, ...]
    fn: Callable[..., Any]
    flow: Flow | None = None


@dataclass(frozen=True, slots=True)
class Custom:
    """An instruction that touches more than registers, or whose operands are irregular."""

    build: Callable[[Instruction, Linker], Step | Control]


Form: TypeAlias = "Pure | Custom"
Builder: TypeAlias = "Callable[[Mods], Form]"

_HALVES = Flow(0, halves=True)
_BUILDERS: dict[str, Builder] = {}


class Mods:
    """The modifiers of one opcode, consumed one by one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.base, *self.parts = text.split(".")

    def flag(self, name: str) -> bool:
        """Whether the modifier is present; consumes it."""
        if name in self.parts:
            self.parts.remove(name)
            return True
        return False

    def flags(self, *names: str) -> None:
        """Accepts and drops modifiers without an effect on results (cache hints and the like)."""
        for name in names:
            self.flag(name)

    def choice(self, *names: str, default: str | None = None) -> str:
        """The first of `names` present. Without a default, one must be."""
        for name in names:
            if self.flag(name):
                return name
        if default is None:
            raise OpcodeError(f"`{self.text}` needs one of {', '.join('.' + n for n in names)}")
        return default

    def type(self, *allowed: str) -> Type:
        """The next type modifier, which must be one of `allowed` if any are given."""
        for part in self.parts:
            if part in TYPES:
                self.parts.remove(part)
                if allowed and part not in allowed:
                    raise OpcodeError(f"`{self.text}`: type `.{part}` is not supported")
                return TYPES[part]
        raise OpcodeError(f"`{self.text}` needs a type")

    def drop(self, prefix: str) -> None:
        """Drops every modifier that starts with `prefix`."""
        self.parts = [part for part in self.parts if not part.startswith(prefix)]

    def finish(self) -> None:
        if self.parts:
            raise OpcodeError(f"unknown modifier `.{self.parts[0]}` of `{self.text}`")


def opcode(*names: str) -> Callable[[Builder], Builder]:
    """Registers a builder for base names."""

    def register(build: Builder) -> Builder:
        for name in names:
            assert name not in _BUILDERS, name
            _BUILDERS[name] = build
        return build

    return register


@lru_cache(maxsize=4096)
def form_of(text: str) -> Form:
    """The form of an opcode. Raises OpcodeError for an unknown one."""
    mods = Mods(text)
    build = _BUILDERS.get(mods.base)
    if build is None:
        raise OpcodeError(f"unknown opcode `{text}`")
    form = build(mods)
    mods.finish()
    if isinstance(form, Pure) and form.flow is None and _is_packed(form):
        return replace(form, flow=_HALVES)
    return form


def _is_packed(form: Pure) -> bool:
    return all(type_.lanes == 2 for type_ in (*form.outs, *form.ins))


def known_opcodes() -> list[str]:
    return sorted(_BUILDERS)
