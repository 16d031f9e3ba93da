"""Every instruction that takes a register tile and makes none, under the four layouts of
test_conformance.py, on ragged operands: what it leaves in memory is what numpy says.

`%a` and `%b` are loaded from `[11, 18]` arrays in tiles of `SHAPE`, zero outside; a case leaves its
result in the global tile `%go`, `[12, 20]` of the first operand's dtype.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from execution import agree
from test_conformance import CASES as OF_TILES
from test_conformance import ELSEWHERE as TILES_ELSEWHERE
from test_conformance import LAYOUTS, SHAPE, numbers

from tileloom.vm import dtype
from tileloom.vm.instruction import REGISTRY

Array = Any


class Case(NamedTuple):
    """The statements with `{layout}`, and the result from what `%a` and `%b` hold."""

    kind: str
    text: str
    expected: Callable[[Array, Array], Array]


def shifted(a: Array, b: Array) -> Array:
    """`%a` one row down and two columns right, what leaves dropped."""
    result = np.zeros_like(a)
    result[1:, 2:] = a[:-1, :-2]
    return result


def reversed_rows(a: Array, b: Array) -> Array:
    return a[::-1]


def product(a: Array, b: Array) -> Array:
    result = np.zeros_like(a)
    result[:, :12] = a @ b.T
    return result


CASES = {
    "store": Case("f16", "store %go[1, 2], %a", shifted),
    "store of bytes": Case("u8", "store %go[1, 2], %a", shifted),
    "store shared": Case("f32", """%s = alloc_shared : shared<f32, [20, 12]>
  store %s[0, 0], %a {{dims = [1, 0]}}
  barrier
  %back = load %s[0, 0] {{dims = [1, 0]}} : reg<f32, [12, 20]>
  store %go[0, 0], %back""", lambda a, b: a),
    "scatter": Case("i32", """%down = arange {{dim = 0, start = 11, step = -1}} : reg<i32, [12, 1]>
  scatter %go[0, 0], %down, %a""", reversed_rows),
    "assign": Case("i16", """%c = full {{fill = 7}} : reg<i16, [12, 20]{layout}>
  assign %c, %a
  store %go[0, 0], %c""", lambda a, b: a),
    "atomic": Case("i32", """store %go[0, 0], %b
  barrier
  atomic %go[0, 0], %a""", lambda a, b: a + b),
    "simt_dot": Case("i32", """%turned = transpose %b
  %c = full : reg<i32, [12, 12]>
  simt_dot %c, %a, %turned
  store %go[0, 0], %c""", product),
    "copy_async": Case("f32", """%s = alloc_shared : shared<f32, [12, 20]>
  copy_async %s[0, 0], %ga[0, 0] {{shape = [12, 20], layout = #copied}}
  copy_async_commit
  copy_async_wait
  barrier
  %back = load %s[0, 0] : reg<f32, [12, 20]>
  store %go[0, 0], %back""", lambda a, b: a),
}  # fmt: skip

# Their layouts are the hardware's, they need several blocks, or their result is a scalar or text:
# the test that says so, and the file it is in.
ELSEWHERE = {
    "mma": "test_matmul.test_annotated_layouts", "wgmma": "test_wgmma.test_every_type",
    "store_matrix": "test_matrix_moves.test_moves", "item": "test_items.test_items_decide",
    "store_remote": "test_cluster.test_remote_tiles_of_any_dtype_under_a_swizzle",
    "print": "test_debug.test_tiles",
}  # fmt: skip

PROGRAM = """layout #copied = {copied}
func @f(%pa: *{kind}, %pb: *{kind}, %po: *{kind}) warps = 1 {{
  %ga = global_view %pa : global<{kind}, [11, 18]>
  %gb = global_view %pb : global<{kind}, [11, 18]>
  %go = global_view %po : global<{kind}, [12, 20]>
  %a = load %ga[0, 0] : reg<{kind}, [12, 20]{layout}>
  %b = load %gb[0, 0] : reg<{kind}, [12, 20]{layout}>
  {text}
}}"""


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("name", sorted(CASES))
def test_effects(name: str, layout: str) -> None:
    case, placed = CASES[name], LAYOUTS[layout]
    copied = placed.removeprefix(", ") or "spatial(3, 10) * local(4, 2)"
    text = PROGRAM.format(
        kind=case.kind, layout=placed, copied=copied, text=case.text.format(layout=placed)
    )
    arrays = [numbers(case.kind, seed) for seed in (0, 1)]
    held = [np.pad(each, ((0, 1), (0, 2))) for each in arrays]
    found = agree(text, [*arrays, np.zeros(SHAPE, dtype(case.kind).numpy)])
    np.testing.assert_array_equal(found[-1], case.expected(*held))
    assert found[-1].any()


def test_every_instruction_that_uses_a_tile_is_here_or_where_said() -> None:
    """What makes tiles is in test_conformance.py; what is left takes none."""
    without = [
        "alloc_mbarrier",
        "alloc_shared",
        "assert",
        "assume",
        "atomic_scalar",
        "barrier",
        "bulk_commit",
        "bulk_wait",
        "cluster_barrier",
        "copy_async_commit",
        "copy_async_wait",
        "copy_bulk",
        "copy_tensor",
        "fence",
        "fence_proxy_async",
        "free_shared",
        "global_view",
        "launch_dependents",
        "load_scalar",
        "lock",
        "mbarrier_arrive",
        "mbarrier_expect",
        "mbarrier_test",
        "mbarrier_wait",
        "prefetch",
        "release",
        "set_registers",
        "store_bulk",
        "store_tensor",
        "trap",
        "var",
        "wait_dependencies",
        "warp_barrier",
        "wgmma_commit",
        "wgmma_wait",
    ]
    here = {name.split()[0] for name in CASES}
    named = [*OF_TILES, *TILES_ELSEWHERE, *here, *ELSEWHERE, *without]
    assert set(named) == set(REGISTRY)
    assert not set(without) & {*OF_TILES, *here, *ELSEWHERE}
    for name, place in ELSEWHERE.items():
        module, test = place.split(".")
        text = (Path(__file__).parent / f"{module}.py").read_text()
        assert re.search(rf"^def {test}\(", text, re.M) and name in text, (name, place)
