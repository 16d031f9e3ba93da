"""The page of the public functions and classes: signatures and docstrings."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from tileloom.vm import Packing

MODULES = {
    "tileloom.vm": "What a kernel says, and the types it speaks of.",
    "tileloom.vm.dtypes": "Names, codecs and packed storage.",
    "tileloom.vm.decode": "What `decode` leaves in its result.",
    "tileloom.vm.diagnostics": "Errors: all are `VMError`s.",
    "tileloom.layouts": "Register and memory layouts.",
    "tileloom.layouts.fragments": "Layouts of the operands of tensor-core instructions.",
    "tileloom.compiler": "From a program to PTX.",
    "tileloom.runtime": "Running, compiling and looking into kernels.",
    "tileloom.runtime.errors": "The runtime's own errors.",
    "tileloom.programs.quantized_matmul": "Quantized matrix products.",
}
# Objects that users get, from nowhere they could import them by an advertised name.
MORE = {
    "tileloom.vm": [
        "tileloom.vm.dsl.values:Tile",
        "tileloom.vm.dsl.values:Scalar",
        "tileloom.vm.dsl.values:MemoryTile",
        "tileloom.vm.dsl.values:Pointer",
    ],
    "tileloom.runtime": [
        "tileloom.runtime.resources:Resources",
    ],
}


_STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def page() -> str:
    """The page."""
    parts = [_HEAD]
    shown: set[type] = set()
    for name, title in MODULES.items():
        parts.append(f"## `{name}`\n\n{title}\n")
        module = import_module(name)
        found = exported(module)
        for place in MORE.get(name, []):
            home, _, one = place.partition(":")
            found[one] = getattr(import_module(home), one)
        functions = [n for n in found if callable(found[n]) and not inspect.isclass(found[n])]
        if functions:
            lines = [f"- `{declaration(n, found[n])}`: {one_line(found[n])}" for n in functions]
            parts.append("\n".join(lines) + "\n")
        constants = [n for n, value in found.items() if not callable(value)]
        if constants:
            listed = ", ".join(f"`{n}`" for n in constants)
            parts.append(f"Constants and modules: {listed}.\n")
        classes = {n: v for n, v in found.items() if inspect.isclass(v) and v not in shown}
        parts += [entry(n, cls) for n, cls in classes.items()]
        shown.update(classes.values())
    return "\n".join(parts)


_HEAD = """\
# Reference

Every public function and class by module, from their docstrings. Arguments after `*` are given by
name. [instructions.md](instructions.md) says more of the functions that trace instructions.
"""


def exported(module: ModuleType) -> dict[str, Any]:
    """What a module offers: `__all__`, or its own public functions and classes."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        ]
    return {name: getattr(module, name) for name in names}


def entry(name: str, cls: type) -> str:
    """A class with its public members."""
    lines = [f"### `{name}`\n"]
    if takes_arguments(cls):
        lines.append(f"`{declaration(name, cls)}`\n")
    lines += [docstring(cls), ""]
    lines += [f"- {member}" for member in members(cls)]
    return "\n".join(lines).rstrip() + "\n"


def takes_arguments(cls: type) -> bool:
    """Whether a class is made by a call that is worth showing."""
    return not issubclass(cls, (BaseException, enum.Enum)) and bool(
        inspect.signature(cls).parameters
    )


def members(cls: type) -> Iterator[str]:
    """The public methods and properties a class defines itself, one line each."""
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        function = getattr(member, "__func__", member)  # static methods
        function = getattr(function, "fget", None) or getattr(function, "func", function)
        if not inspect.isfunction(inspect.unwrap(function)) or not function.__doc__:
            continue
        is_call = inspect.isfunction(getattr(member, "__func__", member))
        shown = call_text(name, function) if is_call else name
        yield f"`{shown}`: {one_line(function)}"


def docstring(value: Any) -> str:
    """A docstring with its `Raises` section as a sentence."""
    text = inspect.getdoc(value)
    assert text, f"{value} has no docstring"
    head, _, raised = text.partition("\nRaises:\n")
    raised = re.sub(r"^ +(\w+): ", r"`\1`: ", raised, flags=re.M)
    lines = "; ".join(line.strip().rstrip(".") for line in raised.splitlines())
    return f"{head.rstrip()}\n\nRaises {lines}." if raised else head


def one_line(value: Any) -> str:
    """A docstring as one paragraph."""
    return " ".join(docstring(value).split())


def call_text(name: str, function: Any) -> str:
    """A call without types: `load(source, offsets, shape, layout=None)`."""
    return f"{name}({', '.join(parameters(function, annotated=False))})"


def declaration(name: str, function: Any) -> str:
    """A call with types."""
    returns = inspect.signature(function).return_annotation
    known = returns not in (inspect.Signature.empty, None, "None")
    arrow = f" -> {type_text(returns)}" if known else ""
    return f"{name}({', '.join(parameters(function, annotated=True))}){arrow}"


def parameters(function: Any, annotated: bool) -> list[str]:
    """The parameters of a function, `self` left away."""
    items: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        named_only = parameter.kind is parameter.KEYWORD_ONLY
        if named_only and not any(item.startswith("*") for item in items):
            items.append("*")
        text = _STARS.get(parameter.kind, "") + parameter.name
        has_type = annotated and parameter.annotation is not parameter.empty
        text += f": {type_text(parameter.annotation)}" if has_type else ""
        if parameter.default is not parameter.empty:
            text += f"{' = ' if has_type else '='}{default_text(parameter.default)}"
        items.append(text)
    return items


def default_text(value: Any) -> str:
    return value.name.upper() if isinstance(value, Packing) else repr(value)


def type_text(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\btileloom\.[\w.]*\.", "", text)
