"""Bank conflicts of the accesses to shared memory in a kernel's PTX."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tileloom.layouts import LayoutError, wavefronts
from tileloom.layouts.banks import NUM_BANKS, WORD_BYTES

from ..emulator.errors import EmulatorError
from ..emulator.parser import parse
from ..emulator.syntax import Instruction, Int, SourceMap
from ..emulator.types import Array
from .lanes import WARP, Lanes

_TYPE = re.compile(r"\.[busf](8|16|32|64|128)\b")
_VECTOR = re.compile(r"\.v(\d)\b")
_MATRICES = re.compile(r"\.x([124])\b")
_ROW_BYTES = 16
_LANES_A_PASS = {1: 32, 2: 32, 4: 32, 8: 16, 16: 8}


@dataclass(frozen=True)
class SharedAccess:
    """One instruction that accesses shared memory, as a whole block executes it once.

    `line` is the PTX's, `comment` the VM instruction above it, `width` the bytes of a lane.
    `wavefronts` and `least` are sums over the warps: what the access takes, and what it would take
    without conflicts; None where the addresses aren't known. `banks` counts for each bank the
    words it serves in the slowest pass of a warp.
    """

    line: int
    opcode: str
    comment: str
    width: int
    wavefronts: int | None
    least: int | None
    banks: tuple[int, ...] = ()

    @property
    def is_conflicting(self) -> bool:
        """Whether banks are waited for."""
        return self.wavefronts is not None and self.wavefronts != self.least

    @property
    def factor(self) -> float:
        """How many times longer it takes than it must."""
        return self.wavefronts / self.least if self.wavefronts and self.least else 1.0


def shared_accesses(ptx: str, kernel: str, num_threads: int) -> list[SharedAccess]:
    """Every access to shared memory in a kernel, in the order of the text; none where the text
    can't be read."""
    try:
        module = parse(ptx)
    except EmulatorError:
        return []
    body = module.functions.get(kernel)
    if body is None:
        return []
    lanes = Lanes(body, module, num_threads)
    return [
        found
        for instruction, on in lanes
        for found in _access(instruction, on, lanes, module.source)
    ]


def _access(
    instruction: Instruction, on: Array, lanes: Lanes, source: SourceMap
) -> Iterator[SharedAccess]:
    kind = _kind(instruction)
    if kind is None or not on.any():
        return
    operand, width, used = kind
    on = on & (np.arange(WARP) < used)
    addresses = lanes.address(instruction.operands[operand])
    counted = None if addresses is None else _count(addresses, on, width)
    total, least, banks = counted or (None, None, ())
    comment = source.comment(instruction.line)
    yield SharedAccess(instruction.line, instruction.opcode, comment, width, total, least, banks)


def _kind(instruction: Instruction) -> tuple[int, int, int] | None:
    """Which operand is the address, the bytes of a lane, and how many lanes give addresses; None
    for what isn't an access of this block's shared memory."""
    opcode, operands = instruction.opcode, instruction.operands
    base = opcode.partition(".")[0]
    if base in ("ldmatrix", "stmatrix"):
        matrices = _MATRICES.search(opcode)
        count = int(matrices[1]) if matrices else 1
        return (1 if base == "ldmatrix" else 0), _ROW_BYTES, 8 * count
    if ".shared" not in opcode or ".shared::cluster" in opcode or ".bulk" in opcode:
        return None
    if base == "cp" and opcode.startswith("cp.async.c"):
        size = operands[2] if len(operands) > 2 else None
        return (0, size.value, WARP) if isinstance(size, Int) else None
    type_ = _TYPE.search(opcode)
    if base not in ("ld", "st", "atom", "red") or type_ is None:
        return None
    vector = _VECTOR.search(opcode)
    width = int(type_[1]) // 8 * (int(vector[1]) if vector else 1)
    return (1 if base in ("ld", "atom") else 0), width, WARP


def _count(addresses: Array, on: Array, width: int) -> tuple[int, int, tuple[int, ...]] | None:
    """(wavefronts, least, banks) of all warps, or None for accesses that the machine hasn't."""
    if width not in _LANES_A_PASS:
        return None
    size = _LANES_A_PASS[width]
    total = least = slowest = 0
    banks: tuple[int, ...] = ()
    for lanes, mask in zip(addresses.reshape(-1, size), on.reshape(-1, size), strict=True):
        if not mask.any():
            continue
        try:
            taken = wavefronts(lanes[mask], width)
        except LayoutError:  # misaligned: it will fail, whatever it takes
            return None
        total, least = total + taken, least + 1
        if taken > slowest:
            slowest, banks = taken, _words_by_bank(lanes[mask], width)
    return total, least, banks


def _words_by_bank(addresses: Array, width: int) -> tuple[int, ...]:
    words = {int(a) // WORD_BYTES + i for a in addresses for i in range(max(1, width // 4))}
    counts = Counter(word % NUM_BANKS for word in words)
    return tuple(counts[bank] for bank in range(NUM_BANKS))
