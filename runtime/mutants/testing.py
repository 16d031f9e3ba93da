"""Runs tests in the process in which a bug is planted; writes the first that fails."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class _FirstFailure:
    """A pytest plugin that remembers the first failure."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def main(arguments: Sequence[str]) -> int:
    """`RESULT TEST...`"""
    import pytest

    result, *tests = arguments
    start = time.perf_counter()
    plugin = _FirstFailure()
    pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests], plugins=[plugin])
    caught = f"test {plugin.failed}" if plugin.failed else ""
    fields = {"changed": bool(caught), "caught": caught, "seconds": time.perf_counter() - start}
    Path(result).write_text(json.dumps(fields), encoding="utf-8")
    return 0
