"""Programs through their text and back; and how checks say what they found."""

from __future__ import annotations

from dataclasses import dataclass

from tileloom.vm.diagnostics import VMError
from tileloom.vm.ir import Function
from tileloom.vm.text import parse

from .case import Case


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: `kind` names who is to blame, `message` says what."""

    kind: str
    message: str
    case: Case


class CheckError(Exception):
    """Carries a finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def parsed(case: Case, function: Function) -> Function:
    """A program of a case as it reads back from its text, so that statements have places there.

    Raises:
        CheckError: it doesn't read back, or not as the same program.
    """
    text = function.text()
    try:
        again = parse(text)
    except VMError as error:
        raise CheckError(Finding("text", error.render(), case)) from error
    if again.text() != text:
        raise CheckError(Finding("text", "the program doesn't read back as it was printed", case))
    return again
