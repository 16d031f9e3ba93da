"""The schedule that the commands of programs of rows choose."""

from __future__ import annotations

from tileloom.compiler import target_named
from tileloom.programs import samples

from .schedule import RowSchedule, row_schedule


def schedule_for(columns: int, element: str, target: str, parameters: int = 0) -> RowSchedule:
    """For rows of `columns` elements on a target, and so many parameters of each column."""
    clusters = target_named(target).has("cluster")
    return row_schedule(columns, samples.itemsize(element), clusters, parameters)
