"""Many blocks: atomics, semaphores, order, deadlock."""

from typing import Any

import numpy as np
import pytest

ATOMIC = """func @f(%p: *{t}, %q: *{t}, %r: *{t}) warps = 1 {{
  %g = global_view %p : global<{t}, [6]>
  %h = global_view %q : global<{t}, [8]>
  %o = global_view %r : global<{t}, [8]>
  %x = load %h[0] : reg<{t}, [8]>
  %old = atomic %g[1], %x {{op = {op}}}
  store %o[0], %old
}}"""
OPERATIONS = {
    "add": lambda a, b: a + b,
    "min": np.minimum,
    "max": np.maximum,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "exchange": lambda a, b: b,
}


@pytest.mark.parametrize("name", ["i32", "u32"])
@pytest.mark.parametrize("op", sorted(OPERATIONS))
def test_atomics_and_their_old_values(interpret: Any, op: str, name: str) -> None:
    kind = {"i32": np.int32, "u32": np.uint32}[name]
    rng = np.random.default_rng(0)
    memory, values = (rng.integers(0, 2**32, n, np.uint32).view(kind) for n in (6, 8))
    before, old = memory.copy(), np.full(8, 77, kind)
    interpret(ATOMIC.format(t=name, op=op), [memory, values, old])
    np.testing.assert_array_equal(memory[1:], OPERATIONS[op](before[1:], values[:5]))
    assert memory[0] == before[0]
    assert old.tolist() == [*before[1:].tolist(), 0, 0, 0]  # the last three lie outside


def test_float_atomics(interpret: Any) -> None:
    memory, values = np.ones(6, np.float32), np.arange(8, dtype=np.float32) / 8
    interpret(ATOMIC.format(t="f32", op="add"), [memory, values, np.zeros(8, np.float32)])
    assert memory.tolist() == [1, 1, 1.125, 1.25, 1.375, 1.5]


def test_several_elements_may_update_one_place(interpret: Any) -> None:
    """Each counts, and each old value is one that memory held."""
    text = """func @f(%p: *i32, %q: *i32) warps = 1 {
  %g = global_view %p : global<i32, [8], strides = [0]>
  %x = full {fill = 3} : reg<i32, [8], replicate(4) * spatial(8)>
  %old = atomic %g[0], %x
  %h = global_view %q : global<i32, [8]>
  store %h[0], %old
}"""
    memory, old = np.array([5], np.int32), np.zeros(8, np.int32)
    interpret(text, [memory, old])
    assert memory.tolist() == [5 + 8 * 3]
    assert sorted(old.tolist()) == [5 + 3 * i for i in range(8)]


LAST_BLOCK = """func @f(%p: *i32, %c: *u32, %q: *i32, %n: i32) warps = 1, grid = [%n] {
  %g = global_view %p : global<i32, [%n]>
  %counter = global_view %c : global<u32, [1]>
  %out = global_view %q : global<i32, [1]>
  %one = full {fill = 1} : reg<i32, [1]>
  %mine = mul %one, block.x
  store %g[block.x], %mine
  %arrived = atomic_scalar %counter[0], 1
  if %arrived == %n - 1 {
    atomic_scalar %counter[0], 0 {op = exchange}
    %total = var 0 : i32
    for %i in 0 to %n {
      %v = load_scalar %g[%i]
      assign %total, %total + %v
    }
    %sum = mul %one, %total
    store %out[0], %sum
  }
}"""


@pytest.mark.parametrize("seed", range(4))
def test_the_last_block_sees_what_all_others_wrote(interpret: Any, seed: int) -> None:
    parts, counter, out = np.zeros(100, np.int32), np.zeros(1, np.uint32), np.zeros(1, np.int32)
    interpret(LAST_BLOCK, [parts, counter, out, 100], seed=seed)
    assert (out[0], counter[0]) == (4950, 0)


