"""When 32 bits don't suffice to count elements.

Integers of 32 bits in a program's expressions wrap. For the places of elements that would be a
trap: a tensor of more than 2**31 elements has offsets that no `i32` holds, though each of its
extents and indices does. So a launch is *far* if one of its views reaches that far, and then
`i32` expressions are computed exactly, in 64 bits; what is stored in an `i32` still wraps. The
interpreter does so, and the compiler in the variant of a kernel that far launches take.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_OFFSET = 2**31 - 1


def last_element(shape: Sequence[int], strides: Sequence[int]) -> int:
    """The offset of a view's last element; -1 where it has none, or strides are negative."""
    if min(shape, default=1) <= 0 or min(strides, default=0) < 0:
        return -1
    return sum((n - 1) * s for n, s in zip(shape, strides, strict=True))


def is_far(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a view has offsets, or a stride, beyond 32 bits."""
    last = last_element(shape, strides)
    return last > MAX_OFFSET or (last >= 0 and max(strides, default=0) > MAX_OFFSET)
