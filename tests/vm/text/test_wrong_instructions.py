"""Every instruction refuses operands that don't fit, in the same words wherever it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.instruction import REGISTRY

TESTS = Path(__file__).parents[2]

HEAD = """func @f(%p: *f32, %w: *i32, %n: i32) warps = 1 {
  %v = global_view %p : global<f32, [16]>
  %k = global_view %w : global<i32, [16]>
  %s = alloc_shared : shared<f32, [16]>
  %f = full : reg<f32, [8]>
  %g = full : reg<f32, [9]>
  %i = full : reg<i32, [8]>
  %u = full : reg<u4, [8]>
  %m = full : reg<f32, [4, 8]>
"""
FLOATS = (
    "ceil", "exp", "exp2", "floor", "log", "log2", "rcp", "round", "rsqrt", "sigmoid", "sqrt",
    "tanh", "trunc",
)  # fmt: skip
CASES: list[tuple[str, str]] = [
    *((f"%r = {name} %i", f"`{name}`: has no arithmetic on `i32`") for name in FLOATS),
    *((f"%r = {name} %u", f"`{name}`: has no arithmetic on `u4`") for name in ("abs", "neg")),
    ("%r = not %f", "`not`: has no arithmetic on `f32`"),
    *(
        (f"%r = {name} %f, %g", f"`{name}`: shapes [8] and [9] don't broadcast")
        for name in ("add", "sub", "mul", "div", "min", "max", "lt", "ge")
    ),
    *(
        (f"%r = {name} %f, %f", f"`{name}`: has no arithmetic on `f32`")
        for name in ("and", "or", "xor", "shl", "shr", "mod")
    ),
    *(
        (f"%r = {name} %f, %i", f"`{name}`: operands are `f32` and `i32`")
        for name in ("eq", "ne", "le", "gt")
    ),
    ("%r = clip %f, %i, 2.0", "`clip`: operands are `f32` and `i32`"),
    ("%r = fma %f, %g, %f", "`fma`: shapes [8] and [9] don't broadcast"),
    ("%r = where %f, %f, %f", "`where`: the condition is `f32`, not `bool`"),
    ("%r = full", "`full`: the result's register type is missing"),
    ("%r = arange {dim = 1} : reg<i32, [8]>", "`arange`: `dim` 1 of a tile of rank 1"),
    ("%r = alloc_shared", "`alloc_shared`: the tile's type is missing"),
    ("free_shared %v", "`free_shared`: only shared tiles can be freed"),
    (
        "%r = global_view %p {alignment = 3} : global<f32, [4]>",
        "`global_view`: `alignment` 3 is no power of two up to 128",
    ),
    ("%r = broadcast %m {shape = [4, 9]}", "`broadcast`: [4, 8] can't be broadcast to [4, 9]"),
    ("%r = reshape %m {shape = [33]}", "`reshape`: [4, 8] has 32 elements, [33] 33"),
    ("%r = transpose %m {order = [0, 0]}", "`transpose`: [0, 0] is no order of 2 dimensions"),
    ("%r = convert_layout %f : reg<f16, [8]>", "`convert_layout`: only the layout may change"),
    ("%r = repack %f : reg<f32, [4, 2]>", "`repack`: only the packing may change"),
    (
        "%r = concat %f, %m : reg<f32, [8]>",
        "`concat`: tiles of one dtype and rank are joined",
    ),
    ("%r = full {fill = -1} : reg<u4, [8]>", "`full`: `u4` can't hold `fill` -1"),
    ("%r = decode %f {dtype = f16}", "`f32` can't be decoded"),
    ("simt_dot %m, %m, %m", "`simt_dot`: acc [4, 8] += a [4, 8] @ b [4, 8] doesn't fit"),
    ("store_remote %s[0], %i, 1", "`store_remote`: the value is `i32` but the memory is `f32`"),
    ("copy_async_wait {pending = -1}", "`copy_async_wait`: `pending` is -1, less than 0"),
    ("fence {scope = warp}", "`fence`: unknown scope `warp`"),
    ("lock %v[0], 1", "`lock`: a semaphore is an i32 or u32 in global memory"),
    ("release %k[0, 1], 1", "`release`: 2 indices for a tile of rank 1"),
    ("barrier %n", "`barrier` takes no operands, not 1"),
    ("copy_async_commit %s", "`copy_async_commit` takes no operands, not 1"),
    ("fence_proxy_async %s", "`fence_proxy_async` takes no operands, not 1"),
    ("warp_barrier %s", "`warp_barrier` takes no operands, not 1"),
    ("wgmma %m, %m, %m[0, 0]", "`wgmma`: `%m` must be a shared tile"),
    ("wgmma %m, %m, %s", "`wgmma`: b needs an index list"),
    ("wgmma_commit %s", "`wgmma_commit` takes no operands, not 1"),
    ("wgmma_wait {pending = 8}", "`wgmma_wait`: `pending` is 8"),
    ("cluster_barrier %s", "`cluster_barrier` takes no operands, not 1"),
    ("launch_dependents 1", "`launch_dependents` takes no operands, not 1"),
    ("wait_dependencies 1", "`wait_dependencies` takes no operands, not 1"),
]


@pytest.mark.parametrize(("line", "message"), CASES)
def test_wrong_operands(line: str, message: str) -> None:
    with pytest.raises(VMError) as caught:
        parse(f"{HEAD}  {line}\n}}")
    assert caught.value.message == message
    assert caught.value.location is not None and caught.value.location.line == 10


def test_every_instruction_is_refused_somewhere() -> None:
    """Here, or by a test that expects a message which begins with its name."""
    here = {line.removeprefix("%r = ").split()[0] for line, _ in CASES}
    files = [*TESTS.rglob("test_*.py"), *(TESTS / "errors").rglob("*.txt")]
    messages = "\n".join(path.read_text() for path in sorted(files))
    elsewhere = set(re.findall(r"`([a-z_0-9]+)`(?::| takes| needs)", messages))
    assert set(REGISTRY) - here - elsewhere == set()