TURNS = """func @f(%p: *i32, %q: *i32, %n: i32, %first: i32) warps = 1, grid = [%n] {
  %turn = global_view %p : global<i32, [1]>
  %out = global_view %q : global<i32, [%n]>
  lock %turn[0], block.x + %first
  %at = load_scalar %out[0]
  %one = full {fill = 1} : reg<i32, [1]>
  %next = mul %one, %at + 1
  store %out[0], %next
  %mine = mul %one, %at
  store %out[block.x + 1], %mine
  release %turn[0], block.x + %first + 1
}"""


@pytest.mark.parametrize("seed", range(4))
def test_semaphores_order_blocks(interpret: Any, seed: int) -> None:
    turn, out = np.zeros(1, np.int32), np.zeros(100, np.int32)
    interpret(TURNS, [turn, out, 100, 0], seed=seed)
    assert turn[0] == 100
    assert out.tolist() == [100, *range(99)]


def test_the_seed_chooses_the_order(interpret: Any, capsys: Any) -> None:
    text = "func @f(%n: i32) warps = 1, grid = [%n] {\n  print block.x\n}"
    orders = set()
    for seed in (0, 0, 1, 2):
        interpret(text, [20], seed=seed)
        orders.add(capsys.readouterr().out)
    assert len(orders) == 3
    interpret(text, [20], resident=1)
    assert capsys.readouterr().out.split() == [str(i) for i in range(20)]


def test_a_deadlock_is_reported_with_who_waits_for_what(message: Any) -> None:
    turn, out = np.zeros(1, np.int32), np.zeros(4, np.int32)
    found = message(TURNS, [turn, out, 3, 1])
    assert "deadlock: every resident block waits for something that no one can do" in found
    for block in range(3):
        assert f"note: block [{block}, 0, 0] waits for `%turn`[0] to become {block + 1}" in found


def test_waiting_for_a_block_that_can_not_start(interpret: Any, message: Any) -> None:
    text = """func @f(%p: *i32, %n: i32) warps = 1, grid = [%n] {
  %flag = global_view %p : global<i32, [1]>
  if block.x == %n - 1 {
    release %flag[0], 1
  } else {
    lock %flag[0], 1
  }
}"""
    interpret(text, [np.zeros(1, np.int32), 64])
    found = message(text, [np.zeros(1, np.int32), 66])
    assert "blocks start in order, 64 at a time" in found
    assert "note: and 56 more" in found


SPIN = """func @f(%p: *i32) warps = 1, grid = [2] {
  %flag = global_view %p : global<i32, [2]>
  %one = full {fill = 1} : reg<i32, [1]>
  if block.x == MINE {
    store %flag[0], %one
  } else {
    %seen = var 0 : i32
    while %seen == 0 {
      %now = load_scalar %flag[0]
      assign %seen, %now
    }
    store %flag[1], %one
  }
}"""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mine", [0, 1])
def test_a_spinning_block_lets_others_run(interpret: Any, seed: int, mine: int) -> None:
    flag = np.zeros(2, np.int32)
    interpret(SPIN.replace("MINE", str(mine)), [flag], seed=seed)
    assert flag.tolist() == [1, 1]


def test_spinning_for_what_never_comes(message: Any) -> None:
    found = message(SPIN.replace("MINE", "2"), [np.zeros(2, np.int32)])
    assert "deadlock" in found
    assert "note: block [0, 0, 0] spins in a `while`" in found


def test_a_long_loop_is_no_spin(interpret: Any) -> None:
    out = np.zeros(1, np.int32)
    interpret(
        """func @f(%p: *i32) warps = 1 {
  %g = global_view %p : global<i32, [1]>
  %tile = full : reg<i32, [1]>
  %done = var 0 : i32
  while %done == 0 {
    %next = add %tile, 1
    assign %tile, %next
    %v = item %tile
    if %v == 500 {
      assign %done, 1
    }
  }
  store %g[0], %tile
}""",
        [out],
    )
    assert out[0] == 500


def test_semaphores_lie_inside_their_tensor(message: Any) -> None:
    text = """func @f(%p: *i32, %i: i32) warps = 1 {
  %flag = global_view %p : global<i32, [2]>
  lock %flag[%i], 0
}"""
    assert "index [2] is outside `%flag` of shape [2]" in message(text, [np.zeros(2, np.int32), 2])
