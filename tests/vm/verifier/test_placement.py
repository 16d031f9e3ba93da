"""Groups of threads: what may stand in them, and what they may use."""

from __future__ import annotations

import pytest

from tileloom import vm
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

HEAD = """func @f(%p: *f32, %n: i32) warps = 8 {
  %g = global_view %p : global<f32, [64]>
  %s = alloc_shared : shared<f32, [64]>
  %b = alloc_mbarrier : mbarrier<[1]>
  %t = full {fill = 0.0} : reg<f32, [64]>
  %v = var 0 : i32
"""

CASES = [
    ("single_thread {\nalloc_shared\n}", None),
    (
        "warp_group 0 to 4 {\n%r = alloc_shared : shared<f32, [4]>\n}",
        "`alloc_shared` can't stand here: all threads of the block share it",
    ),
    (
        "warp_group 0 to 4 {\nfree_shared %s\n}",
        "`free_shared` can't stand here: all threads of the block share it",
    ),
    (
        "warp_group 0 to 4 {\ncluster_barrier\n}",
        "`cluster_barrier` can't stand here: all threads of the cluster meet there, the group is "
        "a part of them",
    ),
    (
        "for %i in 0 to 2 {\n%r = alloc_mbarrier : mbarrier<[4]>\n}",
        "`alloc_mbarrier` can't stand here: barriers live as long as the block and are made once",
    ),
    (
        "single_thread {\nwarp_barrier\n}",
        "`warp_barrier` can't stand here: whole warps run it together",
    ),
    (
        "%r = mbarrier_test %b[0], 0",
        "`mbarrier_test` can't stand here: 256 threads might see different answers",
    ),
    (
        "warp_group 2 to 6 {\nset_registers {count = 40, change = less}\n}",
        "`set_registers` can't stand here: groups of 4 warps, from a multiple of 4 on, change "
        "their registers together",
    ),
    ("set_registers {count = 20, change = less}", "`set_registers`: `count` is 20"),
    ("set_registers {count = 44, change = less}", "`set_registers`: `count` is 44"),
    ("set_registers {count = 40, change = up}", "`set_registers`: unknown `change` `up`"),
    ("warp_group 0 to 9 {\n}", "warps 0 to 9 of 8"),
    ("warp_group 4 to 4 {\n}", "warps 4 to 4 of 8"),
    ("warp_group 2 to 4 {\nwarp_group 2 to 3 {\n}\n}", "warps 2 to 3 of 2"),
    ("warp_group -1 to 3 {\n}", "warps -1 to 3 of 8"),
    ("warp_group %n to 3 {\n}", "a bound of `warp_group` must be a constant integer"),
    ("single_thread {\nwarp_group 0 to 1 {\n}\n}", "a single thread has no groups"),
    ("single_thread {\nsingle_thread {\n}\n}", "a single thread has no groups"),
    (
        "warp_group 0 to 4 {\nreturn\n}",
        "`return` in a group of threads: the others may wait for it at a barrier",
    ),
    (
        "for %i in 0 to 2 {\nsingle_thread {\nbreak\n}\n}",
        "`break` would leave a loop in which the other threads stay",
    ),
    (
        "warp_group 0 to 4 {\nstore %g[0], %t\n}",
        "`%t` lies in the registers of other threads than those of the group",
    ),
    (
        "warp_group 0 to 4 {\nassign %v, 1\n}",
        "`assign`: target is `%v`, which other threads than those of the group read too",
    ),
    (
        "warp_group 0 to 1 {\n%r = full : reg<f32, [64], spatial(64)>\n}",
        "the layout of `%r` needs 64 threads, the function has 32",
    ),
]


@pytest.mark.parametrize(("body", "message"), [case for case in CASES if case[1]])
def test_what_is_refused(body: str, message: str) -> None:
    with pytest.raises(VMError) as caught:
        parse(f"{HEAD}  {body}\n}}")
    assert caught.value.message == message
    assert caught.value.location is not None and caught.value.location.line >= 7


def test_what_is_allowed() -> None:
    text = f"""{HEAD}  for %i in 0 to 2 {{
    warp_group 0 to 4 {{
      %r = load %g[0] : reg<f32, [64]>
      while %v < 3 {{
        break
      }}
      barrier
      warp_group 3 to 4 {{
        %d = mbarrier_test %b[0], %v + %i
        warp_barrier
      }}
    }}
    break
  }}
  assign %v, 1
}}"""
    assert parse(parse(text).text()).text() == parse(text).text()


def test_groups_in_python() -> None:
    @vm.kernel
    def wrong(n: vm.i32) -> None:
        vm.launch(grid=[1], warps=4)
        with vm.warp_group(n, 2):  # type: ignore[arg-type]
            vm.barrier()

    with pytest.raises(VMError) as caught:
        wrong.trace()
    assert caught.value.message == "the warps of a group must be constant integers"
