"""What the runtime's tests need of the machine: an assembler, a GPU, a cache of their own."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tileloom.runtime import bindings
from tileloom.runtime.assemblers import Assembler
from tileloom.runtime.cuda import context
from tileloom.runtime.errors import ToolMissingError
from tileloom.runtime.toolkit import find_assembler

from .fake_driver import FakeDriver


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TILELOOM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TILELOOM_KEEP_DIR", str(tmp_path / "kept"))


@pytest.fixture(scope="session")
def assembler() -> Assembler:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TILELOOM_CACHE", "0")
        try:
            return find_assembler()
        except ToolMissingError as error:
            pytest.skip(f"no assembler: {error.message}")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    """A driver and GPU that are pretended, with nothing kept of earlier ones."""
    fake = FakeDriver()
    for remembered in (context.api, context.device):
        remembered.cache_clear()
    monkeypatch.setattr(bindings, "driver", lambda: fake)
    gc.freeze()  # what earlier tests left isn't looked through
    yield fake
    gc.collect()  # arrays of the fake go while it is there
    gc.unfreeze()
    for remembered in (context.api, context.device):
        remembered.cache_clear()


@pytest.fixture(scope="session")
def gpu() -> context.Device:
    if not context.available():
        pytest.skip("no NVIDIA GPU")
    return context.current_device()
