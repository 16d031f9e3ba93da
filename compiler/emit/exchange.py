"""Elements that travel between threads: by lane exchange within a warp, or through shared memory.

Elements are in the form that arithmetic works on (`elements`): 32-bit registers, 64-bit ones, or
predicates.
"""

from __future__ import annotations

from dataclasses import dataclass

from tileloom.vm.dtypes import Dtype

from ..ptx import Address, Operand, Register, RegisterKind, Vector
from .context import Context

PRED, B32, B64 = RegisterKind.PRED, RegisterKind.B32, RegisterKind.B64
_ALL_LANES = 0xFFFFFFFF


@dataclass(frozen=True)
class Carrier:
    """How elements of one dtype travel."""

    context: Context
    dtype: Dtype

    @property
    def size(self) -> int:
        """Bytes an element takes in shared memory."""
        return element_bytes(self.dtype)

    @property
    def _wide(self) -> bool:
        return self.dtype.bits == 64

    @property
    def _boolean(self) -> bool:
        return self.dtype.kind == "bool"

    def shuffle(self, mode: str, value: Register, lane: Operand, clamp: int = 31) -> Register:
        """`shfl.sync` of all lanes; `mode` is up, down, bfly or idx."""
        builder = self.context.builder
        if self._boolean:
            word = builder.compute("selp.b32", B32, 1, 0, value)
            moved = shuffle_word(self.context, mode, word, lane, clamp)
            return builder.compute("setp.ne.s32", PRED, moved, 0)
        if self._wide:
            low, high = builder.once(B32), builder.once(B32)
            builder.emit("mov.b64", (Vector((low, high)),), (value,))
            halves = [shuffle_word(self.context, mode, h, lane, clamp) for h in (low, high)]
            return builder.compute("mov.b64", B64, Vector(tuple(halves)))
        return shuffle_word(self.context, mode, value, lane, clamp)

    def put(self, address: Address, value: Register, predicate: Register | None) -> None:
        """Stores an element in shared memory."""
        builder = self.context.builder
        if self._boolean:
            value = builder.compute("selp.b32", B32, 1, 0, value)
        builder.emit(f"st.shared.{self._suffix}", (), (address, value), predicate)

    def get(self, address: Address, predicate: Register | None) -> Register:
        """Loads an element from shared memory; its bits are 0 where the predicate is false."""
        builder = self.context.builder
        word = builder.once(B64 if self._wide else B32)
        if predicate is not None:
            builder.emit(f"mov.{self._suffix}", (word,), (0,))
        builder.emit(f"ld.shared.{self._suffix}", (word,), (address,), predicate)
        return builder.compute("setp.ne.s32", PRED, word, 0) if self._boolean else word

    @property
    def _suffix(self) -> str:
        return "b64" if self._wide else "b32"


def element_bytes(dtype: Dtype) -> int:
    """Bytes that an element in arithmetic's form takes in shared memory."""
    return 8 if dtype.bits == 64 else 4


def shuffle_word(
    context: Context, mode: str, word: Register, lane: Operand, clamp: int = 31
) -> Register:
    """`shfl.sync` of one 32-bit register, all lanes taking part."""
    opcode = f"shfl.sync.{mode}.b32"
    return context.builder.compute(opcode, B32, word, lane, clamp, _ALL_LANES)


def within_warp(step: int, extent: int) -> bool:
    """Whether a digit of the thread number is a group of bits of the lane number."""
    powers = step & (step - 1) == 0 and extent & (extent - 1) == 0
    return powers and step * extent <= 32


def warp_pieces(step: int, extent: int) -> list[tuple[int, int]]:
    """A digit as (step, extent) parts, innermost first: what lies in a warp apart from the rest."""
    powers = step & (step - 1) == 0 and extent & (extent - 1) == 0
    if powers and step < 32 < step * extent:
        return [(step, 32 // step), (32, step * extent // 32)]
    return [(step, extent)]
