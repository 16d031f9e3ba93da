"""The operands of a product as its programs see them."""

from __future__ import annotations

from tileloom import vm
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar


def operand_views(
    a: Pointer, b: Pointer, m: Scalar, k: Scalar, n: Scalar, vector: int
) -> tuple[MemoryTile, MemoryTile]:
    """a as [m, k] and b as [k, n], of 16 bits an element, in rows whose lengths are promised to be
    multiples of `vector` elements."""
    vm.assume(k % vector == 0)
    vm.assume(n % vector == 0)
    view_a = vm.global_view(a, [m, k], alignment=row_alignment(vector))
    view_b = vm.global_view(b, [k, n], alignment=row_alignment(vector))
    return view_a, view_b


def row_alignment(vector: int) -> int:
    """Bytes that the starts of such rows are multiples of, as far as accesses care."""
    return min(16, 2 * vector)
