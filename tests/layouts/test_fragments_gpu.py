"""Fragments against the hardware: operands laid out by them, given to the real instructions.

Needs an NVIDIA GPU with compute capability 9.0 or more.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tileloom.layouts import RegisterLayout, fragments

pytestmark = pytest.mark.gpu

Words = npt.NDArray[np.uint32]
HEAD = ".version 8.0\n.target sm_90\n.address_size 64\n"


def call(result: Any) -> Any:
    """The values of a driver call, which returns (error, values...)."""
    error, *values = result
    assert int(error) == 0, error
    return values[0] if len(values) == 1 else tuple(values)


@pytest.fixture(scope="module")
def driver() -> Any:
    """The CUDA driver with a current context."""
    found = pytest.importorskip("cuda.bindings.driver")
    try:
        error = int(found.cuInit(0)[0])
    except Exception as failure:
        pytest.skip(f"no CUDA driver: {failure}")
    if error:
        pytest.skip(f"no GPU: cuInit gives {error}")
    device = call(found.cuDeviceGet(0))
    call(found.cuCtxSetCurrent(call(found.cuDevicePrimaryCtxRetain(device))))
    return found


def run(driver: Any, ptx: str, inputs: list[Words], output_words: int) -> Words:
    """One warp of kernel `k` on word arrays [32, n], giving words [32, output_words]."""
    module = call(driver.cuModuleLoadData(ptx.encode() + b"\0"))
    kernel = call(driver.cuModuleGetFunction(module, b"k"))
    output = np.full((32, output_words), 0xDEADBEEF, dtype=np.uint32)
    buffers = [np.ascontiguousarray(words, dtype=np.uint32) for words in (*inputs, output)]
    pointers = [call(driver.cuMemAlloc(words.nbytes)) for words in buffers]
    for pointer, words in zip(pointers, buffers, strict=True):
        call(driver.cuMemcpyHtoD(pointer, words.ctypes.data, words.nbytes))
    addresses = [np.array([int(pointer)], dtype=np.uint64) for pointer in pointers]
    arguments = np.array([address.ctypes.data for address in addresses], dtype=np.uint64)
    call(driver.cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, 0, arguments.ctypes.data, 0))
    call(driver.cuCtxSynchronize())
    call(driver.cuMemcpyDtoH(output.ctypes.data, pointers[-1], output.nbytes))
    for pointer in pointers:
        call(driver.cuMemFree(pointer))
    call(driver.cuModuleUnload(module))
    return output


def kernel(counts: dict[str, int], body: str) -> str:
    """PTX of a kernel that gives each lane the address %rd_NAME of its words of each array."""
    params = ", ".join(f".param .u64 {name}" for name in counts)
    lines = [f"{HEAD}.visible .entry k({params}) {{", ".reg .b32 %lane, %at, %r<16>;"]
    lines += [".shared .align 128 .b8 tile[512];", "mov.u32 %lane, %tid.x;"]
    for name, count in counts.items():
        lines += [
            f".reg .b64 %p_{name}, %rd_{name};",
            f"ld.param.u64 %p_{name}, [{name}];",
            f"mad.wide.u32 %rd_{name}, %lane, {4 * count}, %p_{name};",
        ]
    return "\n".join([*lines, body, "ret;", "}"])


def load(name: str, first: int, count: int) -> str:
    return "\n".join(f"ld.global.b32 %r{first + i}, [%rd_{name} + {4 * i}];" for i in range(count))


def store(name: str, first: int, count: int) -> str:
    return "\n".join(f"st.global.b32 [%rd_{name} + {4 * i}], %r{first + i};" for i in range(count))


def registers(first: int, count: int) -> str:
    return "{" + ", ".join(f"%r{first + i}" for i in range(count)) + "}"


def hold(layout: RegisterLayout, codes: npt.NDArray[Any]) -> Words:
    """Each lane's words [32, n], its elements packed from the low bits up."""
    held = codes[tuple(np.moveaxis(layout.table(), -1, 0))]
    return np.ascontiguousarray(held).view(np.uint32)


