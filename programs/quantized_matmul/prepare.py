"""`prepare`: everything `linear` needs on a GPU, made beforehand."""

from __future__ import annotations

from typing import Any

from tileloom.programs.activations.activations import quantize_activations, stride_of
from tileloom.runtime.arrays import storage
from tileloom.runtime.cuda.context import current_device
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.runtime.devices import choose
from tileloom.vm.diagnostics import UsageError, VMValueError, user_errors
from tileloom.vm.dtypes import dtype

from .eight_bit_packing import BytePacked
from .eight_bit_plan import BytePlan, plan_bytes
from .packing import Packed
from .plan import AnyPlan, Plan, plan
from .schedule import H100, Machine

_FLOATS = ("f16", "bf16", "f32")


@user_errors()
def prepare(
    p: Packed | BytePacked,
    max_m: int = 256,
    *,
    activations: tuple[str, ...] | None = None,
    out_dtype: str | None = None,
    bias: str = "",
    vectors: tuple[int, ...] = (8,),
) -> Any:
    """Compiles, loads and allocates all that `linear` needs for 1 to `max_m` tokens on the GPU.

    Afterwards `linear(x, p)` neither compiles, allocates (give it `out`) nor synchronises, for x of
    the packed tensor's activation dtype (or `activations`), 16-byte aligned. Gives the workspace,
    which `linear` finds by itself for the first stream; pass it to be sure. Where `linear` runs on
    no GPU by default there is nothing to prepare, and None is given.

    For a weight packed for "i8" or "e4m3", x is what `quantize_activations` gives; "f16", "bf16" or
    "f32" among `activations` prepares for floats, which `linear` quantizes first. Results are f16
    unless `out_dtype` says otherwise, or those of bf16 activations bf16.

    Raises:
        VMError: `p` isn't packed, `max_m` no number of tokens, or `p` not for the `activations`.
    """
    if not isinstance(p, Packed | BytePacked):
        raise UsageError(
            f"`p` is a {type(p).__name__}, not a packed weight",
            hint='prepare(pack(quantize(w, "u4")))',
        )
    if not isinstance(max_m, int) or max_m < 1:
        raise VMValueError(f"`max_m` is {max_m}", hint="a whole number, at least one token")
    given = activations or (p.activation,)
    _check_activations(p, given)
    if choose(None) != "cuda":
        return None
    from .device import gpu_weights, kernel_of, machine_of

    gpu = current_device()
    machine = machine_of(gpu.ordinal)
    found: list[AnyPlan] = []
    for activation in given:
        if isinstance(p, BytePacked):
            found += byte_plans(p, max_m, activation, out_dtype, bias, machine)
            _prepare_floats(p, max_m, activation)
        else:
            for vector in _usable(p.k, vectors):
                found += plans(p, max_m, activation, out_dtype or activation, bias, vector, machine)
    sizes = (0, 0)
    for chosen in found:
        kernel_of(chosen, p, gpu.ordinal)
        need = chosen.workspace
        sizes = max(sizes[0], need[0]), max(sizes[1], need[1])
    _ = p.scale_down if isinstance(p, Packed) else None  # is kept
    return gpu_weights(p, gpu.ordinal).workspaces.reserve(sizes)


def _check_activations(p: Packed | BytePacked, given: tuple[str, ...]) -> None:
    known = (p.activation, *_FLOATS) if isinstance(p, BytePacked) else _FLOATS[:2]
    for name in given:
        if name not in known:
            raise VMValueError(
                f"`activations` names `{name}`, which the weight isn't packed for",
                hint=f"one of {', '.join(known)}",
            )


def _usable(k: int, vectors: tuple[int, ...]) -> list[int]:
    """The numbers of elements that rows of x can be read in."""
    return [v for v in vectors if k % v == 0] or [next(v for v in (8, 4, 2, 1) if k % v == 0)]


def _prepare_floats(p: BytePacked, max_m: int, activation: str) -> None:
    """Memory for `max_m` rows of codes, and the program that writes them, run once."""
    if activation not in _FLOATS:
        return
    from .device import gpu_weights

    gpu = current_device()
    stride = stride_of(p.k)
    rows = gpu_weights(p, gpu.ordinal).rows.reserve((max_m * stride, max_m))
    x = DeviceArray((1, p.k), storage(dtype(activation)), gpu)
    x.fill_bytes(0)
    quantize_activations(
        x, p.activation, out=rows.activations((1,), p.k, p.activation), device="cuda"
    )
    gpu.synchronize()


def byte_plans(
    p: BytePacked,
    max_m: int,
    activation: str,
    out: str | None = None,
    bias: str = "",
    machine: Machine = H100,
) -> list[BytePlan]:
    """The plans of 8-bit activations for every m from 1 to `max_m`."""
    wanted = out or ("bf16" if activation == "bf16" else "f16")
    sizes = range(1, max_m + 1)
    return [plan_bytes(p, m, wanted, bias, machine=machine) for m in sizes]


def plans(
    p: Packed,
    max_m: int,
    activation: str,
    out: str,
    bias: str = "",
    vector: int = 8,
    machine: Machine = H100,
) -> list[Plan]:
    """The plans for every m from 1 to `max_m`, without repeating a configuration at one size.

    Above the largest tile of tokens the kernel no longer changes shape, only its number of parts of
    k, which every m decides for itself.
    """
    sizes = range(1, max_m + 1)
    return [plan(p, m, activation, out, bias, vector, machine=machine) for m in sizes]
