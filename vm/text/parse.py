"""Parsing a text into functions."""

from __future__ import annotations

from dataclasses import dataclass

from ..collection import collection_paused
from ..diagnostics import UsageError, VMSyntaxError, quote, user_errors
from ..ir import Function
from .source import Source


@dataclass(frozen=True)
class Module:
    """The functions of one text, in its order."""

    functions: tuple[Function, ...]

    def __getitem__(self, name: str) -> Function:
        for function in self.functions:
            if function.name == name:
                return function
        raise KeyError(name)

    def text(self) -> str:
        """All functions as one text."""
        from .printer import print_functions

        return print_functions(self.functions)


def parse(text: str, file: str = "<text>") -> Function:
    """The one function of a text; `file` names the text in errors.

    Raises:
        VMError: with the place of the first mistake.
    """
    with user_errors(), collection_paused():
        functions = _functions(text, file)
        if len(functions) == 1:
            return functions[0]
        if not functions:
            end = len(text.rstrip())
            raise VMSyntaxError(
                "the text holds no function",
                Source(text, file).location((end, end)),
                hint="a function is written `func @name(%x: *f16) warps = 1 {`",
            )
        raise VMSyntaxError(
            f"the text holds {len(functions)} functions, not one",
            functions[1].location,
            hint="`tileloom.vm.text.parse_module` reads them all",
        )


def parse_module(text: str, file: str = "<text>") -> Module:
    """All functions of a text.

    Raises:
        VMError: with the place of the first mistake.
    """
    with user_errors():
        return Module(tuple(_functions(text, file)))


def _functions(text: str, file: str) -> list[Function]:
    if not isinstance(text, str):
        raise UsageError(f"a program's text is a string, not {quote(type(text).__name__)}")
    from .. import instructions  # noqa: F401 - fills the registry
    from ..verifier import verify
    from .elaborate import Elaborator
    from .reader import read

    source = Source(text, file)
    functions = Elaborator(source).module(read(source))
    for function in functions:
        verify(function)
    return functions
