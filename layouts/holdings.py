"""The other way round: what a thread's registers hold, and what lies in memory chunk by chunk."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .banks import NUM_BANKS, WORD_BYTES, ldmatrix_wavefronts, wavefronts
from .errors import LayoutError
from .memory_layout import MemoryLayout
from .register_layout import RegisterLayout
from .tracebacks import user_errors

WORD_BITS = 32
CHUNK_BYTES = 16
LINE_BYTES = NUM_BANKS * WORD_BYTES

Index = tuple[int, ...]


class Held(NamedTuple):
    """A register of a thread, and the indices of the elements in it, low bits first. An element
    that reaches into several registers stands in each."""

    register: int
    indices: tuple[Index, ...]


@user_errors()
def registers_of(layout: RegisterLayout, thread: int, element_bits: int) -> list[Held]:
    """The 32-bit registers of one thread, elements of `element_bits` bits packed least significant
    first.

    LayoutError if the layout has no such thread.
    """
    layout.spatial_part(thread)  # checks the thread
    held: dict[int, list[Index]] = {}
    for local in range(layout.num_locals):
        first, last = local * element_bits, (local + 1) * element_bits - 1
        for register in range(first // WORD_BITS, last // WORD_BITS + 1):
            held.setdefault(register, []).append(layout(thread, local))
    return [Held(register, tuple(indices)) for register, indices in sorted(held.items())]


class Line(NamedTuple):
    """128 bytes of memory, once through all banks: for each chunk of 16 bytes the index of the
    element that starts first in it, None where none does."""

    byte: int
    chunks: tuple[Index | None, ...]


@user_errors()
def lines_of(layout: MemoryLayout, element_bits: int) -> Iterator[Line]:
    """Memory in lines of all 32 banks, from the first byte to the last one used.

    LayoutError where elements don't start at bytes.
    """
    indices = np.indices(layout.shape).reshape(layout.rank, -1).T
    starts = layout.bit_offsets(indices, element_bits)
    order = np.argsort(starts, kind="stable")
    first: dict[int, Index] = {}
    for place in order:
        chunk = int(starts[place]) // (8 * CHUNK_BYTES)
        first.setdefault(chunk, tuple(int(i) for i in indices[place]))
    per_line = LINE_BYTES // CHUNK_BYTES
    for line in range(max(first, default=-1) // per_line + 1):
        chunks = range(line * per_line, (line + 1) * per_line)
        yield Line(line * LINE_BYTES, tuple(first.get(chunk) for chunk in chunks))


class Cost(NamedTuple):
    """An access of a warp: in words, the wavefronts it takes, and the fewest it could take."""

    access: str
    wavefronts: int
    least: int


@user_errors()
def access_costs(layout: MemoryLayout, element_bits: int) -> list[Cost]:
    """What some usual accesses of a warp cost, from index 0 on: up to 32 lanes side by side along
    each dimension, and an ldmatrix where the last two dimensions have room for one."""
    width = element_bits // 8
    if element_bits % 8 or width not in (1, 2, 4, 8, 16):
        return []
    costs: list[Cost] = []
    for dim, extent in enumerate(layout.shape):
        lanes = min(32, extent)
        if lanes < 2:
            continue
        index = np.zeros((lanes, layout.rank), np.int64)
        index[:, dim] = np.arange(lanes)
        least = -(-lanes // {8: 16, 16: 8}.get(width, 32))
        found = wavefronts(layout.byte_offsets(index, element_bits), width)
        costs.append(Cost(f"{lanes} lanes along dimension {dim}", found, least))
    if layout.rank >= 2 and layout.shape[-2] >= 8 and layout.shape[-1] * width >= 16:
        try:
            found = ldmatrix_wavefronts(layout, element_bits, (0,) * layout.rank)
            costs.append(Cost("ldmatrix of 8 rows of 16 bytes", found, 1))
        except LayoutError:
            pass  # rows that aren't aligned: there is no such ldmatrix
    return costs
