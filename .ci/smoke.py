"""What an installed wheel must do, alone in a fresh environment: import, parse, compile, run."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

import numpy as np

PROGRAM = """\
func @double(%x: *f32, %y: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [64]>
  %gy = global_view %y : global<f32, [64]>
  %t = load %gx[0] : reg<f32, [64]>
  %u = add %t, %t
  store %gy[0], %u
}
"""


def import_everything() -> int:
    files = importlib.metadata.files("tileloom") or []
    modules = sorted(
        ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        for file in files
        if file.suffix == ".py" and file.parts[0] == "tileloom" and file.stem != "__main__"
    )
    for module in modules:
        found = importlib.import_module(module).__file__
        assert found is not None and found.startswith(sys.prefix), f"{module} came from {found}"
    return len(modules)


def quantized_matmul() -> None:
    from tileloom.programs.quantized_matmul import linear, pack, quantize

    rng = np.random.default_rng(0)
    q = quantize(rng.standard_normal((64, 32)).astype(np.float32), "u4", group=32)
    x = rng.standard_normal((3, 64)).astype(np.float16)
    y = linear(x, pack(q), device="interpreter")
    expected = x.astype(np.float64) @ q.dequantize()
    error = np.linalg.norm(y - expected) / np.linalg.norm(expected)
    assert error < 1e-3, error


def program() -> None:
    from tileloom.runtime import compile_kernel, run_function
    from tileloom.vm import parse

    function = parse(PROGRAM)
    assert parse(function.text()).text() == function.text()
    assert ".visible .entry double(" in compile_kernel(function, "sm_80").ptx
    x, y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    run_function(function, [x, y], device="interpreter")
    assert np.array_equal(y, 2 * x)


def main() -> None:
    count = import_everything()
    program()
    quantized_matmul()
    print(f"smoke test passed: {count} modules")


if __name__ == "__main__":
    main()
