"""The compiler: from VM functions to PTX text.

lowered = compile_function(function, target="sm_90a")
lowered.ptx, lowered.kernel_name, lowered.shared_bytes
"""

from .compile import Lowered, compile_function
from .targets import TARGETS, Target, target_named

__all__ = ["TARGETS", "Lowered", "Target", "compile_function", "target_named"]
