"""Arrays of numpy, torch, cupy and DLPack, seen the same way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tileloom.runtime.arrays import (
    accepts,
    dense_strides,
    describe,
    is_array,
    packed_nbytes,
    storage,
)
from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import dtype


class CudaArray:
    """What cupy shows of an array."""

    def __init__(self, **interface: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": (4, 6), "typestr": "<f2", "data": (4096, False), "strides": None,
            "version": 3, **interface,
        }  # fmt: skip
        self.device = SimpleNamespace(id=2)


@given(
    st.lists(st.integers(0, 5), max_size=4).map(tuple),
    st.sampled_from(["C", "F", "reversed", "every other"]),
)
def test_numpy_strides_and_density(shape: tuple[int, ...], how: str) -> None:
    array = np.zeros(shape, np.float32, order="F" if how == "F" else "C")
    if how == "reversed" and shape:
        array = array[::-1]
    if how == "every other" and shape:
        array = array[..., ::2]
    found = describe(array)
    assert found is not None
    assert found.shape == array.shape
    assert found.nbytes == array.nbytes
    assert found.is_dense == array.flags.c_contiguous
    if array.size:
        assert found.strides == tuple(s // 4 for s in array.strides)
        assert found.address == array.ctypes.data


def test_numpy_writability_and_host_view() -> None:
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    found = describe(array)
    assert found is not None and found.writable and found.device is None
    view = found.host_view(np.uint16)
    view[5] = 0x3C00
    assert array[1, 1] == 1.0
    array.flags.writeable = False
    locked = describe(array)
    assert locked is not None and not locked.writable
    assert not locked.host_view(np.float16).flags.writeable
    empty = describe(array[:0])
    assert empty is not None and empty.host_view(np.uint8).size == 0


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (np.zeros(1, np.uint8), "u8"),
        (np.zeros(1, np.int64), "i64"),
        (np.zeros(1, np.bool_), "bool"),
        (np.zeros(1, ml_dtypes.bfloat16), "bf16"),
        (np.zeros(1, ml_dtypes.float8_e4m3fn), "e4m3"),
        (np.zeros(1, ml_dtypes.float8_e5m2), "e5m2"),
        (np.zeros(1, ml_dtypes.float8_e8m0fnu), "e8m0"),
    ],
)
def test_numpy_dtypes(array: Any, name: str) -> None:
    found = describe(array)
    assert found is not None and found.dtype == name


@pytest.mark.parametrize("kind", [object, "U3", ">f4", "M8[s]", np.complex64])
def test_numpy_dtypes_without_a_meaning_are_refused(kind: Any) -> None:
    with pytest.raises(VMTypeError, match="can't be arguments"):
        describe(np.zeros(1, kind))


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4).to(torch.bfloat16)
    found = describe(base)
    assert found is not None
    assert (found.dtype, found.itemsize, found.shape) == ("bf16", 2, (3, 4))
    assert found.address == base.data_ptr() and found.device is None
    assert found.host_view(np.uint16)[1] == 0x3F80
    turned = describe(base.T)
    assert turned is not None and not turned.is_dense and turned.strides == (1, 4)
    names = {torch.float16: "f16", torch.int8: "i8", torch.bool: "bool", torch.int32: "i32",
             torch.float8_e4m3fn: "e4m3", torch.float8_e5m2: "e5m2", torch.uint8: "u8",
             torch.float64: "f64", torch.int64: "i64", torch.int16: "i16"}  # fmt: skip
    for kind, name in names.items():
        described = describe(torch.empty(2, dtype=kind))
        assert described is not None and described.dtype == name
    with pytest.raises(VMTypeError, match="complex64"):
        describe(torch.empty(1, dtype=torch.complex64))
    with pytest.raises(VMTypeError, match="device `meta`"):
        describe(torch.empty(1, device="meta"))


def test_cuda_array_interface() -> None:
    found = describe(CudaArray())
    assert found is not None
    assert (found.address, found.dtype, found.device) == (4096, "f16", 2)
    assert found.is_dense and found.writable
    strided = describe(CudaArray(strides=(24, 2), data=(4096, True)))
    assert strided is not None
    assert strided.strides == (12, 1) and not strided.is_dense and not strided.writable
    assert found.place == "the memory of GPU 2"
    with pytest.raises(VMTypeError, match="masked"):
        describe(CudaArray(mask=1))


def test_dlpack_in_the_hosts_memory() -> None:
    class Exporter:
        def __init__(self, array: Any) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    found = describe(Exporter(array))
    assert found is not None
    assert (found.address, found.dtype, found.shape) == (array.ctypes.data, "i32", (2, 3))


@pytest.mark.parametrize("thing", [3, 2.5, "text", None, [1, 2], (1,), object()])
def test_what_is_no_array(thing: object) -> None:
    assert describe(thing) is None
    assert not is_array(thing)


@pytest.mark.parametrize(
    ("element", "given", "fits"),
    [
        ("f16", "f16", True), ("f16", "u16", False), ("f16", "f32", False), ("f32", "f32", True),
        ("bf16", "bf16", True), ("bf16", "u16", True), ("bf16", "f16", False),
        ("tf32", "f32", True), ("u8", "u8", True), ("u8", "i8", False), ("i32", "i64", False),
        ("u3", "u8", True), ("u3", "i8", False), ("e4m3", "e4m3", True), ("e4m3", "u8", True),
        ("e2m1", "u8", True), ("bool", "u8", True), ("bool", "bool", False), ("nf4", "u8", True),
        ("u12", "u8", True), ("b8", "u8", True), ("e8m0", "e8m0", True),
    ],
)  # fmt: skip
def test_which_arrays_hold_which_elements(element: str, given: str, fits: bool) -> None:
    assert accepts(dtype(element), given) == fits


def test_storage_and_packed_bytes() -> None:
    names = {"f16": "float16", "bf16": "uint16", "tf32": "float32", "u3": "uint8", "i8": "int8",
             "e4m3": "uint8", "bool": "uint8", "i64": "int64"}  # fmt: skip
    assert {n: storage(dtype(n)).name for n in names} == names
    assert [packed_nbytes(dtype("u3"), n) for n in (0, 1, 3, 8)] == [0, 1, 2, 3]
    assert packed_nbytes(dtype("f32"), 5) == 20


def test_fields_of_records_are_refused() -> None:
    """Their strides are no whole elements: rounded down they would look dense."""
    records = np.zeros(8, [("value", "<f2"), ("flag", "u1")])
    with pytest.raises(VMTypeError, match=r"strides of \[3\] bytes, but elements of 2"):
        describe(records["value"])
    assert describe(records["flag"]) is not None


def test_dense_strides_leave_extents_of_one_free() -> None:
    assert dense_strides((2, 3, 4)) == (12, 4, 1)
    assert dense_strides((2, 1, 4), (4, 99, 1)) == (4, 99, 1)
    assert dense_strides(()) == ()
