"""An emulator of PTX: parses the text a compiler emits and executes it with numpy.

    module = parse_module(ptx)
    module.kernels["axpy"].launch(grid=(4,), block=(128,), args=[x, y, 2.0, x.size])

Nothing of the compiler, the layouts or the dtypes is shared: whatever agrees with this agrees with
an independent reading of the PTX manual.
"""

from .errors import EmulatorError
from .kernel import Kernel, LaunchStatistics, Module, parse_module
from .tensor_maps import TensorMap

__all__ = ["EmulatorError", "Kernel", "LaunchStatistics", "Module", "TensorMap", "parse_module"]