def encode(dtype: str, values: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    if dtype in ("i8", "u8"):
        return values.astype(np.uint8)
    if dtype == "f16":
        return values.astype(np.float16).view(np.uint16)
    words = values.astype(np.float32).view(np.uint32)
    return (words >> 16).astype(np.uint16) if dtype == "bf16" else words


@pytest.mark.parametrize(
    ("dtype", "k"),
    [(d, k) for d, ks in
     {"f16": (16, 8), "bf16": (16, 8), "tf32": (8, 4), "i8": (32, 16), "u8": (32, 16)}.items()
     for k in ks],
)  # fmt: skip
def test_mma(driver: Any, dtype: str, k: int) -> None:
    mma = fragments.mma(dtype, k)
    generator = np.random.default_rng(k)
    low = 0 if dtype == "u8" else -8
    a, b = generator.integers(low, 9, (16, k)), generator.integers(low, 9, (k, 8))
    held = {"a": hold(mma.a, encode(dtype, a)), "b": hold(mma.b, encode(dtype, b))}
    words = {name: each.shape[1] for name, each in held.items()} | {"c": 4}
    operand = {"i8": "s8"}.get(dtype, dtype)
    accumulator = "s32" if dtype in ("i8", "u8") else "f32"
    body = [load("a", 0, words["a"]), load("b", 4, words["b"])]
    body += [f"mov.b32 %r{8 + i}, 0;" for i in range(4)]
    body += [
        f"mma.sync.aligned.{mma.shape}.row.col.{accumulator}.{operand}.{operand}.{accumulator} "
        f"{registers(8, 4)}, {registers(0, words['a'])}, {registers(4, words['b'])}, "
        f"{registers(8, 4)};",
        store("c", 8, 4),
    ]
    out = run(driver, kernel(words, "\n".join(body)), [held["a"], held["b"]], 4)
    found = out.view(np.int32 if accumulator == "s32" else np.float32)
    product = a @ b
    assert np.array_equal(found, product[tuple(np.moveaxis(mma.c.table(), -1, 0))])


def staged(count: int) -> str:
    """The address at which each lane's row of the shared tile starts."""
    row = f"and.b32 %r12, %lane, {8 * count - 1};"
    return f"mov.u32 %at, tile;\n{row}\nmad.lo.u32 %at, %r12, 16, %at;"


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix_and_stmatrix(driver: Any, count: int, transposed: bool) -> None:
    layout = fragments.matrices(count, transposed=transposed)
    tile = np.arange(8 * count * 8, dtype=np.uint16).reshape(8 * count, 8)
    rows = np.zeros((32, 4), dtype=np.uint32)  # lane r's row of the tile, 16 bytes
    rows[: 8 * count] = tile.view(np.uint32)
    suffix = f"x{count}{'.trans' if transposed else ''}.shared.b16"
    held = registers(0, count)

    copy_in = "\n".join(f"st.shared.b32 [%at + {4 * i}], %r{i};" for i in range(4))
    body = [staged(4), load("rows", 0, 4), copy_in, "bar.sync 0;", staged(count)]
    body += [f"ldmatrix.sync.aligned.m8n8.{suffix} {held}, [%at];", store("out", 0, count)]
    ptx = kernel({"rows": 4, "out": count}, "\n".join(body))
    assert np.array_equal(run(driver, ptx, [rows], count), hold(layout, tile))

    copy_out = "\n".join(f"ld.shared.b32 %r{i}, [%at + {4 * i}];" for i in range(4))
    body = [load("held", 0, count), staged(count)]
    body += [f"stmatrix.sync.aligned.m8n8.{suffix} [%at], {held};", "bar.sync 0;"]
    body += [staged(4), copy_out, store("out", 0, 4)]
    ptx = kernel({"held": count, "out": 4}, "\n".join(body))
    out = run(driver, ptx, [hold(layout, tile)], 4)
    assert np.array_equal(out[: 8 * count], rows[: 8 * count])
