"""Every plan on a GPU: machine code by the assembler that is there, on all codes."""

from __future__ import annotations

import numpy as np
import pytest
from cast_cases import SOURCES, all_codes, custom, finite
from plan_kernels import plan_module
from test_emulated import plans_of

from tileloom.compiler.targets import TARGETS
from tileloom.runtime.assemble import assemble
from tileloom.runtime.cuda import context
from tileloom.runtime.cuda.launch import LoadedKernel
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import CONTIGUOUS, pack_words, pairs, unpack_words

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("source", [*SOURCES, *custom()], ids=str)
def test_plans_on_the_gpu(source: Dtype) -> None:
    if not context.available():
        pytest.skip("no NVIDIA GPU")
    device = context.current_device()
    if device.target not in TARGETS:
        pytest.skip(f"no target for {device.target}")
    cases = plans_of(source, device.target)
    cubin = assemble(plan_module([plan for plan, *_ in cases], device.target), device.target).cubin
    count = 2 * pairs(source.bits)
    codes = all_codes(source, count)
    has_value = finite(source, codes)
    for number, (plan, dest, packing, values) in enumerate(cases):
        kernel = LoadedKernel(device, cubin, f"plan{number}", len(codes), 0, ["Q", "Q"])
        inputs = DeviceArray.of(pack_words(codes, source.bits, packing), device)
        outputs = DeviceArray((len(codes), len(plan.outputs)), np.uint32, device)
        outputs.fill_bytes(0xA5)
        kernel.launch((1, 1, 1), [inputs.data_ptr(), outputs.data_ptr()])
        words = outputs.numpy()
        found = words if dest.bits == 32 else unpack_words(words, dest.bits, CONTIGUOUS, count)
        assert np.array_equal(dest.decode(found)[has_value], values[has_value]), (dest, str(plan))
