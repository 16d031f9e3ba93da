"""Tracebacks of the user's mistakes without our own frames.

How it works: when an exception leaves a `with` block, Python re-raises it with the traceback the
exception object then carries and doesn't add the frame that holds the block a second time. So
`__exit__` may replace the traceback by one from which our frames are cut, and the frames above,
which are the user's, are added as the exception goes on.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

FULL_TRACEBACK_VARIABLE = "TILELOOM_FULL_TRACEBACK"

_OURS = ("tileloom", "lark")
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_INSTALLED = (_STANDARD_LIBRARY + "site-packages", _STANDARD_LIBRARY + "dist-packages")


class user_errors:  # noqa: N801 - used like a function, as contextlib's are
    """Context manager and decorator for public entry points: an error of ours that passes shows
    the user's frames only, and no chained exception of ours. Other exceptions pass untouched.

    TILELOOM_FULL_TRACEBACK=1 in the environment keeps everything, for work on tileloom itself.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or not type(error).__module__.startswith(_OURS[0] + "."):
            return
        if os.environ.get(FULL_TRACEBACK_VARIABLE, "0") == "0":
            error.__traceback__ = user_frames(traceback)
            error.__cause__ = None
            error.__suppress_context__ = True

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def entry(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return entry


def user_frames(traceback: TracebackType | None) -> TracebackType | None:
    """A copy of `traceback` without the frames of tileloom, its parser and Python's library."""
    kept = []
    while traceback is not None:
        if not _is_hidden(traceback):
            kept.append(traceback)
        traceback = traceback.tb_next
    result: TracebackType | None = None
    for entry in reversed(kept):
        result = TracebackType(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return result


def _is_hidden(entry: TracebackType) -> bool:
    module = str(entry.tb_frame.f_globals.get("__name__", ""))
    if module.partition(".")[0] in _OURS:
        return True
    file = entry.tb_frame.f_code.co_filename
    return file.startswith(_STANDARD_LIBRARY) and not file.startswith(_INSTALLED)
