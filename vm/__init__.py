"""The virtual machine: dtypes, programs (as Python or as text), their meaning and their checks.

    from tileloom import vm

    @vm.kernel
    def scale(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32], n: vm.i32):
        vm.launch(grid=[vm.cdiv(n, 1024)], warps=4)
        gx, gy = vm.global_view(x, [n]), vm.global_view(y, [n])
        start = vm.block_index() * 1024
        vm.store(gy, [start], vm.load(gx, [start], shape=[1024]) * 2.0)

Everything a program may say is a function here; `vm.kernel` traces it.
"""

from typing import TYPE_CHECKING

from tileloom.layouts.tracebacks import users_mistake

from .diagnostics import user_errors
from .diagnostics.suggest import did_you_mean
from .dsl.bulk import (
    bulk_commit,
    bulk_wait,
    copy_bulk,
    copy_tensor,
    prefetch,
    store_bulk,
    store_tensor,
)
from .dsl.cluster import (
    cluster_barrier,
    cluster_index,
    cluster_rank,
    launch_dependents,
    load_remote,
    store_remote,
    wait_dependencies,
)
from .dsl.control import (
    break_,
    constant,
    launch,
    loop,
    otherwise,
    return_,
    single_thread,
    warp_group,
    when,
)
from .dsl.control import range_ as range
from .dsl.division import Divisor
from .dsl.kernel import Kernel, Ptr, kernel
from .dsl.math import (
    ceil,
    clip,
    exp,
    exp2,
    floor,
    fma,
    log,
    log2,
    rcp,
    rsqrt,
    sigmoid,
    sqrt,
    tanh,
    trunc,
    where,
)
from .dsl.math import maximum_ as maximum
from .dsl.math import minimum_ as minimum
from .dsl.math import round_ as round
from .dsl.mbarrier import (
    alloc_mbarrier,
    mbarrier_arrive,
    mbarrier_expect,
    mbarrier_test,
    mbarrier_wait,
    set_registers,
)
from .dsl.movement import (
    gather,
    load_matrix,
    scan,
    scatter,
    shuffle,
    squeeze,
    store_matrix,
    unsqueeze,
)
from .dsl.ops import (
    alloc_shared,
    arange,
    assert_,
    assume,
    atomic,
    atomic_scalar,
    block_index,
    broadcast,
    cast,
    cdiv,
    concat,
    convert_layout,
    copy_async,
    copy_async_commit,
    copy_async_wait,
    decode,
    empty,
    free_shared,
    full,
    global_view,
    grid_size,
    item,
    larger,
    load,
    load_scalar,
    mma,
    reduce,
    repack,
    reshape,
    simt_dot,
    smaller,
    store,
    transpose,
    trap,
    var,
    view,
)
from .dsl.ops import print_ as print
from .dsl.pipeline import Pipeline
from .dsl.sync import barrier, fence, fence_proxy_async, lock, release, warp_barrier
from .dsl.tiles import Segment, SharedSums, StreamK, in_bands, persistent_tiles
from .dsl.values import Scalar, select
from .dsl.wgmma import wgmma, wgmma_commit, wgmma_wait
from .dtypes import (
    Dtype,
    b1,
    bf16,
    bool_,
    codebook,
    dtype,
    e2m1,
    e2m3,
    e3m2,
    e4m3,
    e5m2,
    e8m0,
    f16,
    f32,
    f64,
    i2,
    i3,
    i4,
    i5,
    i6,
    i7,
    i8,
    i16,
    i32,
    i64,
    nf4,
    tf32,
    u1,
    u2,
    u3,
    u4,
    u5,
    u6,
    u7,
    u8,
    u16,
    u32,
    u64,
)
from .ir import Function
from .packing import CONTIGUOUS, PAIRED, Packing


@user_errors()
def parse(text: str, file: str = "<text>") -> Function:
    """The VM program that a text says; `parse(text).text()` is its canonical form.

    Raises:
        VMError: with the place of the first mistake.
    """
    from .text import parse as parse_text

    return parse_text(text, file)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        hint = did_you_mean(name, __all__)
        text = f"`tileloom.vm` has no `{name}`" + (f": {hint}" if hint else "")
        raise users_mistake(AttributeError(text))


__all__ = [
    "CONTIGUOUS",
    "PAIRED",
    "Divisor",
    "Dtype",
    "Function",
    "Kernel",
    "Packing",
    "Pipeline",
    "Ptr",
    "Scalar",
    "Segment",
    "SharedSums",
    "StreamK",
    "alloc_mbarrier",
    "alloc_shared",
    "arange",
    "assert_",
    "assume",
    "atomic",
    "atomic_scalar",
    "b1",
    "barrier",
    "bf16",
    "block_index",
    "bool_",
    "break_",
    "broadcast",
    "bulk_commit",
    "bulk_wait",
    "cast",
    "cdiv",
    "ceil",
    "clip",
    "cluster_barrier",
    "cluster_index",
    "cluster_rank",
    "codebook",
    "concat",
    "constant",
    "convert_layout",
    "copy_async",
    "copy_async_commit",
    "copy_async_wait",
    "copy_bulk",
    "copy_tensor",
    "decode",
    "dtype",
    "e2m1",
    "e2m3",
    "e3m2",
    "e4m3",
    "e5m2",
    "e8m0",
    "empty",
    "exp",
    "exp2",
    "f16",
    "f32",
    "f64",
    "fence",
    "fence_proxy_async",
    "floor",
    "fma",
    "free_shared",
    "full",
    "gather",
    "global_view",
    "grid_size",
    "i2",
    "i3",
    "i4",
    "i5",
    "i6",
    "i7",
    "i8",
    "i16",
    "i32",
    "i64",
    "in_bands",
    "item",
    "kernel",
    "larger",
    "launch",
    "launch_dependents",
    "load",
    "load_matrix",
    "load_remote",
    "load_scalar",
    "lock",
    "log",
    "log2",
    "loop",
    "maximum",
    "mbarrier_arrive",
    "mbarrier_expect",
    "mbarrier_test",
    "mbarrier_wait",
    "minimum",
    "mma",
    "nf4",
    "otherwise",
    "parse",
    "persistent_tiles",
    "prefetch",
    "print",
    "range",
    "rcp",
    "reduce",
    "release",
    "repack",
    "reshape",
    "return_",
    "round",
    "rsqrt",
    "scan",
    "scatter",
    "select",
    "set_registers",
    "shuffle",
    "sigmoid",
    "simt_dot",
    "single_thread",
    "smaller",
    "sqrt",
    "squeeze",
    "store",
    "store_bulk",
    "store_matrix",
    "store_remote",
    "store_tensor",
    "tanh",
    "tf32",
    "transpose",
    "trap",
    "trunc",
    "u1",
    "u2",
    "u3",
    "u4",
    "u5",
    "u6",
    "u7",
    "u8",
    "u16",
    "u32",
    "u64",
    "unsqueeze",
    "var",
    "view",
    "wait_dependencies",
    "warp_barrier",
    "warp_group",
    "wgmma",
    "wgmma_commit",
    "wgmma_wait",
    "when",
    "where",
]
