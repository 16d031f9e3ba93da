"""Groups of threads on the interpreter: they run at the same time, and races between them show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tileloom.vm import parse
from tileloom.vm.interpreter import run

RING = (Path(__file__).parents[1] / "text/corpus/groups.vm").read_text()
SEEDS = range(5)


def rows(count: int = 6) -> tuple[np.ndarray, np.ndarray, int]:
    x = np.random.default_rng(0).normal(size=(count, 128)).astype(np.float32)
    return x, np.zeros_like(x), count


@pytest.mark.parametrize("seed", SEEDS)
def test_a_producer_and_a_consumer(seed: int) -> None:
    x, y, n = rows()
    run(parse(RING), [x, y, n], seed=seed)
    np.testing.assert_array_equal(y, x + np.float32(1))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("      mbarrier_wait %empty[0], %i + 1\n", ""), ("race on `%s`", "lacks", "deadlock")),
        (("      mbarrier_wait %full[0], %i\n", ""), ("race on `%s`", "uninitialised")),
        (("      barrier\n", ""), ("race on `%s`",)),
    ],
)
def test_what_is_missing_is_found_in_any_order(
    message: Callable[..., str], seed: int, change: tuple[str, str], said: tuple[str, ...]
) -> None:
    assert change[0] in RING
    text = message(RING.replace(*change), rows(), seed=seed)
    assert any(words in text for words in said), text


def test_scalars_and_views_may_stand_between_groups() -> None:
    x, y, n = rows()
    text = RING.replace(
        "  warp_group 4 to 8 {",
        "  %k = var %n : i32\n  %gz = global_view %y : global<f32, [%n]>\n  warp_group 4 to 8 {",
    )
    run(parse(text), [x, y, n])
    np.testing.assert_array_equal(y, x + np.float32(1))


def test_groups_with_a_meeting_in_between_run_one_after_the_other(
    message: Callable[..., str],
) -> None:
    text = RING.replace("  warp_group 4 to 8 {", "  barrier\n  warp_group 4 to 8 {")
    said = message(text, rows())
    assert "deadlock" in said and "let groups that wait for each other follow each other" in said


def test_a_deadlock_names_the_groups(message: Callable[..., str]) -> None:
    text = message(RING.replace("%empty[0], %i + 1", "%empty[0], %i"), rows())
    assert "note: block [0, 0, 0], warps 0 to 4 waits for the phase of parity 0 of `%empty`" in text
    assert "note: block [0, 0, 0], warps 4 to 8 waits for the phase of parity 0 of `%full`" in text


PAIR = """func @f(%x: *f32, %y: *f32) warps = 4 {
  %gx = global_view %x : global<f32, [64]>
  %gy = global_view %y : global<f32, [64]>
  %s = alloc_shared : shared<f32, [64]>
  warp_group 0 to 2 {
    %a = load %gx[0] : reg<f32, [64], spatial(64)>
    store %s[0], %a
    INSIDE
  }
  BETWEEN
  warp_group FIRST {
    %b = load %s[0] : reg<f32, [64], LAYOUT>
    store %gy[0], %b
  }
}"""


def pair(between: str = "", first: str = "0 to 2", layout: str = "spatial(64)", **k: str) -> str:
    text = PAIR.replace("BETWEEN", between).replace("FIRST", first).replace("LAYOUT", layout)
    return text.replace("INSIDE", k.get("inside", ""))


REVERSED = "replicate(64) * local(64)"


@pytest.mark.parametrize(
    "text",
    [
        pair(),
        pair("barrier", "2 to 4"),
        pair("barrier", "0 to 2", REVERSED),
        pair("", "0 to 2", REVERSED, inside="barrier"),
    ],
)
def test_orders_that_hold(text: str) -> None:
    x, y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    run(parse(text), [x, y])
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(
    "text",
    [
        pair("%z = full {fill = 0.0} : reg<f32, [1]>", "2 to 4"),
        pair("", "0 to 2", REVERSED),
        pair("", "1 to 3"),
        pair("%z = full {fill = 0.0} : reg<f32, [1]>", "2 to 4", inside="barrier"),
    ],
)
def test_the_end_of_a_group_orders_nothing(message: Callable[..., str], text: str) -> None:
    said = message(text, [np.zeros(64, np.float32), np.zeros(64, np.float32)])
    assert "race on `%s`: element" in said and "nothing in between that orders the two" in said


def test_one_thread_is_in_order_with_itself_only(message: Callable[..., str]) -> None:
    text = """func @f(%y: *f32) warps = 2 {
  %gy = global_view %y : global<f32, [2]>
  %s = alloc_shared : shared<f32, [1]>
  single_thread {
    %a = full {fill = 2.0} : reg<f32, [1]>
    store %s[0], %a
    %b = load %s[0] : reg<f32, [1]>
    store %gy[0], %b
  }
  barrier
  %c = load %s[0] : reg<f32, [1]>
  store %gy[1], %c
}"""
    y = np.zeros(2, np.float32)
    run(parse(text), [y])
    assert y.tolist() == [2, 2]
    assert "race on `%s`" in message(text.replace("  barrier\n", ""), [y])


def test_groups_within_groups_and_scalars_from_around() -> None:
    text = """func @f(%y: *i32, %n: i32) warps = 4 {
  %gy = global_view %y : global<i32, [4, 32]>
  %m = var %n * 2 : i32
  for %i in 0 to 2 {
    warp_group 2 to 4 {
      %k = var %m + %i : i32
      warp_group 1 to 2 {
        %a = full {fill = 0} : reg<i32, [32]>
        %b = add %a, %k
        store %gy[3, 0], %b {dims = [1]}
      }
      assign %k, %k + 100
      single_thread {
        %c = full {fill = 0} : reg<i32, [1]>
        %d = add %c, %k
        store %gy[2, %i], %d {dims = [1]}
      }
    }
    assign %m, %m + 1000
  }
}"""
    y = np.zeros((4, 32), np.int32)
    run(parse(text), [y, 7])
    assert y[2, :2].tolist() == [114, 1115] and set(y[3]) == {1015} and not y[:2].any()


def test_proxy_fences_are_those_of_the_group() -> None:
    """A group's fence says nothing of what another group wrote."""
    from tileloom.vm.diagnostics import ExecutionError
    from tileloom.vm.instructions.memory import AllocShared
    from tileloom.vm.interpreter.boxes import place
    from tileloom.vm.interpreter.clocked import ClockedTile
    from tileloom.vm.interpreter.clocks import Clocks, Stream
    from tileloom.vm.ir import Part, instructions

    function = parse(pair())
    tile_type = next(i for i in instructions(function.body) if isinstance(i, AllocShared)).result
    assert tile_type is not None
    clocks = Clocks()
    one, other = Stream(clocks, 0, Part(0, 32)), Stream(clocks, 0, Part(32, 32))
    tile = ClockedTile("s", tile_type.type, None, clocks=clocks)  # type: ignore[arg-type]
    box = place((0,), (64,), (64,), None)
    data = np.ones(64, np.float32)
    clocks.current = one
    tile.write(box, data, None, np.zeros(64, np.int32), None, True)
    clocks.current = other
    tile.fence_proxy()
    with pytest.raises(ExecutionError, match="asynchronous proxy"):
        tile.refuse_unfenced(box, "read")
    clocks.current = one
    tile.fence_proxy()
    tile.refuse_unfenced(box, "read")
