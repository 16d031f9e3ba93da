"""The one error of the emulator: a place in the PTX text and what went wrong there."""

from __future__ import annotations


class EmulatorError(Exception):
    """PTX that cannot be parsed, or an execution that broke a rule of the machine.

    `line` is the 1-based line of the PTX text (0 when no line is to blame), `text` that line,
    `message` what is wrong; `comment` is the nearest comment above the line (the compiler writes
    the VM instruction there) and `location` the `.loc` in force, as (file, line), if any.
    """

    def __init__(
        self,
        line: int,
        text: str,
        message: str,
        comment: str = "",
        location: tuple[str, int] | None = None,
    ) -> None:
        self.line = line
        self.text = text
        self.message = message
        self.comment = comment
        self.location = location
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.message]
        if self.line:
            lines.append(f"  --> ptx line {self.line}: {self.text}")
        if self.comment:
            lines.append(f"  vm: {self.comment}")
        if self.location is not None:
            lines.append(f"  source: {self.location[0]}:{self.location[1]}")
        return "\n".join(lines)
