"""Streams, events and graphs: what measuring needs of the driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .context import Device, api, check, current_device


class Stream:
    """A stream of our own, not ordered with the legacy default stream."""

    def __init__(self, device: Device | None = None) -> None:
        driver = api()
        (device or current_device()).activate()
        flags = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        self._stream = check(driver.cuStreamCreate(flags))
        self.handle = int(self._stream)

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def synchronize(self) -> None:
        """Waits for the stream's work."""
        check(api().cuStreamSynchronize(self._stream))


class Event:
    """A point in a stream whose time can be asked."""

    def __init__(self) -> None:
        self._event = check(api().cuEventCreate(0))

    def record(self, stream: int) -> None:
        """Marks the place the stream has come to."""
        check(api().cuEventRecord(self._event, stream))

    def synchronize(self) -> None:
        """Waits until the stream has passed the place."""
        check(api().cuEventSynchronize(self._event))

    def microseconds_since(self, start: Event) -> float:
        """The GPU's time between two events that have passed."""
        return float(check(api().cuEventElapsedTime(start._event, self._event))) * 1e3


class Graph:
    """Launches recorded once and replayed as a whole."""

    def __init__(self, record: Callable[[int], None], stream: Stream | None = None) -> None:
        """Records what `record` does on the stream whose handle it gets.

        Raises:
            DriverError: something in it can't be captured.
        """
        driver = api()
        self.stream = stream or Stream()
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        check(driver.cuStreamBeginCapture(self.stream.handle, mode))
        try:
            record(self.stream.handle)
        except BaseException:
            driver.cuStreamEndCapture(self.stream.handle)  # or the stream stays in capture
            raise
        graph = check(driver.cuStreamEndCapture(self.stream.handle))
        self._executable: Any = check(driver.cuGraphInstantiate(graph, 0))
        check(driver.cuGraphDestroy(graph))

    def replay(self) -> None:
        """Starts everything recorded, on the graph's stream."""
        check(api().cuGraphLaunch(self._executable, self.stream.handle))

    def close(self) -> None:
        """Frees the driver's copy."""
        executable, self._executable = self._executable, None
        if executable is not None:
            check(api().cuGraphExecDestroy(executable))
