"""The user's side: parse a module, launch its kernels on numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from .errors import EmulatorError
from .machine import Machine, Options
from .memory import GLOBAL_START, PARAM_WINDOW, Memory
from .parser import parse
from .program import Program, build
from .syntax import Param, ParsedModule
from .tensor_maps import SIZE, Placed, TensorMap
from .traffic import LineTraffic
from .types import Array

_RESIDENT_LANES = 16384
_RESIDENT_SHARED = 1 << 27


@dataclass(frozen=True, slots=True)
class LaunchStatistics:
    """What a launch executed: `instructions` counts warps times instructions.

    `profile` gives for each PTX line how many warps executed it. `traffic` gives what its memory
    accesses took, if the launch was asked to count that.
    """

    instructions: int
    profile: Mapping[int, int]
    traffic: Mapping[int, LineTraffic] = field(default_factory=dict)


class Kernel:
    """An `.entry` of a module, ready to launch."""

    def __init__(self, program: Program, module: ParsedModule) -> None:
        self._program = program
        self._module = module
        self.name = program.body.name

    @property
    def params(self) -> tuple[Param, ...]:
        return self._program.body.params

    def launch(
        self,
        grid: Sequence[int] | int,
        block: Sequence[int] | int,
        args: Sequence[object],
        shared_bytes: int = 0,
        seed: int = 0,
        limit: int = 200_000_000,
        asynchronous: str = "late",
        cluster: Sequence[int] | int | None = None,
        check_races: bool = True,
        count_traffic: bool = False,
    ) -> LaunchStatistics:
        """Runs the kernel; arrays among `args` are global buffers and are changed in place.

        `args`, in the order of the parameters: C-contiguous arrays for pointers, numbers for
        scalars, a `TensorMap` or bytes for `.align`ed byte parameters. `shared_bytes` is the
        dynamic shared memory, undefined at first. A `seed` other than 0 shuffles the order in which
        warps run. `limit`
        bounds the instructions executed. Asynchronous copies land as "late" or as "early" as
        allowed. `cluster` is the extent of clusters in blocks, unless the kernel says it itself.
        `check_races` looks for races on shared memory. `count_traffic` counts bank conflicts and
        sectors, at several times the cost of an access. Raises EmulatorError when the kernel breaks
        a rule, and ValueError for arguments that don't fit.
        """
        if asynchronous not in ("late", "early"):
            raise ValueError(f"asynchronous is {asynchronous!r}, not 'late' or 'early'")
        program = self._program
        memory = Memory()
        self._place_variables(memory)
        memory.params = self._pack(memory, args)
        memory.reset_blocks(program.shared_static + shared_bytes, program.body.local_bytes)
        dims = _dims(grid, "grid"), _dims(block, "block")
        threads = dims[1][0] * dims[1][1] * dims[1][2]
        if not 0 < threads <= 1024:
            raise ValueError(f"a block of {threads} threads is not possible")
        resident = max(1, _RESIDENT_LANES // (-(-threads // 32) * 32))
        # The check for races keeps about 4 bytes a warp for each word of shared memory.
        room = _RESIDENT_SHARED // (1 + (threads // 32 if check_races else 0))
        resident = max(1, min(resident, room // memory.shared_stride))
        clusters = self._clusters(dims[0], cluster)
        size = clusters[0] * clusters[1] * clusters[2]
        resident = max(size, resident // size * size)
        program.reset()
        with np.errstate(all="ignore"):
            early = asynchronous == "early"
            options = Options(seed, limit, early, check_races, count_traffic)
            machine = Machine(program, memory, *dims, clusters, resident, options)
            machine.run()
        lines = {} if machine.traffic is None else machine.traffic.lines
        return LaunchStatistics(program.executed(), program.profile(), lines)

    def _clusters(
        self, grid: tuple[int, int, int], given: Sequence[int] | int | None
    ) -> tuple[int, int, int]:
        required = self._program.body.cluster
        wanted = required or (1, 1, 1) if given is None else _dims(given, "cluster")
        if required is not None and wanted != required:
            raise ValueError(f"the kernel needs clusters of {required} blocks, not {wanted}")
        if min(wanted) < 1 or any(n % step for n, step in zip(grid, wanted, strict=True)):
            raise ValueError(f"clusters of {wanted} blocks don't divide the grid {grid}")
        return wanted

    def _place_variables(self, memory: Memory) -> None:
        found = [*self._module.variables.values(), *self._program.body.variables.values()]
        placed = [v for v in found if v.space in ("global", "const")]
        if placed:
            data = np.zeros(max(v.offset + v.size for v in placed), np.uint8)
            for variable in placed:
                if variable.data is not None:
                    content = np.frombuffer(variable.data, np.uint8)
                    data[variable.offset : variable.offset + len(content)] = content
            assert memory.allocate("variables of the module", data) == GLOBAL_START

    def _pack(self, memory: Memory, args: Sequence[object]) -> Array:
        params = self.params
        if len(args) != len(params):
            raise ValueError(f"`{self.name}` takes {len(params)} arguments, not {len(args)}")
        packed = np.zeros(max((p.offset + p.size for p in params), default=0), np.uint8)
        for param, arg in zip(params, args, strict=True):
            if isinstance(arg, TensorMap):
                continue
            content = _argument(memory, param, arg)
            packed[param.offset : param.offset + len(content)] = np.frombuffer(content, np.uint8)
        for param, arg in zip(params, args, strict=True):
            if isinstance(arg, TensorMap):
                address = PARAM_WINDOW + param.offset
                memory.tensor_maps[address] = _placed(memory, params, packed, param, arg)
        return packed


def _placed(
    memory: Memory, params: Sequence[Param], packed: Array, param: Param, map_: TensorMap
) -> Placed:
    """A tensor map with the memory of the array it is of."""
    if param.size != SIZE:
        raise ValueError(f"parameter `{param.name}` is no tensor map")
    of = params[map_.argument]
    pointer = int(packed[of.offset : of.offset + of.size].view(np.uint64)[0])
    storage, start = memory.span(pointer, 0, False)
    return Placed(map_, storage, start)


def _argument(memory: Memory, param: Param, arg: object) -> bytes:
    """An argument as the bytes of its parameter; arrays are placed in memory."""
    if isinstance(arg, np.ndarray) and arg.ndim == 0:
        arg = arg[()]
    if isinstance(arg, np.ndarray):
        if param.size != 8:
            raise ValueError(f"parameter `{param.name}` is no pointer")
        if not arg.flags.c_contiguous:
            raise ValueError(f"the array for `{param.name}` is not contiguous")
        flat = arg.reshape(-1).view(np.uint8)
        return memory.allocate(param.name, flat).to_bytes(8, "little")
    if isinstance(arg, bytes):
        if len(arg) != param.size:
            raise ValueError(f"parameter `{param.name}` has {param.size} bytes, not {len(arg)}")
        return arg
    if isinstance(arg, np.generic) and arg.dtype.itemsize == param.size:
        return arg.tobytes()
    if param.type.is_float and isinstance(arg, float | int | np.number):
        return np.array(arg, param.type.view).tobytes()
    if isinstance(arg, int | np.integer | np.bool_):
        value = int(arg)
        if not -(1 << (8 * param.size - 1)) <= value < 1 << (8 * param.size):
            raise ValueError(f"{value} does not fit parameter `{param.name}`")
        return (value % (1 << (8 * param.size))).to_bytes(param.size, "little")
    raise ValueError(f"parameter `{param.name}` can't take a {type(arg).__name__}")


def _dims(value: Sequence[int] | int, what: str) -> tuple[int, int, int]:
    sizes = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    if not 1 <= len(sizes) <= 3 or min(sizes) < 0:
        raise ValueError(f"{what} {value!r} is not one to three sizes")
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


class Module:
    """A parsed PTX module; `kernels` maps the names of its entries to launchable kernels."""

    def __init__(self, parsed: ParsedModule) -> None:
        self.version = parsed.version
        self.target = parsed.target
        self.kernels: dict[str, Kernel] = {
            name: Kernel(build(body, parsed, GLOBAL_START), parsed)
            for name, body in parsed.functions.items()
        }


@lru_cache(maxsize=16)
def parse_module(text: str) -> Module:
    """Parses and links PTX text, or remembers it. Raises EmulatorError for anything unknown, naming
    the line."""
    return Module(parse(text))


__all__ = ["EmulatorError", "Kernel", "LaunchStatistics", "Module", "parse_module"]
