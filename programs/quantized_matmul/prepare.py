"""`prepare`: everything `linear` needs on a GPU, made beforehand."""

from __future__ import annotations

from typing import Any

from tileloom.vm.diagnostics import UsageError, VMValueError, user_errors

from .eight_bit_packing import BytePacked
from .packing import Packed
from .plan import Plan, plan
from .schedule import H100, Machine


@user_errors()
def prepare(
    p: Packed,
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

    Raises:
        VMError: `p` isn't packed, or `max_m` no number of tokens.
    """
    from tileloom.runtime.cuda.context import current_device
    from tileloom.runtime.devices import choose

    from .device import gpu_weights, loaded, machine_of

    if isinstance(p, BytePacked):
        raise UsageError(
            f"nothing is prepared for {p.activation} activations",
            hint="call `linear` once for each number of tokens, with `out`",
        )
    if not isinstance(p, Packed):
        raise UsageError(
            f"`p` is a {type(p).__name__}, not a packed weight",
            hint='prepare(pack(quantize(w, "u4")))',
        )
    if not isinstance(max_m, int) or max_m < 1:
        raise VMValueError(f"`max_m` is {max_m}", hint="a whole number, at least one token")
    if choose(None) != "cuda":
        return None
    gpu = current_device()
    sizes = (0, 0)
    usable = [v for v in vectors if p.k % v == 0] or [next(v for v in (8, 4, 2, 1) if p.k % v == 0)]
    machine = machine_of(gpu.ordinal)
    for activation in activations or (p.activation,):
        out = out_dtype or activation
        for vector in usable:
            for chosen in plans(p, max_m, activation, out, bias, vector, machine):
                loaded(chosen.config, gpu.ordinal)
                need = chosen.workspace
                sizes = max(sizes[0], need[0]), max(sizes[1], need[1])
    _ = p.scale_down  # is kept
    return gpu_weights(p, gpu.ordinal).reserve(sizes)


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
