"""Matrix products of warp groups: asynchronous, with operands in shared memory.

A warp group is four warps in a row, the first with a number that four divides. A product starts
with `wgmma`, joins a group with `wgmma_commit`, and is done once a `wgmma_wait` covers its group.
Until then its accumulator may be used by further products only, a register operand may not be
changed, and nothing may write to the shared operands.
"""

from __future__ import annotations

from dataclasses import field

from tileloom.layouts import fragments

from ..diagnostics import ShapeError
from ..instruction import Effect, Indices, Instruction, Mutated, Operand, instruction
from ..ir import Value
from ..types import RegType, SharedType, Type
from .checks import cast_hint, count_indices, describe, expect_scalar, fail, reg

_FP8, _BYTES = ("e4m3", "e5m2"), ("i8", "u8")
# (a, b, accumulator): the element types a warp group multiplies
LEGAL = {
    ("f16", "f16", "f32"), ("f16", "f16", "f16"), ("bf16", "bf16", "f32"), ("tf32", "tf32", "f32"),
    *((a, b, acc) for a in _FP8 for b in _FP8 for acc in ("f32", "f16")),
    *((a, b, "i32") for a in _BYTES for b in _BYTES),
}  # fmt: skip


@instruction
class Wgmma(Instruction, name="wgmma", effect=Effect.READS_MEMORY, result=False):
    """Starts acc += a @ b on the tensor cores of warp groups; without `accumulate`, acc = a @ b.

    acc is a tile [m, n]. b lies in shared memory, [..., k, n] from its index list on; a [m, k] in
    registers, or in shared memory from its index list on. `depth` is the extent of k where a lies
    in shared memory (default: that of its last dimension). m must be a multiple of 64, n of 8, k of
    32 bytes. Products are exact, sums in the accumulator's type or less (8-bit floats); integers
    wrap.

    Shared operands are read by the asynchronous proxy: stores to them need `fence_proxy_async`.
    Their layouts must be ones that a matrix descriptor can say (`matrix_operand`): along k first,
    or with 16-bit elements along the other dimension.
    """

    acc: Mutated
    a: Operand
    a_offsets: Indices = field(default=(), kw_only=True)
    b: Operand
    b_offsets: Indices
    accumulate: Operand | None = None
    depth: int | None = None

    @property
    def k(self) -> int:
        """The extent of k."""
        assert isinstance(self.a, Value) and isinstance(self.a.type, RegType | SharedType)
        return self.depth or self.a.type.shape[-1]

    def result_type(self, annotation: Type | None) -> None:
        acc = reg(self, self.acc, "the accumulator")
        a, b = self._left(), self._shared(self.b, self.b_offsets)
        if (a.dtype.name, b.dtype.name, acc.dtype.name) not in LEGAL:
            self._fail_dtypes(acc, a, b)
        self._check_shapes(acc, a, b)
        if self.accumulate is not None:
            if isinstance(self.accumulate, Value):
                fail(self, "`accumulate` must be a condition", self.accumulate)
            expect_scalar(self, self.accumulate, "bool", "`accumulate`")

    def _left(self) -> RegType | SharedType:
        if isinstance(self.a, Value) and isinstance(self.a.type, RegType):
            if self.a_offsets or self.depth is not None:
                fail(self, "a register operand has no index list and no `depth`", self.a)
            return self.a.type
        return self._shared(self.a, self.a_offsets)

    def _shared(self, operand: Operand, offsets: Indices) -> SharedType:
        if not isinstance(operand, Value) or not isinstance(operand.type, SharedType):
            fail(
                self,
                f"{describe(operand)} must be a shared tile",
                operand,
                hint="store it to a tile made with `alloc_shared` first",
            )
        count_indices(self, offsets, operand.type.rank)
        return operand.type

    def _fail_dtypes(self, acc: RegType, a: RegType | SharedType, b: SharedType) -> None:
        hint = (
            "legal: f16, bf16, tf32, e4m3, e5m2 into f32; f16, e4m3, e5m2 into f16; i8, u8 into i32"
        )
        if isinstance(a, RegType) and a.dtype != b.dtype:
            hint = f"cast a: {cast_hint(self.a, b.dtype)}"
        fail(
            self,
            f"no tensor core multiplies `{a.dtype.name}` by `{b.dtype.name}` into "
            f"`{acc.dtype.name}`",
            self.acc,
            self.a,
            self.b,
            hint=hint,
        )

    def _check_shapes(self, acc: RegType, a: RegType | SharedType, b: SharedType) -> None:
        step = fragments.wgmma_depth(a.dtype.name)
        if acc.rank != 2 or a.rank < 2 or b.rank < 2 or (isinstance(a, RegType) and a.rank != 2):
            fail(self, "acc is [m, n], a [m, k], b [k, n]", self.acc, self.a, self.b)
        (m, n), k = acc.shape, self.k
        left = list(a.shape) if isinstance(a, RegType) else [m, k]
        rows_fit = m == a.shape[-2] if isinstance(a, RegType) else m <= a.shape[-2]
        if not rows_fit or k > a.shape[-1] or k > b.shape[-2] or n > b.shape[-1]:
            fail(
                self,
                f"acc {[m, n]} += a {left} @ b {[k, n]} doesn't fit",
                self.acc,
                self.a,
                self.b,
                error=ShapeError,
                hint="acc is [m, n], a [m, k] and b [k, n]; `depth` is k",
            )
        if m % 64 or n % 8 or k < 1 or k % step:
            fail(
                self,
                f"m, n, k are {m}, {n}, {k}",
                self.acc,
                self.a,
                self.b,
                error=ShapeError,
                hint=f"m is a multiple of 64, n of 8, k of {step} for `{a.dtype.name}`",
            )


@instruction
class WgmmaCommit(Instruction, name="wgmma_commit", effect=Effect.SYNCHRONIZES, result=False):
    """Closes the group of products started since the last commit."""

    def result_type(self, annotation: Type | None) -> None:
        return None


@instruction
class WgmmaWait(Instruction, name="wgmma_wait", effect=Effect.SYNCHRONIZES, result=False):
    """Waits until at most `pending` of the newest groups of products are in flight.

    Each warp group waits for its own: others know by a barrier that operands may be overwritten.
    """

    pending: int = 0

    def result_type(self, annotation: Type | None) -> None:
        if not 0 <= self.pending < 8:
            fail(self, f"`pending` is {self.pending}", hint="0 to 7")
