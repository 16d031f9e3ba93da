"""Shared-memory bank conflicts, counted from addresses.

Shared memory has 32 banks of 4-byte words; bank = byte address // 4 % 32. One wavefront serves
each bank once, any number of lanes that read one word among them. An access of

    1, 2 or 4 bytes a lane    is served for all 32 lanes together
    8 bytes                   in two passes of 16 lanes
    16 bytes                  in four passes of 8 lanes (an ldmatrix: one pass a matrix)

and a pass takes as many wavefronts as its busiest bank has different words.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .errors import LayoutError
from .memory_layout import MemoryLayout
from .register_layout import RegisterLayout
from .tracebacks import user_errors

NUM_BANKS = 32
WORD_BYTES = 4
WARP_THREADS = 32
ROW_BYTES = 16  # an ldmatrix row

_LANES_PER_PASS = {1: 32, 2: 32, 4: 32, 8: 16, 16: 8}


@user_errors()
def wavefronts(addresses: Sequence[int] | npt.NDArray[np.int64], width: int) -> int:
    """Wavefronts of one access: `addresses` in bytes, one for each lane that takes part, lanes
    of a pass next to each other; `width` bytes (1, 2, 4, 8, 16) each.

    LayoutError for other widths, more than 32 lanes or misaligned addresses.
    """
    lanes = _checked(addresses, width)
    per_pass = _LANES_PER_PASS[width]
    passes = [lanes[i : i + per_pass] for i in range(0, len(lanes), per_pass)]
    return sum(_busiest(group, width) for group in passes)


@user_errors()
def bank_conflicts(addresses: Sequence[int] | npt.NDArray[np.int64], width: int) -> int:
    """Wavefronts beyond those that an access of as many lanes must take."""
    lanes = _checked(addresses, width)
    return wavefronts(lanes, width) - -(-len(lanes) // _LANES_PER_PASS[width])


@user_errors()
def access_wavefronts(
    registers: RegisterLayout, memory: MemoryLayout, element_bits: int, vector: int = 1
) -> npt.NDArray[np.int64]:
    """Wavefronts of moving a whole tile between registers and shared memory, `vector` local
    elements an access: int64 [warps, accesses of a thread].

    LayoutError unless each access is 1, 2, 4, 8 or 16 consecutive, aligned bytes.
    """
    bits = memory.bit_offsets(registers.table(), element_bits)
    threads, locals_ = bits.shape
    if vector < 1 or locals_ % vector:
        raise LayoutError(f"vectors of {vector} do not divide the {locals_} locals: `{registers}`")
    width, odd = divmod(vector * element_bits, 8)
    if odd:
        raise LayoutError(f"vectors of {vector} elements of {element_bits} bits are no bytes")
    vectors = bits.reshape(threads, locals_ // vector, vector)
    first = vectors[..., :1]
    if np.any(vectors - first != np.arange(vector) * element_bits) or np.any(first & 7):
        raise LayoutError(f"vectors of {vector} are not consecutive in `{memory}`: `{registers}`")
    starts = first[..., 0] >> 3
    warps = [starts[i : i + WARP_THREADS] for i in range(0, threads, WARP_THREADS)]
    return np.array([[wavefronts(lanes, width) for lanes in warp.T] for warp in warps])


@user_errors()
def ldmatrix_wavefronts(
    memory: MemoryLayout, element_bits: int, index: Sequence[int], row_dim: int = -2
) -> int:
    """Wavefronts in which an ldmatrix or stmatrix serves the 8 rows of 16 bytes that start at
    `index` and follow along `row_dim`. One is the least."""
    rows = np.tile(np.array(index, dtype=np.int64), (8, 1))
    rows[:, row_dim] += np.arange(8)
    return wavefronts(memory.byte_offsets(rows, element_bits), ROW_BYTES)


def _checked(addresses: Sequence[int] | npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    lanes = np.asarray(addresses, dtype=np.int64)
    if width not in _LANES_PER_PASS:
        raise LayoutError(f"no access has {width} bytes a lane")
    if len(lanes) > WARP_THREADS:
        raise LayoutError(f"{len(lanes)} lanes in one access")
    if np.any(lanes % width):
        raise LayoutError(f"addresses are not aligned to {width} bytes")
    return lanes


def _busiest(lanes: npt.NDArray[np.int64], width: int) -> int:
    words_per_lane = max(1, width // WORD_BYTES)
    words = {int(word) + i for word in lanes // WORD_BYTES for i in range(words_per_lane)}
    return max(Counter(word % NUM_BANKS for word in words).values(), default=0)
