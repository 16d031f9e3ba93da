"""Matrix products on tensor cores and on plain lanes."""

from __future__ import annotations

from ..diagnostics import ShapeError
from ..instruction import Instruction, Mutated, Operand, instruction
from ..types import Type
from .checks import cast_hint, fail, reg

# (operands, accumulator): the element types a tensor core multiplies
LEGAL = {
    ("f16", "f32"),
    ("f16", "f16"),
    ("bf16", "f32"),
    ("tf32", "f32"),
    ("i8", "i32"),
    ("u8", "i32"),
}


class Product(Instruction):
    """acc += a @ b over the last two dimensions; dimensions before them are a batch."""

    acc: Mutated
    a: Operand
    b: Operand

    def check_shapes(self) -> None:
        """acc [..., m, n], a [..., m, k], b [..., k, n]

        Raises:
            ShapeError: they don't fit.
        """
        acc, a, b = (reg(self, v, "an operand") for v in (self.acc, self.a, self.b))
        fits = len({acc.rank, a.rank, b.rank}) == 1 and acc.rank >= 2
        if not fits or (
            (*a.shape[:-1], b.shape[-1]) != acc.shape
            or (*a.shape[:-2], a.shape[-1], b.shape[-1]) != b.shape
        ):
            fail(
                self,
                f"acc {list(acc.shape)} += a {list(a.shape)} @ b {list(b.shape)} doesn't fit",
                self.acc,
                self.a,
                self.b,
                error=ShapeError,
                hint="acc is [m, n], a [m, k] and b [k, n]",
            )


@instruction
class Mma(Product, name="mma", result=False):
    """acc += a @ b on tensor cores.

    Products are exact, sums in the accumulator's type (integers wrap). The layouts must give each
    warp whole fragments; rows, columns and the k index may be permuted consistently.
    """

    acc: Mutated
    a: Operand
    b: Operand

    def result_type(self, annotation: Type | None) -> None:
        acc, a, b = (reg(self, v, "an operand") for v in (self.acc, self.a, self.b))
        if a.dtype != b.dtype:
            narrow = self.a if a.dtype.bits < b.dtype.bits else self.b
            wide = b if a.dtype.bits < b.dtype.bits else a
            fail(
                self,
                f"a is `{a.dtype.name}` but b is `{b.dtype.name}`",
                narrow,
                hint=f"cast the narrower one: {cast_hint(narrow, wide.dtype)}",
            )
        if (a.dtype.name, acc.dtype.name) not in LEGAL:
            fail(
                self,
                f"no tensor core multiplies `{a.dtype.name}` into `{acc.dtype.name}`",
                self.a,
                self.acc,
                hint="legal: " + ", ".join(f"{x} into {y}" for x, y in sorted(LEGAL)),
            )
        self.check_shapes()


@instruction
class SimtDot(Product, name="simt_dot", result=False):
    """acc += a @ b with fused multiply-adds, k ascending; any float or integer dtypes alike."""

    acc: Mutated
    a: Operand
    b: Operand

    def result_type(self, annotation: Type | None) -> None:
        acc, a, b = (reg(self, v, "an operand") for v in (self.acc, self.a, self.b))
        if not acc.dtype == a.dtype == b.dtype:
            fail(self, "acc, a and b need one dtype", self.acc, self.a, self.b)
        self.check_shapes()
