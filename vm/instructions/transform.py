"""Changing a register tile's type, shape or placement. Every result is a value of its own."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from tileloom.layouts import LayoutError, RegisterLayout

from ..decode import decode_form
from ..diagnostics import LayoutMismatchError, ShapeError
from ..dtypes import Dtype
from ..instruction import Instruction, Operand, instruction
from ..packing import CONTIGUOUS
from ..types import RegType, Type
from .checks import fail, no_annotation, reg, register_annotation


@instruction
class View(Instruction, name="view", needs_type=True):
    """The same bits in the same registers, read as another dtype, shape, layout and packing.

    Bit i of a thread's words means, before and after, what the two types' layouts and packings
    say. Both need the same number of threads and of bits a thread. No instruction is emitted.
    """

    value: Operand

    def result_type(self, annotation: Type | None) -> RegType:
        source, target = reg(self, self.value, "the value"), register_annotation(self, annotation)
        if target.layout is None:
            fail(self, "the result's layout is missing", hint="`view` can't infer a layout")
        if source.layout is not None:
            self._check_bits(source, source.layout, target, target.layout)
        return target

    def _check_bits(
        self, source: RegType, f: RegisterLayout, target: RegType, g: RegisterLayout
    ) -> None:
        bits = (source.dtype.bits * f.num_locals, target.dtype.bits * g.num_locals)
        if f.num_threads != g.num_threads or bits[0] != bits[1]:
            fail(
                self,
                f"{f.num_threads} threads of {bits[0]} bits can't be viewed as "
                f"{g.num_threads} threads of {bits[1]} bits",
                self.value,
                error=LayoutMismatchError,
                hint="threads and bits a thread must agree",
            )


@instruction
class Cast(Instruction, name="cast"):
    """Each element's value in another dtype: exact where it fits, else rounded to nearest even.

    Values beyond the largest finite one become it in integers and floats of at most 8 bits, and
    whatever the dtype if they come from one of at most 8 bits; others become infinite in f16, bf16,
    tf32 and f32. Infinities and NaNs stay what they are in floats that have them. Elsewhere
    infinities become the largest value of their sign, NaNs zero in integers, and the largest value
    in floats.
    """

    value: Operand
    dtype: Dtype

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        return no_annotation(self, annotation, RegType(self.dtype, source.shape, source.layout))


@instruction
class Decode(Instruction, name="decode"):
    """The fast sibling of `cast`: value * 2^f + c, with f and c by the element's place in its
    packing unit (`tileloom.vm.decode.decode_form`). The program applies f and c elsewhere.

    `form = subnormal` asks for the bf16 without a constant: subnormals, so that what they are
    multiplied by has to be scaled up (by 2^64) beforehand. `form = narrow`, of single bits to f16,
    has the same f at every fourth pair.

    Codes of infinities and NaNs decode to no value: the interpreter takes them for uninitialised.
    """

    value: Operand
    dtype: Dtype
    form: str = ""

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        decode_form(source.dtype, self.dtype, source.packing, self.form)
        return no_annotation(self, annotation, RegType(self.dtype, source.shape, source.layout))


@instruction
class Repack(Instruction, name="repack", needs_type=True):
    """The same elements in the same threads, laid out in the words by another packing."""

    value: Operand

    def result_type(self, annotation: Type | None) -> RegType:
        source, target = reg(self, self.value, "the value"), register_annotation(self, annotation)
        same = source.dtype == target.dtype and source.shape == target.shape
        if not same or (
            None not in (source.layout, target.layout) and source.layout != target.layout
        ):
            fail(self, "only the packing may change", self.value)
        return RegType(source.dtype, source.shape, target.layout or source.layout, target.packing)


@instruction
class ConvertLayout(Instruction, name="convert_layout", needs_type=True):
    """The same tile held by other threads and registers (through shuffles or shared memory)."""

    value: Operand

    def result_type(self, annotation: Type | None) -> RegType:
        source, target = reg(self, self.value, "the value"), register_annotation(self, annotation)
        if source.dtype != target.dtype or source.shape != target.shape:
            fail(self, "only the layout may change", self.value)
        return target


@instruction
class Broadcast(Instruction, name="broadcast"):
    """The tile repeated along its dimensions of extent 1 until it has `shape`."""

    value: Operand
    shape: tuple[int, ...]

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        pairs = zip(source.shape, self.shape, strict=False)
        if source.rank != len(self.shape) or any(a not in (1, b) for a, b in pairs):
            fail(
                self,
                f"{list(source.shape)} can't be broadcast to {list(self.shape)}",
                self.value,
                error=ShapeError,
                hint="only extents of 1 grow; add dimensions with `reshape`",
            )
        return no_annotation(self, annotation, RegType(source.dtype, self.shape))


@instruction
class Reshape(Instruction, name="reshape"):
    """The same elements in row-major order, under another shape. No data move."""

    value: Operand
    shape: tuple[int, ...]

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        if prod(source.shape) != prod(self.shape):
            fail(
                self,
                f"{list(source.shape)} has {prod(source.shape)} elements, "
                f"{list(self.shape)} {prod(self.shape)}",
                self.value,
                error=ShapeError,
            )
        layout = None
        if source.layout is not None:
            try:
                layout = source.layout.reshape(self.shape)
            except LayoutError as error:
                fail(self, str(error), self.value, error=LayoutMismatchError)
        type_ = RegType(source.dtype, self.shape, layout, source.packing)
        return no_annotation(self, annotation, type_)


@instruction
class Transpose(Instruction, name="transpose"):
    """The tile with its dimensions in another order: result dimension i is `order[i]`.

    The default reverses the last two. No data move.
    """

    value: Operand
    order: tuple[int, ...] | None = None

    def permutation(self, rank: int) -> tuple[int, ...]:
        """`order`, or the one that swaps the last two dimensions."""
        if self.order is not None:
            return self.order
        return (*range(rank - 2), rank - 1, rank - 2)

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        if source.rank < 2 and self.order is None:
            fail(self, "a tile of rank 1 has no two dimensions to swap", self.value)
        order = self.permutation(source.rank)
        if sorted(order) != list(range(source.rank)):
            fail(
                self,
                f"{list(order)} is no order of {source.rank} dimensions",
                self.value,
                error=ShapeError,
            )
        layout = source.layout.permute(order) if source.layout is not None else None
        shape = tuple(source.shape[d] for d in order)
        type_ = RegType(source.dtype, shape, layout, source.packing)
        return no_annotation(self, annotation, type_)


@instruction
class Slice(Instruction, name="slice"):
    """The box of `shape` at constant `offsets`. No data move where it falls on whole registers, as
    it must under a stated layout; an inferred one is converted first."""

    value: Operand
    offsets: tuple[int, ...]
    shape: tuple[int, ...]

    def result_type(self, annotation: Type | None) -> Type:
        source = reg(self, self.value, "the value")
        bounds = zip(self.offsets, self.shape, source.shape, strict=False)
        sizes = {len(self.offsets), len(self.shape), source.rank}
        if len(sizes) != 1 or any(o < 0 or s < 1 or o + s > e for o, s, e in bounds):
            fail(
                self,
                f"the box {list(self.shape)} at {list(self.offsets)} leaves {list(source.shape)}",
                self.value,
                error=ShapeError,
            )
        layout = self.kept(source)[0] if source.layout is not None else None
        return no_annotation(self, annotation, RegType(source.dtype, self.shape, layout))

    def kept(self, source: RegType) -> tuple[RegisterLayout, tuple[int, ...]]:
        """The box's layout, and the source's local index of each of its locals."""
        try:
            layout, kept = _box(source.placed, self.offsets, self.shape)
        except LayoutError as error:
            fail(
                self,
                str(error),
                self.value,
                error=LayoutMismatchError,
                hint="slice along a dimension whose outer part is local, or convert the layout",
            )
        if source.packing != CONTIGUOUS:
            fail(self, f"can't slice a tile in `{source.packing.name}` packing", self.value)
        return layout, kept


@lru_cache(maxsize=4096)
def _box(
    layout: RegisterLayout, offsets: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[RegisterLayout, tuple[int, ...]]:
    """Kept, since tracing, verifying, printing and lowering each ask for the same boxes."""
    kept = tuple(range(layout.num_locals))
    for dim, (start, size) in enumerate(zip(offsets, shape, strict=True)):
        layout, inner = layout.sub_layout(dim, start, size)
        kept = tuple(kept[i] for i in inner)
    return layout, kept


@instruction
class Concat(Instruction, name="concat", needs_type=True):
    """Two tiles joined along `dim`, under the layout of the annotation."""

    lhs: Operand
    rhs: Operand
    dim: int = 0

    def result_type(self, annotation: Type | None) -> RegType:
        a, b = reg(self, self.lhs, "lhs"), reg(self, self.rhs, "rhs")
        type_ = register_annotation(self, annotation)
        joined = list(a.shape)
        if a.rank != b.rank or a.dtype != b.dtype or not 0 <= self.dim < a.rank:
            fail(self, "tiles of one dtype and rank are joined", self.lhs, self.rhs)
        joined[self.dim] += b.shape[self.dim]
        others = [d for d in range(a.rank) if d != self.dim]
        if any(a.shape[d] != b.shape[d] for d in others) or tuple(joined) != type_.shape:
            fail(self, f"the join has shape {joined}", self.lhs, self.rhs, error=ShapeError)
        return type_
