"""Options of the command line: a parser whose mistakes are errors like all others."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from tileloom.vm.diagnostics import UsageError

from .programs import Program


class Parser(argparse.ArgumentParser):
    """`argparse`'s parser, raising UsageError where that one would print and exit; options have to
    be written out."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.replace("'", "`"), hint=f"`{self.prog} --help` lists the options")


def program_parser(command: str, name: str, chosen: Program) -> Parser:
    """The parser of `tileloom COMMAND PROGRAM ...`, with the program's own options."""
    parser = Parser(
        prog=f"tileloom {command} {name}",
        description=(getattr(chosen, "__doc__", None) or "").strip().partition("\n")[0],
    )
    chosen.add_arguments(parser)
    return parser
