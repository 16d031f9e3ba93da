"""The runtime's own errors, beside those of `tileloom.vm.diagnostics`."""

from __future__ import annotations

from tileloom.vm.diagnostics import DeviceError, LaunchError, VMError


class AssemblerError(VMError):
    """The assembler rejected the PTX, crashed on it, or would have made slow code of it.

    `ptx_path` is the kept file, `command` what reproduces the failure, `log` all that was said.
    """

    kind = "assembler error"

    ptx_path: str | None = None
    command: str | None = None
    log: str = ""


class ToolMissingError(VMError):
    """A program or library of the CUDA toolkit that is needed isn't installed."""

    kind = "tool error"


class NoDeviceError(DeviceError):
    """There is no NVIDIA GPU, or no driver that works."""


class DriverError(DeviceError):
    """A call of the CUDA driver failed. `code` is the driver's number, `name` its name."""

    code: int = 0
    name: str = ""


class ArgumentError(LaunchError):
    """One argument of a launch is not what the kernel's signature asks for."""


class AlignmentError(ArgumentError):
    """An array that starts at an address the kernel can't read in the pieces it was built for."""


class JitError(VMError):
    """A kernel that would have to be compiled where `no_jit()` forbids it."""

    kind = "jit error"


class CacheError(VMError):
    """A damaged cache entry or bundle, or one that can't be read or written."""

    kind = "cache error"


class CacheWarning(UserWarning):
    """The disk cache can't be used; compiling goes on without it."""
