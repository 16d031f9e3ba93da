"""Sums of matrices by specialised warps, and what becomes of their code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tileloom.programs.tile_add.program import tile_add
from tileloom.vm.diagnostics import VMError


def check(m: int, n: int, element: str, device: str, **constants: Any) -> None:
    kind = {"f16": np.float16, "f32": np.float32}[element]
    rng = np.random.default_rng(m)
    x, y = (rng.standard_normal((m, n), np.float32).astype(kind) for _ in range(2))
    z = np.full((m, n), np.nan, kind)
    tile_add(x, y, z, m, n, element=element, device=device, **constants)
    np.testing.assert_array_equal(z, x + y)


@pytest.mark.parametrize("element", ["f16", "f32"])
@pytest.mark.parametrize(("m", "n"), [(1, 8), (32, 64), (70, 136), (0, 64)])
def test_every_shape(device: str, element: str, m: int, n: int) -> None:
    check(m, n, element, device)


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_any_number_of_stages(device: str, stages: int) -> None:
    check(100, 200, "f16", device, stages=stages)


def test_rows_that_no_tensor_map_takes(device: str) -> None:
    with pytest.raises(VMError) as caught:
        check(4, 9, "f16", device)
    assert "a stride of 18 bytes" in str(caught.value)


def test_a_kernel_from_the_cache_has_its_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILELOOM_CACHE_DIR", str(tmp_path))
    first = tile_add.compile()
    assert len(first.tensor_maps) == 3 and {m.swizzle for m in first.tensor_maps} == {128}
    assert first.cubin
    again = tile_add.compile()
    assert again.tensor_maps == first.tensor_maps and again.ptx == first.ptx


def test_the_roles_are_in_the_machine_code() -> None:
    kernel = tile_add.compile()
    assert kernel.resources.spill_stores == 0
    sass = kernel.sass()
    assert "UTMALDG.2D" in sass and "UTMASTG.2D" in sass and "SYNCS" in sass
