"""The three ways from PTX to a cubin: the program ptxas, the library nvJitLink, the driver.

Each takes a `Job` and gives an `Outcome`; none raises for PTX it rejects. Which of them is used is
decided in `toolkit`.
"""

from __future__ import annotations

import ctypes
import re
import shlex
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from . import bindings, options
from .errors import NoDeviceError, ToolMissingError

_LOG_BYTES = 1 << 16
INSTALL_HINT = "`pip install 'tileloom[tools]'` brings ptxas, `'tileloom[asm]'` nvJitLink"


@dataclass(frozen=True)
class Job:
    """What to assemble: one module's PTX, for `target` (such as sm_90a)."""

    name: str
    ptx: str
    target: str
    opt_level: int = 3
    line_info: bool = True
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The cubin, or None with the failure in `log` (and in `failure` where it isn't the PTX's)."""

    cubin: bytes | None
    log: str
    failure: str | None = None
    crashed: bool = False


class Assembler(Protocol):
    """Something that makes cubins."""

    @property
    def identity(self) -> str:
        """Name and version, such as `ptxas 13.0.88`: part of cache keys and of reports."""

    def run(self, job: Job) -> Outcome:
        """Assembles; a rejected module is an outcome without a cubin."""

    def command(self, job: Job, ptx_path: Path) -> str:
        """The command line that does the same with a file."""


@dataclass(frozen=True)
class Ptxas:
    """ptxas as a process of its own. `known` is its identity where it needn't be asked."""

    path: str
    known: str | None = field(default=None, compare=False)

    @cached_property
    def identity(self) -> str:
        return self.known or f"ptxas {self._version}"

    @cached_property
    def _version(self) -> str:
        try:
            said = subprocess.run(
                [self.path, "--version"], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ToolMissingError(f"`{self.path}` doesn't run: {error}") from None
        match = re.search(r"\bV(\d+(?:\.\d+)+)", said.stdout)
        if match is None:
            raise ToolMissingError(
                f"`{self.path}` doesn't say its version", notes=[said.stdout.strip()[:200]]
            )
        return match[1]

    def arguments(self, job: Job) -> list[str]:
        """The flags of a run."""
        line_info = ["-lineinfo"] if job.line_info else []
        return [f"-arch={job.target}", f"-O{job.opt_level}", "-v", *line_info, *job.flags]

    def command(self, job: Job, ptx_path: Path) -> str:
        cubin = ptx_path.with_suffix(".cubin")
        return shlex.join([self.path, *self.arguments(job), str(ptx_path), "-o", str(cubin)])

    def run(self, job: Job) -> Outcome:
        limit = options.current().assembler_timeout_s
        with tempfile.TemporaryDirectory(prefix="tileloom-") as folder:
            source, target = Path(folder, f"{job.name}.ptx"), Path(folder, f"{job.name}.cubin")
            source.write_text(job.ptx, encoding="utf-8")
            command = [self.path, *self.arguments(job), source.name, "-o", target.name]
            try:
                done = subprocess.run(
                    command, cwd=folder, capture_output=True, text=True, errors="replace",
                    timeout=limit, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return Outcome(None, "", f"it took more than {limit:g} s")
            except OSError as error:
                return Outcome(None, "", f"it doesn't run: {error}")
            log = done.stdout + done.stderr
            if done.returncode < 0:
                ended = f"it was ended by {_signal_name(-done.returncode)}"
                return Outcome(None, log, ended, crashed=True)
            if done.returncode > 0:
                return Outcome(None, log)
            try:
                return Outcome(target.read_bytes(), log)
            except OSError as error:
                return Outcome(None, log, f"it wrote no cubin: {error}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True)
class NvJitLink:
    """nvJitLink, in this process."""

    identity: str = field(default_factory=lambda: f"nvjitlink {_nvjitlink_version()}")

    def command(self, job: Job, ptx_path: Path) -> str:
        return _our_command("nvjitlink", job, ptx_path)

    def run(self, job: Job) -> Outcome:
        library = bindings.nvjitlink()
        flags = [f"-Xptxas={flag}" for flag in job.flags]
        line_info = ["-lineinfo"] if job.line_info else []
        wanted = [f"-arch={job.target}", f"-O{job.opt_level}", "-verbose", *line_info, *flags]
        handle = library.create(len(wanted), wanted)
        try:
            data = job.ptx.encode("utf-8")
            try:
                library.add_data(
                    handle, int(library.InputType.PTX), data, len(data), f"{job.name}.ptx"
                )
                library.complete(handle)
                cubin = bytearray(library.get_linked_cubin_size(handle))
                library.get_linked_cubin(handle, cubin)
            except library.nvJitLinkError as error:
                log = _nvjitlink_log(handle)
                return Outcome(None, log, None if "ptxas" in log else str(error))
            return Outcome(bytes(cubin), _nvjitlink_log(handle))
        finally:
            library.destroy(handle)


def _nvjitlink_log(handle: int) -> str:
    library = bindings.nvjitlink()
    parts = []
    for kind in ("error", "info"):
        size = getattr(library, f"get_{kind}_log_size")(handle)
        buffer = bytearray(size)
        if size:
            getattr(library, f"get_{kind}_log")(handle, buffer)
        parts.append(buffer.decode("utf-8", "replace").rstrip("\0"))
    return "".join(parts)


def _nvjitlink_version() -> str:
    try:
        major, minor = bindings.nvjitlink().version()
    except (ImportError, RuntimeError) as error:  # the package, or the library behind it
        first_line = str(error).partition("\n")[0]
        raise ToolMissingError(f"nvJitLink isn't there: {first_line}", hint=INSTALL_HINT) from None
    return f"{major}.{minor}"


@dataclass(frozen=True)
class DriverAssembler:
    """The driver's own assembler; needs a GPU."""

    identity: str = field(default_factory=lambda: f"driver {_driver_version()}")

    def command(self, job: Job, ptx_path: Path) -> str:
        return _our_command("driver", job, ptx_path)

    def run(self, job: Job) -> Outcome:
        from .cuda.context import current_device

        current_device().activate()
        return _link_with_driver(job)


def _link_with_driver(job: Job) -> Outcome:
    driver = bindings.driver()
    option = driver.CUjit_option
    info, errors = bytearray(_LOG_BYTES), bytearray(_LOG_BYTES)
    settings = {
        option.CU_JIT_INFO_LOG_BUFFER: info,
        option.CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES: _LOG_BYTES,
        option.CU_JIT_ERROR_LOG_BUFFER: errors,
        option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES: _LOG_BYTES,
        option.CU_JIT_OPTIMIZATION_LEVEL: job.opt_level,
        option.CU_JIT_GENERATE_LINE_INFO: int(job.line_info),
        option.CU_JIT_LOG_VERBOSE: 1,
    }
    code, state = driver.cuLinkCreate(len(settings), list(settings), list(settings.values()))
    if code != driver.CUresult.CUDA_SUCCESS:
        return Outcome(None, "", f"the driver's linker doesn't start: {code.name}")
    try:
        data = job.ptx.encode("utf-8") + b"\0"
        kind = driver.CUjitInputType.CU_JIT_INPUT_PTX
        name = f"{job.name}.ptx".encode()
        (code,) = driver.cuLinkAddData(state, kind, data, len(data), name, 0, [], [])
        cubin: bytes | None = None
        if code == driver.CUresult.CUDA_SUCCESS:
            code, address, size = driver.cuLinkComplete(state)
            if code == driver.CUresult.CUDA_SUCCESS:
                # The image belongs to the linker and goes with it.
                cubin = ctypes.string_at(int(address), size)
        log = "\n".join(b.split(b"\0", 1)[0].decode("utf-8", "replace") for b in (errors, info))
        return Outcome(cubin, log, None if cubin or "ptxas" in log else code.name)
    finally:
        driver.cuLinkDestroy(state)


def _driver_version() -> str:
    from .cuda.context import driver_version

    try:
        major, minor = driver_version()
    except NoDeviceError as error:
        raise ToolMissingError(f"the driver can't assemble: {error.message}") from None
    return f"{major}.{minor}"


def _our_command(name: str, job: Job, ptx_path: Path) -> str:
    flags = f"TILELOOM_ASSEMBLER_FLAGS={shlex.quote(shlex.join(job.flags))} " if job.flags else ""
    arguments = [
        "tileloom", "compile", str(ptx_path), "--target", job.target,
        "--opt-level", str(job.opt_level), "-o", str(ptx_path.parent),
    ]  # fmt: skip
    return f"TILELOOM_ASSEMBLER={name} {flags}{shlex.join(arguments)}"
