"""`tileloom run --profile`: what instructions did on the emulator, by the program's own lines."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom import vm
from tileloom.runtime.cli import main
from tileloom.runtime.profile import profiling


@vm.kernel
def columns(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32]) -> None:
    """Reads a tile by rows and writes it by columns: half of its accesses are scattered."""
    vm.launch(grid=[2], warps=1)
    rows = vm.global_view(x, [2, 32, 32])
    turned = vm.global_view(y, [2, 32, 32], [1024, 1, 32])
    from tileloom.layouts import local, spatial

    layout = local(32, 1) * spatial(1, 32)
    tile = vm.load(rows, [vm.block_index(), 0, 0], (32, 32), layout)
    vm.store(turned, [vm.block_index(), 0, 0], tile)


def test_rows_count_what_was_executed() -> None:
    x = np.arange(2048, dtype=np.float32)
    y = np.full_like(x, np.nan)
    with profiling() as launches:
        columns(x, y, device="emulator")
    assert (y.reshape(2, 32, 32) == x.reshape(2, 32, 32).transpose(0, 2, 1)).all()
    (launch,) = launches
    load = next(row for row in launch.rows if " = load " in row.text)
    store = next(row for row in launch.rows if row.text.startswith("store "))
    # 2 blocks x 32 rows of 128 bytes: 4 sectors each, whole. By columns a thread stores 16 bytes
    # at a time, half a sector of its own column.
    assert (load.sectors, load.least_sectors) == (256, 256)
    assert (store.sectors, store.least_sectors) == (512, 256)
    table = launch.table()
    assert "`columns` on the emulator" in table and "total" in table.splitlines()[-1]


def test_nothing_is_kept_outside() -> None:
    with profiling() as launches:
        pass
    columns(np.zeros(2048, np.float32), np.zeros(2048, np.float32), device="emulator")
    assert launches == []


def test_the_option_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "vector_add", "--n", "5000", "--device", "emulator", "--profile"]) == 0
    out = capsys.readouterr().out
    assert "`vector_add` on the emulator" in out and "max_error" in out
    assert main(["run", "vector_add", "--profile"]) == 2
    assert "add `--device emulator`" in capsys.readouterr().err
