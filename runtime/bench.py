"""How long a kernel takes, measured as a user would meet it: back to back, with cold data.

One launch timed between two events is mostly launch. So many launches are recorded in a graph,
each on other memory (`rotation` says how many copies keep the L2 cache cold), the graph is
replayed several times between events, and the median of the replays, divided by the number of
launches, is the time of one.

    launches = [functools.partial(kernel.launch_on, x, w, y) for w in weights]
    timing = measure(launches)          # each is called with the handle of a stream
    timing.median_us
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .cuda.context import current_device
from .cuda.graph import Event, Graph, Stream

# Every GPU we serve has a smaller L2 cache than this fraction of it.
ROTATED_BYTES = 400 << 20
_MIN_REPLAY_US = 2000.0
_MAX_LAUNCHES = 2000


@dataclass(frozen=True)
class Timing:
    """Microseconds of one launch, a sample for each replay."""

    samples: tuple[float, ...]
    launches: int

    @property
    def median_us(self) -> float:
        """The median, the number to report."""
        return statistics.median(self.samples)

    @property
    def min_us(self) -> float:
        """The fastest replay."""
        return min(self.samples)

    @property
    def spread(self) -> float:
        """The distance between the quartiles as a part of the median: the noise."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / self.median_us


def rotation(nbytes: int, total: int = ROTATED_BYTES, at_least: int = 2, at_most: int = 512) -> int:
    """How many copies of data of `nbytes` make a round larger than `total` bytes."""
    return max(at_least, min(at_most, -(-total // max(nbytes, 1))))


def measure(
    launches: Sequence[Callable[[int], None]], *, replays: int = 20, warm_up: int = 3
) -> Timing:
    """The time of one launch on the GPU, from graphs of all `launches`, in their order.

    Each launch gets a stream's handle; it may neither allocate nor synchronise. Launches that were
    never made are made once before recording.

    Raises:
        DriverError: a launch failed, or can't be recorded.
    """
    current_device().activate()
    stream = Stream()
    for launch in launches:
        launch(stream.handle)
    stream.synchronize()
    rounds = _rounds(launches, stream)

    def record(handle: int) -> None:
        for _ in range(rounds):
            for launch in launches:
                launch(handle)

    graph = Graph(record, stream)
    try:
        for _ in range(warm_up):
            graph.replay()
        count = rounds * len(launches)
        return Timing(tuple(us / count for us in _replay_us(graph, replays)), count)
    finally:
        graph.close()


def _rounds(launches: Sequence[Callable[[int], None]], stream: Stream) -> int:
    """How often to repeat the launches, so that a replay is long beside its own start."""
    start, end = Event(), Event()
    start.record(stream.handle)
    for launch in launches:
        launch(stream.handle)
    end.record(stream.handle)
    end.synchronize()
    once = max(end.microseconds_since(start), 1.0)
    most = max(1, _MAX_LAUNCHES // len(launches))
    return min(most, max(1, round(_MIN_REPLAY_US / once)))


def _replay_us(graph: Graph, replays: int) -> list[float]:
    """The time of each replay. All are queued before the first is waited for, so that no replay
    starts on a GPU that has nothing to do."""
    events = [Event() for _ in range(replays + 1)]
    events[0].record(graph.stream.handle)
    for event in events[1:]:
        graph.replay()
        event.record(graph.stream.handle)
    events[-1].synchronize()
    return [end.microseconds_since(start) for start, end in pairwise(events)]


def measure_host(
    call: Callable[[], object], *, samples: int = 20, at_least_s: float = 0.01
) -> Timing:
    """The wall-clock time of a call on the host: of an executor without a GPU, or of a launch."""
    count, took = 1, 0.0
    while True:
        began = time.perf_counter()
        for _ in range(count):
            call()
        took = time.perf_counter() - began
        if took >= at_least_s:
            break
        count *= 2
    times = [took]
    for _ in range(samples - 1):
        began = time.perf_counter()
        for _ in range(count):
            call()
        times.append(time.perf_counter() - began)
    return Timing(tuple(t / count * 1e6 for t in times), count)
