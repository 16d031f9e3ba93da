"""The VM's instructions as Python functions of a traced kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from inspect import isfunction

from tileloom.layouts import MemoryLayout, RegisterLayout

from ..diagnostics import user_errors
from ..dtypes import Dtype
from ..expr import Ref, Special, ceil_div, maximum, minimum
from ..instructions import (
    atomics,
    create,
    debug,
    matmul,
    memory,
    reduction,
    scalars,
    transform,
)
from ..packing import CONTIGUOUS, Packing
from ..types import GlobalType, RegType, ScalarType, SharedType, row_major_strides
from .arguments import (
    as_axis,
    as_dims,
    as_dtype,
    as_layout,
    as_memory,
    as_memory_layout,
    as_number,
    as_offsets,
    as_pointer,
    as_shape,
    as_tile,
)
from .trace import emit
from .values import MemoryTile, Pointer, Scalar, ScalarLike, Tile, as_expr, operand, tile

Shape = Sequence[int]


def _reg(dtype: Dtype, shape: Shape, layout: RegisterLayout | None) -> RegType:
    return RegType(as_dtype(dtype), as_shape(shape), as_layout(layout))


def block_index(axis: int = 0) -> Scalar:
    """The block's place in the grid along an axis."""
    return Scalar(Special(f"block.{as_axis(axis)}"))


def grid_size(axis: int = 0) -> Scalar:
    """The number of blocks along an axis."""
    return Scalar(Special(f"grid.{as_axis(axis)}"))


def cdiv(a: ScalarLike, b: ScalarLike) -> Scalar:
    """a / b rounded up."""
    return Scalar(ceil_div(as_expr(a), as_expr(b)))


def smaller(a: ScalarLike, b: ScalarLike) -> Scalar:
    """The smaller of two scalars (`minimum` is for tiles)."""
    return Scalar(minimum(as_expr(a), as_expr(b)))


def larger(a: ScalarLike, b: ScalarLike) -> Scalar:
    """The larger of two scalars (`maximum` is for tiles)."""
    return Scalar(maximum(as_expr(a), as_expr(b)))


def global_view(
    pointer: Pointer,
    shape: Sequence[ScalarLike],
    strides: Sequence[ScalarLike] | None = None,
    dtype: Dtype | None = None,
    alignment: int = 16,
) -> MemoryTile:
    """A tensor of global memory at a pointer; strides in elements (default: row-major).

    `alignment` promises that the pointer is a multiple of so many bytes.
    """
    extents = as_offsets(shape)
    steps = row_major_strides(extents) if strides is None else as_offsets(strides)
    element = as_pointer(pointer).dtype if dtype is None else as_dtype(dtype)
    type_ = GlobalType(element, extents, steps)
    value = emit(memory.GlobalView, type_, pointer=operand(pointer), alignment=alignment)
    assert value is not None
    return MemoryTile(value)


def alloc_shared(dtype: Dtype, shape: Shape, layout: MemoryLayout | None = None) -> MemoryTile:
    """A tile in shared memory (default layout: row-major)."""
    type_ = SharedType(as_dtype(dtype), as_shape(shape), as_memory_layout(layout))
    value = emit(memory.AllocShared, type_)
    assert value is not None
    return MemoryTile(value)


def free_shared(target: MemoryTile) -> None:
    """Ends a shared tile's life."""
    emit(memory.FreeShared, tile=operand(target))


def load(
    source: MemoryTile,
    offsets: Sequence[ScalarLike],
    shape: Shape,
    layout: RegisterLayout | None = None,
    *,
    dims: Shape | None = None,
    in_bounds: bool = False,
    cache: str = "",
    alignment: int = 0,
) -> Tile:
    """A register tile read from memory; elements outside the extents are zero."""
    annotation = RegType(as_memory(source).dtype, as_shape(shape), as_layout(layout))
    return tile(
        emit(
            memory.Load,
            annotation,
            source=operand(source),
            offsets=as_offsets(offsets),
            dims=as_dims(dims),
            in_bounds=in_bounds,
            cache=cache,
            alignment=alignment,
        )
    )


