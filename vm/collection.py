"""Reading and compiling make many objects and hardly any garbage in cycles: collecting it again and
again meanwhile takes as long as the work, and makes its time grow faster than the program."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """No cyclic garbage is collected inside, unless another thread wants it to be."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
