"""The atoms from which register layouts are composed, and a default layout.

spatial(2, 3)           one element for each of 6 threads, last dimension fastest:
                        threads 0 1 2
                                3 4 5
column_spatial(2, 3)    the same, first dimension fastest:
                        threads 0 2 4
                                1 3 5
local, column_local     one thread that holds all elements, numbered in those two ways
replicate(4)            four threads that hold the same element; rank 0, composes with any
"""

from math import gcd

from .errors import LayoutError
from .modes import REPLICATED, Ints, Mode, Modes, as_ints
from .register_layout import RegisterLayout
from .tracebacks import user_errors


@user_errors()
def spatial(*extents: Ints) -> RegisterLayout:
    """One element a thread; threads numbered with the last dimension fastest."""
    shape = as_ints(extents)
    return RegisterLayout(shape, _row_major(shape), ())


@user_errors()
def local(*extents: Ints) -> RegisterLayout:
    """All elements in one thread, numbered with the last dimension fastest."""
    shape = as_ints(extents)
    return RegisterLayout(shape, (), _row_major(shape))


@user_errors()
def column_spatial(*extents: Ints) -> RegisterLayout:
    """One element a thread; threads numbered with the first dimension fastest."""
    shape = as_ints(extents)
    return RegisterLayout(shape, _row_major(shape)[::-1], ())


@user_errors()
def column_local(*extents: Ints) -> RegisterLayout:
    """All elements in one thread, numbered with the first dimension fastest."""
    shape = as_ints(extents)
    return RegisterLayout(shape, (), _row_major(shape)[::-1])


@user_errors()
def replicate(copies: int) -> RegisterLayout:
    """The same element in `copies` threads. Of rank 0: composes with a layout of any rank."""
    if copies < 1:
        raise LayoutError(f"cannot replicate {copies} times")
    return RegisterLayout((), (Mode(REPLICATED, copies, 0),), ())


@user_errors()
def auto(num_threads: int, *shape: Ints) -> RegisterLayout:
    """Spread a tile over `num_threads` threads, neighbours along the last dimensions.

    Each dimension, from the last, takes as many threads as divide both it and the threads left;
    what remains of it is local (outermost), what remains of the threads replicates.
    """
    extents = as_ints(shape)
    remaining = num_threads
    threads = []
    for extent in reversed(extents):
        threads.append(gcd(remaining, extent))
        remaining //= threads[-1]
    tile = tuple(reversed(threads))
    locals_ = [extent // taken for extent, taken in zip(extents, tile, strict=True)]
    return replicate(remaining) * local(locals_) * spatial(tile)


def _row_major(shape: tuple[int, ...]) -> Modes:
    return tuple(Mode(dim, extent, 1) for dim, extent in enumerate(shape))
