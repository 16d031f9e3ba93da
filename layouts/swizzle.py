"""Xor swizzles of byte addresses.

A swizzle spreads rows that start at one bank over all banks: it xors some low address bits with
higher ones. With Swizzle(bits=3, base=4, shift=3), the 128-byte pattern of TMA and wgmma:

    address bits   ... | 9 8 7 | 6 5 4 | 3 2 1 0
                         row     chunk   byte in a 16-byte chunk, never touched
                           \\____^        chunk ^= row

so that 16-byte chunk c of 128-byte row r lies where chunk c ^ (r % 8) would.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .errors import LayoutError

Address = TypeVar("Address", int, npt.NDArray[np.int64])


@dataclass(frozen=True)
class Swizzle:
    """Xor `bits` bits at `base` of a byte address with those `shift` places above.

    The address counts from the allocation, which must be aligned to `period` bytes for
    instructions that apply the same swizzle to absolute addresses. `base` is at least 4: chunks
    of 16 bytes stay whole. Raises LayoutError for other values.
    """

    bits: int
    base: int
    shift: int

    def __post_init__(self) -> None:
        if self.bits < 1 or self.base < 4 or self.shift < self.bits:
            raise LayoutError(
                f"no swizzle of {self.bits} bits at {self.base} from {self.shift} above: "
                "needs bits >= 1, base >= 4, shift >= bits"
            )

    @property
    def period(self) -> int:
        """Bytes after which the pattern repeats; the alignment it needs."""
        return 1 << (self.base + self.shift + self.bits)

    @property
    def block(self) -> int:
        """Bytes of the aligned blocks inside which addresses move."""
        return 1 << (self.base + self.bits)

    def __call__(self, address: Address) -> Address:
        """The address in bytes where `address` goes. Its own inverse."""
        mask = ((1 << self.bits) - 1) << self.base
        return address ^ ((address >> self.shift) & mask)

    def __str__(self) -> str:
        return f"swizzle({self.bits}, {self.base}, {self.shift})"
