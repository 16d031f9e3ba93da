"""Tracebacks of the user's mistakes without our own frames.

How it works: when an exception leaves a `with` block, Python re-raises it with the traceback the
exception object then carries and doesn't add the frame that holds the block a second time. So
`__exit__` may replace the traceback by one from which our frames are cut, and the frames above,
which are the user's, are added as the exception goes on.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=Exception)

FULL_TRACEBACK_VARIABLE = "TILELOOM_FULL_TRACEBACK"

_OURS = ("tileloom", "lark")
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_INSTALLED = (_STANDARD_LIBRARY + "site-packages", _STANDARD_LIBRARY + "dist-packages")


_MARK = "_raised_by_user_code"


class user_code:  # noqa: N801 - used like a function, as contextlib's are
    """Context manager around calls of the user's own code: what it raises is the user's mistake,
    also where Python or numpy finds it."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not _is_ours(_innermost(traceback)):
            users_mistake(error)


def users_mistake(error: E) -> E:
    """The error, of a class that isn't ours, known as a mistake of the user's."""
    with contextlib.suppress(AttributeError):  # of classes with slots
        setattr(error, _MARK, True)
    return error


class user_errors:  # noqa: N801 - used like a function, as contextlib's are
    """Context manager and decorator for public entry points: an error of ours that passes, or of
    the user's code, shows the user's frames only, and no chained exception of ours. So does one of
    Python's about the arguments of the decorated function. Other exceptions pass untouched.

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
        if error is None:
            return
        if not (type(error).__module__.startswith(_OURS[0] + ".") or hasattr(error, _MARK)):
            return
        if os.environ.get(FULL_TRACEBACK_VARIABLE, "0") == "0":
            error.__traceback__ = user_frames(traceback)
            error.__cause__ = None
            error.__suppress_context__ = True

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def entry(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                try:
                    return function(*args, **kwargs)
                except TypeError as error:
                    if error.__traceback__ is None or error.__traceback__.tb_next is None:
                        users_mistake(error)  # raised here: the arguments don't suit the function
                    raise

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


def _innermost(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _is_ours(entry: TracebackType | None) -> bool:
    name = "" if entry is None else str(entry.tb_frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] in _OURS


def _is_hidden(entry: TracebackType) -> bool:
    if _is_ours(entry):
        return True
    file = entry.tb_frame.f_code.co_filename
    return file.startswith(_STANDARD_LIBRARY) and not file.startswith(_INSTALLED)
