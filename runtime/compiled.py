"""A compiled kernel: everything there is to see of it, and a call that runs it.

    compiled = kernel.compile(target="sm_90a", element="f16")
    compiled.text()         the VM program; .text("lower") and so on: after each pass
    compiled.ptx            the assembly
    compiled.cubin          the machine code; .sass() is its text
    compiled.resources      registers, spills, shared memory, occupancy
    compiled(x, y, n)       runs it: device=None | "cuda" | "interpreter" | "emulator"

The PTX is made when the kernel is (or read from the disk cache), the cubin when it is first asked
for: the interpreter and the emulator need no assembler.
"""

from __future__ import annotations

import os
import threading
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tileloom.vm.diagnostics import Location, VMNameError, did_you_mean, user_errors
from tileloom.vm.ir import Function
from tileloom.vm.tensor_maps import TensorMap

from . import devices, jit, options
from .assemble import Assembled, assemble
from .assemblers import Assembler
from .cache import Entry, disk_cache, key_of
from .cuda import launcher
from .resources import Resources, resources_of
from .sass import disassemble
from .signature import Signature
from .sources import compiler_hash
from .toolkit import available_assembler, find_assembler

if TYPE_CHECKING:
    from tileloom.compiler import Lowered

    from . import emulator
    from .override import OverriddenKernel

_FORMAT = "2"  # of the metadata in the disk cache


@dataclass(frozen=True)
class Generated:
    """What the compiler made: the kernel `name`, taking `dynamic_shared` bytes a block, and maps of
    tensors after its parameters."""

    ptx: str
    name: str
    dynamic_shared: int
    tensor_maps: tuple[TensorMap, ...] = ()


