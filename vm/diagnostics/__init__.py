"""Errors a user can read: a place, the values, a caret, a note and a hint.

A mistake of the user raises a `VMError`; a mistake of the compiler is a failed assert.
Messages are lower case, without a full stop, with code in backquotes:

    type error: `mma`: a is `f16` but b is `u4`
      --> gemm.vm:15:5
       |
    15 |     mma %acc, %a, %q
       |     ^^^^^^^^^^^^^^^^
    note: `%q` is `reg<u4, [16, 8], #b>`
      --> gemm.vm:13:5
    hint: cast the narrower one: `cast %q {dtype = f16}`
"""

from .errors import (
    DeviceError,
    ExecutionError,
    LaunchError,
    LayoutMismatchError,
    LimitError,
    ResourceError,
    ShapeError,
    TargetError,
    UsageError,
    VMError,
    VMNameError,
    VMSyntaxError,
    VMTypeError,
    VMValueError,
    at_location,
)
from .location import Location, call_location, caller_location, frame_location
from .suggest import did_you_mean, quote
from .tracebacks import user_errors

__all__ = [
    "DeviceError",
    "ExecutionError",
    "LaunchError",
    "LayoutMismatchError",
    "LimitError",
    "Location",
    "ResourceError",
    "ShapeError",
    "TargetError",
    "UsageError",
    "VMError",
    "VMNameError",
    "VMSyntaxError",
    "VMTypeError",
    "VMValueError",
    "at_location",
    "call_location",
    "caller_location",
    "did_you_mean",
    "frame_location",
    "quote",
    "user_errors",
]