def store(
    target: MemoryTile,
    offsets: Sequence[ScalarLike],
    value: Tile,
    *,
    dims: Shape | None = None,
    in_bounds: bool = False,
    alignment: int = 0,
) -> None:
    """Writes a register tile to memory; elements outside the extents are dropped."""
    emit(
        memory.Store,
        target=operand(target),
        offsets=as_offsets(offsets),
        value=operand(value),
        dims=as_dims(dims),
        in_bounds=in_bounds,
        alignment=alignment,
    )


def copy_async(
    target: MemoryTile,
    target_offsets: Sequence[ScalarLike],
    source: MemoryTile,
    source_offsets: Sequence[ScalarLike],
    shape: Shape,
    *,
    dims: Shape | None = None,
    layout: RegisterLayout | None = None,
    cache: str = "",
) -> None:
    """Starts copying a tile from global to shared memory; `layout` says which thread copies what,
    so that a thread may rely on its own copies, and a warp on its own after a `warp_barrier`."""
    emit(
        memory.CopyAsync,
        target=operand(target),
        target_offsets=as_offsets(target_offsets),
        source=operand(source),
        source_offsets=as_offsets(source_offsets),
        shape=as_shape(shape),
        dims=as_dims(dims),
        layout=as_layout(layout),
        cache=cache,
    )


def copy_async_commit() -> None:
    """Closes the group of copies started since the last commit."""
    emit(memory.CopyAsyncCommit)


def copy_async_wait(pending: int = 0) -> None:
    """Waits until at most `pending` copy groups are in flight."""
    emit(memory.CopyAsyncWait, pending=pending)


def empty(dtype: Dtype, shape: Shape, layout: RegisterLayout | None = None) -> Tile:
    """A register tile without values."""
    return tile(emit(create.AllocRegisters, _reg(dtype, shape, layout)))


def full(
    dtype: Dtype, shape: Shape, fill: float = 0.0, layout: RegisterLayout | None = None
) -> Tile:
    """A register tile with every element `fill`."""
    return tile(emit(create.Full, _reg(dtype, shape, layout), fill=as_number(fill)))


def arange(
    dtype: Dtype,
    shape: Shape,
    dim: int = 0,
    *,
    start: int = 0,
    step: int = 1,
    layout: RegisterLayout | None = None,
) -> Tile:
    """A tile whose element is start + step * (its index along dim)."""
    annotation = _reg(dtype, shape, layout)
    return tile(emit(create.Arange, annotation, dim=dim, start=start, step=step))


def view(
    value: Tile,
    dtype: Dtype,
    shape: Shape,
    layout: RegisterLayout,
    packing: Packing = CONTIGUOUS,
) -> Tile:
    """The same bits in the same registers, read as another dtype, shape, layout and packing."""
    annotation = replace(_reg(dtype, shape, layout), packing=packing)
    return tile(emit(transform.View, annotation, value=operand(value)))


def cast(value: Tile, dtype: Dtype) -> Tile:
    """The values in another dtype."""
    return tile(emit(transform.Cast, value=operand(value), dtype=as_dtype(dtype)))


def decode(value: Tile, dtype: Dtype, form: str = "") -> Tile:
    """value * 2^f + c, with f and c from `tileloom.vm.decode.decode_form`."""
    return tile(emit(transform.Decode, value=operand(value), dtype=as_dtype(dtype), form=form))


def repack(value: Tile, packing: Packing) -> Tile:
    """The same elements laid out in each thread's words by another packing."""
    type_ = as_tile(value).type
    annotation = RegType(type_.dtype, type_.shape, type_.layout, packing)
    return tile(emit(transform.Repack, annotation, value=operand(value)))


def convert_layout(value: Tile, layout: RegisterLayout) -> Tile:
    """The same tile under another register layout."""
    source = as_tile(value)
    annotation = RegType(source.dtype, source.shape, as_layout(layout))
    return tile(emit(transform.ConvertLayout, annotation, value=operand(value)))


def broadcast(value: Tile, shape: Shape) -> Tile:
    """The tile repeated along its dimensions of extent 1."""
    return tile(emit(transform.Broadcast, value=operand(value), shape=as_shape(shape)))


def reshape(value: Tile, shape: Shape) -> Tile:
    """The same elements in row-major order under another shape."""
    return tile(emit(transform.Reshape, value=operand(value), shape=as_shape(shape)))


