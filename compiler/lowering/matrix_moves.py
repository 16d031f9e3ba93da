"""Lowering of explicit matrix loads and stores (`load` uses `ldmatrix` by itself where it can)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tileloom.layouts import RegisterLayout, local, replicate, spatial
from tileloom.layouts.fragments import MATRIX_ROW_BITS, MATRIX_ROWS, matrix
from tileloom.vm.diagnostics import LayoutMismatchError
from tileloom.vm.instructions.matrices import LoadMatrix, StoreMatrix

from ..emit.addresses import Access, build_access
from ..emit.context import Context, SharedBinding
from ..emit.tiles import tile_type
from .matrices import load_matrices, store_matrices
from .memory import memory_binding, store_words
from .registry import layout_default, lowering

if TYPE_CHECKING:
    from ..passes.inference import Inference


@lowering(LoadMatrix)
def lower_load_matrix(context: Context, instruction: LoadMatrix) -> None:
    result = instruction.result
    assert result is not None
    binding = memory_binding(context, instruction.source)
    assert isinstance(binding, SharedBinding)
    access = _access(context, instruction, binding, result)
    words = load_matrices(access, binding, instruction, tile_type(result))
    if words is None:
        raise _no_matrices(instruction, binding, tile_type(result).placed)
    context.bind(result, words)


@lowering(StoreMatrix)
def lower_store_matrix(context: Context, instruction: StoreMatrix) -> None:
    tile = context.tile(instruction.value)
    binding = memory_binding(context, instruction.target)
    assert isinstance(binding, SharedBinding)
    access = _access(context, instruction, binding, instruction.value)
    if not context.target.has("stmatrix"):
        store_words(access, tile)
    elif not store_matrices(access, binding, instruction, tile):
        raise _no_matrices(instruction, binding, tile.type.placed)


def _access(
    context: Context, instruction: LoadMatrix | StoreMatrix, binding: SharedBinding, tile: object
) -> Access:
    type_ = tile_type(tile)  # type: ignore[arg-type]
    access = build_access(context, binding, instruction.offsets, instruction.dims, type_, True)
    access.common = context.scalars.conjunction(access.common, context.owns(type_.placed))
    return access


def _no_matrices(
    instruction: LoadMatrix | StoreMatrix, binding: SharedBinding, layout: RegisterLayout
) -> LayoutMismatchError:
    return LayoutMismatchError(
        f"`{instruction.name}`: the tile is not made of whole matrices of 8 rows of 16 bytes, "
        "aligned to 16 bytes",
        instruction.location,
        notes=[f"the registers have layout `{layout}`", f"the memory has `{binding.layout}`"],
        hint="start from `fragments.matrix`, and `assume` what divides run-time offsets",
    )


@layout_default(LoadMatrix, phase=2)
def default_load_matrix(inference: Inference, instruction: LoadMatrix) -> None:
    """Matrices one after the other along the first dimensions, warps along the rows."""
    type_ = tile_type(instruction.result)
    columns = MATRIX_ROW_BITS // type_.dtype.bits
    if type_.rank < 2 or type_.shape[-2] % MATRIX_ROWS or type_.shape[-1] % columns:
        return
    outer = [*type_.shape[:-2], type_.shape[-2] // MATRIX_ROWS, type_.shape[-1] // columns]
    warps, leading = inference.num_threads // 32, range(type_.rank - 2)
    rows = warps if outer[-2] % warps == 0 else 1
    outer[-2] //= rows
    threads = replicate(warps // rows) * spatial(*(1 for _ in leading), rows, 1)
    each = matrix(type_.dtype.bits).unsqueeze(leading)
    inference.propose(instruction.result, threads * local(*outer) * each)