class CompiledKernel:
    """One function, compiled for one target. Get one from `kernel.compile` or `compile_kernel`."""

    def __init__(self, function: Function, target: str, *, far: bool = False) -> None:
        self.function, self.target, self.is_far = function, target, far
        self.signature = Signature(function)
        self.plans = launcher.Plans(self.signature)
        self._lock = threading.Lock()
        self._generated, self._assembled = self._from_disk()
        if self._generated is None:
            jit.note_run("compiled", function.name, target)
            self._generated = generate(function, target, far)
        else:
            jit.note_hit(function.name, target)

    def variant(self, far: bool) -> CompiledKernel:
        """The kernel that a launch takes: another one if its views reach beyond 32 bits, which
        computes places in 64. It is compiled when the first such launch asks for it."""
        return self._far_variant if far and not self.is_far else self

    @cached_property
    def _far_variant(self) -> CompiledKernel:
        return CompiledKernel(self.function, self.target, far=True)

    @property
    def name(self) -> str:
        """The kernel's name in the PTX: the function's, with `_` for what PTX doesn't allow."""
        assert self._generated is not None
        return self._generated.name

    @property
    def num_threads(self) -> int:
        """Threads of a block."""
        return self.function.num_threads

    @property
    def dynamic_shared(self) -> int:
        """Bytes of shared memory a launch asks for."""
        assert self._generated is not None
        return self._generated.dynamic_shared

    @property
    def tensor_maps(self) -> tuple[TensorMap, ...]:
        """The maps of tensors that a launch passes after the arguments."""
        assert self._generated is not None
        return self._generated.tensor_maps

    @property
    def ptx(self) -> str:
        """The assembly."""
        assert self._generated is not None
        return self._generated.ptx

    @property
    @user_errors()
    def cubin(self) -> bytes:
        """The machine code.

        Raises:
            ToolMissingError: there is no assembler.
            AssemblerError: it rejects the PTX.
        """
        return self.assembled.cubin

    @property
    @user_errors()
    def assembled(self) -> Assembled:
        """The machine code and what the assembler said; assembled once, then kept on disk."""
        if self._assembled is None:
            with self._lock:
                if self._assembled is None:
                    self._assembled = self._assemble()
        return self._assembled

    @cached_property
    @user_errors()
    def resources(self) -> Resources:
        """Registers, spills, shared memory, occupancy. Raises what `cubin` does."""
        return resources_of(self.assembled, self.name, self.num_threads, self.dynamic_shared)

    @user_errors()
    def sass(self, *, line_info: bool = False) -> str:
        """The machine code as text, with the user's lines as comments if `line_info`.

        Raises:
            ToolMissingError: nvdisasm isn't there; or what `cubin` raises.
        """
        if not line_info:
            return disassemble(self.cubin)
        # The PTX that launches use names no files, so that it is the same wherever it is made.
        located = lower(self.function, self.target, with_locations=True, far=self.is_far)
        return disassemble(assemble(located.ptx, self.target).cubin, line_info=True)

    @cached_property
    @user_errors()
    def stages(self) -> dict[str, str]:
        """The program as text after each pass, in the passes' order."""
        return dict(lower(self.function, self.target, keep_stages=True, far=self.is_far).stages)

    def place_of(self, ptx_line: int) -> Location | None:
        """The place in the user's program that a line of the PTX (from 1) was made from."""
        known = [line for line in self._lines if line <= ptx_line]
        return self._lines[max(known)] if known else None

    @cached_property
    def _lines(self) -> dict[int, Location]:
        # Not kept with the PTX: only errors ask.
        return lower(self.function, self.target, far=self.is_far).lines

    @cached_property
    def emulated(self) -> emulator.Kernel:
        """The PTX as the emulator has read it."""
        from . import emulator

        return emulator.parse_module(self.ptx).kernels[self.name]

    @user_errors()
    def text(self, stage: str | None = None) -> str:
        """The VM program as text: as written, or after the pass named `stage`.

        Raises:
            VMNameError: there is no such pass.
        """
        if stage is None:
            return self.function.text()
        if stage not in self.stages:
            known = ", ".join(f"`{name}`" for name in self.stages)
            raise VMNameError(
                f"there is no stage `{stage}`",
                hint=did_you_mean(stage, self.stages) or f"the stages: {known}",
            )
        return self.stages[stage]

    @user_errors()
    def __call__(
        self,
        *arguments: Any,
        device: str | None = None,
        stream: Any = None,
        programmatic: bool = False,
    ) -> None:
        """Runs the kernel on arrays and numbers, in the parameters' order.

        On `cuda` it returns when the launch is queued on `stream` (default: torch's or cupy's
        current one where such arrays are passed, else the default stream); arrays in the host's
        memory are copied there and back, which waits. A `programmatic` launch may start while the
        one before it on the stream still runs: the kernel must wait for it (`wait_dependencies`).

        Raises:
            LaunchError: an argument doesn't fit.
            DeviceError: the device is unknown, absent, or failed.
        """
        devices.run(self, arguments, device, stream, programmatic)

    @user_errors()
    def prepare(self, *arguments: Any) -> launcher.Prepared:
        """The launch on these arrays of a GPU, checked once, to be started again and again."""
        return launcher.prepare(self, arguments)

    @user_errors()
    def override(
        self, *, ptx: str | os.PathLike[str], dynamic_shared: int | None = None
    ) -> OverriddenKernel:
        """This kernel with edited PTX (its text, or the path of a file), to be run as it is.

        It must have the same name and parameters; `dynamic_shared` are the bytes of shared memory
        a launch asks for (default: as many as before).

        Raises:
            VMError: the PTX can't be read, or is another kernel's.
        """
        from .override import OverriddenKernel

        return OverriddenKernel(self, ptx, dynamic_shared)

    def __repr__(self) -> str:
        return f"<compiled kernel {self.name} for {self.target}>"

    def _repr_html_(self) -> str:
        """What notebooks show: resources, and the texts folded."""
        from .inspect.notebook import kernel_card

        return kernel_card(self)

    def _key(self, assembler: Assembler) -> str:
        return key_of(
            _FORMAT, self.function.text(), self.target, compiler_hash(), assembler.identity,
            *options.current().assembler_flags, *(["far"] if self.is_far else []),
        )  # fmt: skip

    def _from_disk(self) -> tuple[Generated | None, Assembled | None]:
        disk = disk_cache()
        assembler = available_assembler() if disk is not None else None
        if disk is None or assembler is None:
            return None, None
        entry = disk.get(self._key(assembler))
        return (None, None) if entry is None else _decoded(entry)

    def _assemble(self) -> Assembled:
        assembler = find_assembler()
        disk = disk_cache()

        def make() -> Entry:
            jit.note_run("assembled", self.function.name, self.target)
            assembled = assemble(self.ptx, self.target, assembler=assembler, place_of=self.place_of)
            assert self._generated is not None
            metadata = {"generated": asdict(self._generated), "assembled": assembled.metadata()}
            return Entry(metadata, assembled.cubin)

        entry = make() if disk is None else disk.get_or_make(self._key(assembler), make)
        _, assembled = _decoded(entry)
        if assembled is None:  # a whole entry with another's metadata: a cache we can't trust
            _, assembled = _decoded(make())
        assert assembled is not None
        return assembled


def _decoded(entry: Entry) -> tuple[Generated | None, Assembled | None]:
    try:
        generated = _generated(entry.metadata["generated"])
        return generated, Assembled.from_metadata(entry.metadata["assembled"], entry.payload)
    except (KeyError, TypeError):
        return None, None


def _generated(metadata: dict[str, Any]) -> Generated:
    """What `asdict` made of a `Generated`, read from JSON."""
    maps = tuple(
        TensorMap(m["view"], tuple(m["dims"]), tuple(m["box"]), m["bits"], m["swizzle"])
        for m in metadata.pop("tensor_maps")
    )
    return Generated(**metadata, tensor_maps=maps)


@user_errors()
def compile_kernel(function: Function, target: str = "sm_90a") -> CompiledKernel:
    """The function compiled for a target.

    Raises:
        VMError: the function, or the target, isn't one the compiler takes.
    """
    return CompiledKernel(function, target)


def generate(function: Function, target: str, far: bool = False) -> Generated:
    """The compiler's work: a function's PTX."""
    lowered = lower(function, target, far=far)
    return Generated(lowered.ptx, lowered.kernel_name, lowered.shared_bytes, lowered.tensor_maps)


def lower(function: Function, target: str, **wanted: bool) -> Lowered:
    """Runs the compiler, which is imported when it is first needed: a kernel that comes from the
    disk cache doesn't need it."""
    from tileloom.compiler import compile_function

    return compile_function(function, target, **wanted)