def transpose(value: Tile, order: Shape | None = None) -> Tile:
    """The dimensions in another order (default: the last two swapped)."""
    steps = as_dims(order, "`order`")
    return tile(emit(transform.Transpose, value=operand(value), order=steps))


def concat(a: Tile, b: Tile, dim: int, layout: RegisterLayout | None = None) -> Tile:
    """Two tiles joined along a dimension."""
    first, second = as_tile(a), as_tile(b)
    shape = list(first.shape)
    if 0 <= dim < min(len(shape), len(second.shape)):
        shape[dim] += second.shape[dim]
    annotation = RegType(first.dtype, tuple(shape), as_layout(layout))
    return tile(emit(transform.Concat, annotation, lhs=operand(a), rhs=operand(b), dim=dim))


def mma(acc: Tile, a: Tile, b: Tile) -> None:
    """acc += a @ b on tensor cores."""
    emit(matmul.Mma, acc=operand(acc), a=operand(a), b=operand(b))


def simt_dot(acc: Tile, a: Tile, b: Tile) -> None:
    """acc += a @ b with fused multiply-adds."""
    emit(matmul.SimtDot, acc=operand(acc), a=operand(a), b=operand(b))


def reduce(value: Tile, op: str, dim: int) -> Tile:
    """The tile combined along a dimension, which keeps extent 1."""
    return tile(emit(reduction.Reduce, value=operand(value), op=op, dim=dim))


def atomic(
    target: MemoryTile,
    offsets: Sequence[ScalarLike],
    value: Tile,
    op: str = "add",
    *,
    compare: Tile | None = None,
    dims: Shape | None = None,
) -> Tile:
    """Combines a tile into memory, element by element; gives the old values."""
    return tile(
        emit(
            atomics.Atomic,
            target=operand(target),
            offsets=as_offsets(offsets),
            value=operand(value),
            compare=None if compare is None else operand(compare),
            op=op,
            dims=as_dims(dims),
        )
    )


def atomic_scalar(
    target: MemoryTile,
    offsets: Sequence[ScalarLike],
    value: ScalarLike,
    op: str = "add",
    *,
    compare: ScalarLike | None = None,
) -> Scalar:
    """One atomic update by the whole block; gives the old value."""
    result = emit(
        atomics.AtomicScalar,
        target=operand(target),
        offsets=as_offsets(offsets),
        value=as_expr(value),
        compare=None if compare is None else as_expr(compare),
        op=op,
    )
    assert result is not None
    return Scalar(Ref(result))


def var(value: ScalarLike, dtype: Dtype) -> Scalar:
    """A mutable scalar; write to it with `.set`."""
    result = emit(scalars.Var, ScalarType(as_dtype(dtype)), value=as_expr(value))
    assert result is not None
    return Scalar(Ref(result))


def load_scalar(source: MemoryTile, offsets: Sequence[ScalarLike]) -> Scalar:
    """One element of memory as a uniform scalar."""
    result = emit(scalars.LoadScalar, source=operand(source), offsets=as_offsets(offsets))
    assert result is not None
    return Scalar(Ref(result))


def item(value: Tile) -> Scalar:
    """The single element of a tile as a uniform scalar."""
    result = emit(scalars.Item, value=operand(value))
    assert result is not None
    return Scalar(Ref(result))


def print_(value: Tile | Scalar, label: str = "") -> None:
    """Prints a scalar or a tile, once a block."""
    emit(debug.Print, value=operand(value), label=label)


def assert_(condition: ScalarLike, message: str = "") -> None:
    """Stops the program where the condition does not hold."""
    emit(debug.Assert, condition=as_expr(condition), message=message)


def assume(condition: ScalarLike) -> None:
    """Promises a condition; the compiler builds on it."""
    emit(debug.Assume, condition=as_expr(condition))


def trap(message: str = "") -> None:
    """Stops the program with an error."""
    emit(debug.Trap, message=message)


# A call outside a kernel has no `Kernel.trace` around it that cuts our frames off the traceback.
for _name, _function in list(globals().items()):
    if isfunction(_function) and _function.__module__ == __name__ and not _name.startswith("_"):
        globals()[_name] = user_errors()(_function)
