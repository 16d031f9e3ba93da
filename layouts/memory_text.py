"""Memory layouts as text: by a constructor's name where one fits, else digit by digit.

row_major(8, 64)    column_major(8, 64)    strided([8, 64], [72, 1])
memory(shape=[8, 128], digits=[[8], [2, 64]], strides=[[64], [512, 1]], start=0)
memory(...) ^ swizzle(3, 4, 3)
"""

from collections.abc import Sequence
from math import prod

from .swizzle import Swizzle


def format_memory_layout(
    shape: tuple[int, ...],
    digits: Sequence[Sequence[tuple[int, int]]],
    start: int,
    swizzle: Swizzle | None,
) -> str:
    """Text that parse_memory_layout reads back as an equal layout."""
    text = _format_places(shape, digits, start)
    return text if swizzle is None else f"{text} ^ {swizzle}"


def _format_places(
    shape: tuple[int, ...], digits: Sequence[Sequence[tuple[int, int]]], start: int
) -> str:
    if start or any(len(factors) > 1 for factors in digits):
        extents = [[extent for extent, _ in factors] for factors in digits]
        strides = [[stride for _, stride in factors] for factors in digits]
        return f"memory(shape={list(shape)}, digits={extents}, strides={strides}, start={start})"
    row = [prod(shape[dim + 1 :]) for dim in range(len(shape))]
    column = [prod(shape[:dim]) for dim in range(len(shape))]
    moving = [(dim, factors[0][1]) for dim, factors in enumerate(digits) if factors]
    for name, expected in (("row_major", row), ("column_major", column)):
        if all(expected[dim] == stride for dim, stride in moving):
            return f"{name}({', '.join(map(str, shape))})"
    strides_of = dict(moving)
    return f"strided({list(shape)}, {[strides_of.get(dim, 0) for dim in range(len(shape))]})"
