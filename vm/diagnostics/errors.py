"""The errors a user's mistake raises, one class for each kind of mistake."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import TracebackType
from typing import Any, ClassVar

from .location import Location
from .render import Note, render_error

_NAME = re.compile(r"`%([A-Za-z_]\w*)")


class VMError(Exception):
    """A mistake in a program or in its use.

    `message` is one lower-case line without a full stop; `notes` are (text, place) pairs and may
    be given as plain strings. `str(error)` is the whole rendered text, `error.message` the line.
    """

    kind: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        location: Location | None = None,
        *,
        notes: Sequence[Note | str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self._message = message
        self.location = location
        placed: list[Note] = [(n, None) if isinstance(n, str) else n for n in notes]
        self.notes: list[Note] = list(dict.fromkeys(placed))
        self.hint = hint

    @property
    def message(self) -> str:
        """What is wrong, in one line, values named as the user's source names them."""
        return self._worded(self._message)

    @message.setter
    def message(self, message: str) -> None:
        self._message = message

    def _worded(self, text: str) -> str:
        """A text's `%x` is Python's `x`."""
        in_python = self.location is not None and self.location.text is None
        return _NAME.sub(r"`\1", text) if in_python else text

    def render(self) -> str:
        """The error as the user reads it: heading, place, source line with caret, notes, hint."""
        notes = [(self._worded(text), place) for text, place in self.notes]
        hint = None if self.hint is None else self._worded(self.hint)
        return render_error(self.kind, self.message, self.location, notes, hint)

    def note(self, text: str, location: Location | None = None) -> VMError:
        """Adds a note and returns the error, so that it can be raised at once."""
        self.notes.append((text, location))
        return self

    def __str__(self) -> str:
        return self.render()

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword arguments don't survive the default way through `args`; workers send errors.
        return _rebuild, (type(self), self.message, self.location, self.notes, self.hint)


def _rebuild(
    cls: type[VMError],
    message: str,
    location: Location | None,
    notes: Sequence[Note],
    hint: str | None,
) -> VMError:
    return cls(message, location, notes=notes, hint=hint)


class VMSyntaxError(VMError):
    """The text isn't a program, or the Python around a traced value isn't allowed."""

    kind = "syntax error"


class VMNameError(VMError):
    """A name that is unknown, not visible here, or defined twice."""

    kind = "name error"


class VMTypeError(VMError):
    """Values whose dtypes, spaces or ranks don't go together."""

    kind = "type error"


class VMValueError(VMError):
    """An attribute or argument whose value isn't allowed."""

    kind = "value error"


class ShapeError(VMError):
    """Shapes that don't agree."""

    kind = "shape error"


class LayoutMismatchError(VMError):
    """A layout that doesn't fit its tile, its threads or its partner."""

    kind = "layout error"


class LimitError(VMError):
    """A program larger than the machine's stated limits."""

    kind = "limit error"


class ResourceError(VMError):
    """More registers, shared memory or threads than the target has."""

    kind = "resource error"


class TargetError(VMError):
    """An instruction or type the chosen target doesn't have."""

    kind = "target error"


class LaunchError(VMError):
    """Arguments of a launch that don't fit the kernel's signature."""

    kind = "launch error"


class DeviceError(VMError):
    """A device that is unknown, absent, or failed."""

    kind = "device error"


class ExecutionError(VMError):
    """A running program did what it must not: bounds, races, uninitialised values, deadlock."""

    kind = "execution error"


class UsageError(VMError):
    """A call of the library that can't mean anything."""

    kind = "usage error"


class at_location:  # noqa: N801 - used like a function; a class, since it is entered so often
    """Gives errors from inside a place: a `VMError` without one gets `location`, and an error of
    layouts, packings or dtypes becomes a `VMError` there, with `subject` (such as "`load`: ")
    before its message."""

    __slots__ = ("_location", "_subject")

    def __init__(self, location: Location | None, subject: str = "") -> None:
        self._location, self._subject = location, subject

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, VMError):
            if error.location is None:
                error.location = self._location
        elif isinstance(error, ValueError):
            cls = _of_lower_layer(error)
            if cls is not None:
                raise cls(f"{self._subject}{error}", self._location) from None


def _of_lower_layer(error: ValueError) -> type[VMError] | None:
    """The class for an error of layouts, packings or dtypes, which know no places."""
    if not type(error).__module__.startswith("tileloom."):
        return None
    placed = type(error).__name__ in ("LayoutError", "PackingError")
    return LayoutMismatchError if placed else VMTypeError


for _error in [VMError, *VMError.__subclasses__()]:
    # The name a traceback prints and a pickle looks up: the public path.
    _error.__module__ = "tileloom.vm.diagnostics"
