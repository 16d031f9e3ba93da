"""prmt: the bytes of two words in another order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .opcode import Custom, Form, Mods, OpcodeError, Pure, opcode
from .step import Flow
from .syntax import Int
from .types import B32, Array

if TYPE_CHECKING:
    from .linker import Linker
    from .step import Step
    from .syntax import Instruction

_SELECTORS: dict[str, list[list[int]]] = {
    "f4e": [[n + i for i in range(4)] for n in range(4)],
    "b4e": [[(n - i) & 7 for i in range(4)] for n in range(4)],
    "rc8": [[n] * 4 for n in range(4)],
    "ecl": [[max(i, n) for i in range(4)] for n in range(4)],
    "ecr": [[min(i, n) for i in range(4)] for n in range(4)],
    "rc16": [[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]],
}


@opcode("prmt")
def prmt(mods: Mods) -> Form:
    mods.type("b32")
    for mode in _SELECTORS:
        if mods.flag(mode):
            return Pure((B32,), (B32, B32, B32), _moded_permute(mode), Flow(2))
    return Custom(_build_prmt)


def _build_prmt(instruction: Instruction, linker: Linker) -> Step:
    if len(instruction.operands) != 4:
        raise OpcodeError("`prmt.b32` takes 4 operands")
    out, a, b, selector = instruction.operands
    dest = (linker.dest(out, B32),)
    first, second = linker.source(a, B32), linker.source(b, B32)
    if isinstance(selector, Int):
        fixed = _fixed_permute(selector.value)
        return linker.pure_step(fixed, dest, (first, second), Flow(2))
    slots = (first, second, linker.source(selector, B32))
    return linker.pure_step(permute, dest, slots, Flow(2))


def _octets(a: Array, b: Array) -> Array:
    """Bytes 0-3 of a and 4-7 of b along a new last axis."""
    a, b = np.broadcast_arrays(a, b)
    both = np.stack((a, b), -1)
    return both.view(np.uint8)


def _fixed_permute(selector: int) -> Callable[[Array, Array], Array]:
    """Bytes that move by the same distance move together; those that copy a sign move alone."""
    together: dict[tuple[bool, int], int] = {}  # of b or a, by how many bits up -> which bits
    signs: list[tuple[bool, int, int]] = []
    for place in range(4):
        nibble = selector >> (4 * place) & 15
        of_second, byte = nibble & 4 > 0, nibble & 3
        if nibble & 8:
            signs.append((of_second, 8 * byte + 7, 8 * place))
        else:
            key = of_second, 8 * (place - byte)
            together[key] = together.get(key, 0) | 255 << 8 * byte
    moves = [(*key, np.uint32(mask)) for key, mask in together.items()]

    def run(a: Array, b: Array) -> Array:
        result: Array | None = None
        for of_second, distance, mask in moves:
            part = (b if of_second else a) & mask
            part = _moved(part, distance)
            result = part if result is None else result | part
        for of_second, bit, place in signs:
            part = ((b if of_second else a) >> np.uint32(bit) & np.uint32(1)) * np.uint32(255)
            part = _moved(part, place)
            result = part if result is None else result | part
        assert result is not None
        if a.shape != b.shape and result.shape != (shape := np.broadcast_shapes(a.shape, b.shape)):
            result = np.broadcast_to(result, shape).copy()
        return result

    return run


def _moved(a: Array, distance: int) -> Array:
    """Bits moved up, or down by a negative distance."""
    if not distance:
        return a
    return a << np.uint32(distance) if distance > 0 else a >> np.uint32(-distance)


def permute(a: Array, b: Array, selector: Array) -> Array:
    """prmt in its default mode: nibble i of the selector picks result byte i, bit 3 its sign."""
    shifts = np.arange(0, 16, 4, dtype=np.uint32)
    nibbles = (selector[..., None] >> shifts) & np.uint32(15)
    octets = _octets(a, b)
    octets, nibbles = np.broadcast_arrays(octets[..., None, :], nibbles[..., None])
    chosen = np.take_along_axis(octets, (nibbles[..., :1] & 7).astype(np.int64), -1)[..., 0]
    signs = np.where(chosen & 128, np.uint8(255), np.uint8(0))
    chosen = np.where(nibbles[..., 0] & 8, signs, chosen).astype(np.uint8)
    return np.ascontiguousarray(chosen).view(np.uint32)[..., 0]


def _moded_permute(mode: str) -> Callable[[Array, Array, Array], Array]:
    table = np.array(_SELECTORS[mode], np.int64)

    def run(a: Array, b: Array, selector: Array) -> Array:
        octets = _octets(a, b)
        places = table[(selector & np.uint32(3)).astype(np.int64)]
        places = np.broadcast_to(places, (*octets.shape[:-1], 4))
        chosen = np.take_along_axis(octets, places, -1)
        return np.ascontiguousarray(chosen).view(np.uint32)[..., 0]

    return run
