"""Every plan on a GPU: machine code by the assembler that is there, on all codes."""

from __future__ import annotations

import numpy as np
import pytest
from cast_cases import CAST_SOURCES, all_codes, custom
from plan_kernels import plan_module
from test_emulated import plans_of

from tileloom.compiler.targets import TARGETS
from tileloom.runtime.assemble import assemble
from tileloom.runtime.cuda import context
from tileloom.runtime.cuda.launch import LoadedKernel
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import pack_words, pairs

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("source", [*CAST_SOURCES, *custom()], ids=str)
def test_plans_on_the_gpu(source: Dtype) -> None:
    if not context.available():
        pytest.skip("no NVIDIA GPU")
    device = context.current_device()
    if device.target not in TARGETS:
        pytest.skip(f"no target for {device.target}")
    cases = plans_of(source, device.target)
    cubin = assemble(plan_module([case.plan for case in cases], device.target), device.target).cubin
    count = 2 * pairs(source.bits)
    codes = all_codes(source, count)
    for number, case in enumerate(cases):
        kernel = LoadedKernel(device, cubin, f"plan{number}", len(codes), 0, ["Q", "Q"])
        inputs = DeviceArray.of(pack_words(codes, source.bits, case.packing), device)
        outputs = DeviceArray((len(codes), len(case.plan.outputs)), np.uint32, device)
        outputs.fill_bytes(0xA5)
        kernel.launch((1, 1, 1), [inputs.data_ptr(), outputs.data_ptr()])
        assert case.holds(outputs.numpy()), (case.dest, str(case.plan))
