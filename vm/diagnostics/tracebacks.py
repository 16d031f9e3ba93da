"""Tracebacks of the user's mistakes without our own frames, and with a place."""

from __future__ import annotations

from types import TracebackType

from tileloom.layouts.tracebacks import user_errors as _user_errors

from .errors import VMError
from .location import call_location


class user_errors(_user_errors):  # noqa: N801 - used like a function, as contextlib's are
    """Context manager and decorator for public entry points: an error of ours that passes shows
    the user's frames only, and a `VMError` without a place gets the user's call.

    TILELOOM_FULL_TRACEBACK=1 in the environment keeps everything, for work on tileloom itself.
    """

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, VMError) and error.location is None:
            error.location = call_location()
        super().__exit__(kind, error, traceback)
