"""The disk cache: whole entries or none, in spite of damage, rivals, full disks and strangers."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tileloom.runtime import cache as cache_module
from tileloom.runtime.cache import (
    DiskCache,
    Entry,
    decode_entry,
    disk_cache,
    encode_entry,
    key_of,
)
from tileloom.runtime.errors import CacheWarning
from tileloom.runtime.sources import source_hash

KEY = key_of("one")
ENTRY = Entry({"registers": 3, "log": "a\nb"}, bytes(range(256)))


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "deep" / "cache", 1 << 20)


def _file(cache: DiskCache, key: str = KEY) -> Path:
    return cache.directory / f"{key}.entry"


def test_an_entry_comes_back(cache: DiskCache) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, ENTRY)
    assert cache.get(KEY) == ENTRY
    assert cache.get(key_of("two")) is None
    assert not [p for p in cache.directory.iterdir() if p.name.startswith(".new-")]


def test_the_directory_and_files_are_private(cache: DiskCache) -> None:
    before = os.umask(0)
    try:
        cache.put(KEY, ENTRY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(_file(cache).stat().st_mode) == 0o600


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_keys_differ_when_parts_do(first: list[str], second: list[str]) -> None:
    assert (key_of(*first) == key_of(*second)) == (first == second)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_is_found(position: int, change: int) -> None:
    data = bytearray(encode_entry(ENTRY))
    data[position % len(data)] ^= change
    assert decode_entry(bytes(data)) is None


def test_any_truncation_is_found() -> None:
    data = encode_entry(ENTRY)
    assert decode_entry(data) == ENTRY
    for length in range(len(data)):
        assert decode_entry(data[:length]) is None


def test_a_damaged_entry_is_made_again(cache: DiskCache) -> None:
    cache.put(KEY, ENTRY)
    for data in (b"", b"garbage", encode_entry(ENTRY)[:-1], encode_entry(ENTRY) + b"x"):
        _file(cache).write_bytes(data)
        assert cache.get(KEY) is None
        assert not _file(cache).exists()
        assert cache.get_or_make(KEY, lambda: ENTRY) == ENTRY
        assert cache.get(KEY) == ENTRY


def test_made_once_then_read(cache: DiskCache) -> None:
    made = []

    def make() -> Entry:
        made.append(1)
        return ENTRY

    assert [cache.get_or_make(KEY, make) for _ in range(3)] == [ENTRY] * 3
    assert len(made) == 1


def test_an_error_while_making_stores_nothing(cache: DiskCache) -> None:
    def fail() -> Entry:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get_or_make(KEY, fail)
    assert cache.get_or_make(KEY, lambda: ENTRY) == ENTRY


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    size = len(encode_entry(ENTRY))
    cache = DiskCache(tmp_path / "cache", 3 * size)
    keys = [key_of(str(i)) for i in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.put(key, ENTRY)
        os.utime(_file(cache, key), (time.time() - 100 + age,) * 2)
    assert cache.get(keys[0]) == ENTRY  # used now, so the second is the oldest
    cache.put(keys[3], ENTRY)
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]


def test_abandoned_files_are_swept(cache: DiskCache) -> None:
    cache.put(KEY, ENTRY)
    old, new = cache.directory / ".new-1-old", cache.directory / ".new-1-new"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    cache.prune()
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    cache = DiskCache(folder, 1 << 20)
    with pytest.warns(CacheWarning, match="others own it or may write"):
        cache.put(KEY, ENTRY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.get_or_make(KEY, lambda: ENTRY) == ENTRY  # warned once
    assert list(folder.iterdir()) == []


def test_a_foreign_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o700)
    owner = folder.stat().st_uid
    monkeypatch.setattr(cache_module.os, "geteuid", lambda: owner + 1)
    with pytest.warns(CacheWarning, match="others own it"):
        assert DiskCache(folder, 1 << 20).get(KEY) is None


def test_a_planted_file_is_not_read(cache: DiskCache, tmp_path: Path) -> None:
    cache.put(KEY, ENTRY)
    _file(cache).chmod(0o666)
    assert cache.get(KEY) is None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(encode_entry(ENTRY))
    link = _file(cache, key_of("link"))
    link.symlink_to(elsewhere)
    assert cache.get(key_of("link")) is None


def test_a_full_disk_costs_one_warning(cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "replace", full)
    with pytest.warns(CacheWarning, match="No space left") as caught:
        assert cache.get_or_make(KEY, lambda: ENTRY) == ENTRY
        assert cache.get_or_make(KEY, lambda: ENTRY) == ENTRY
    assert len(caught) == 1
    assert not [p for p in cache.directory.iterdir() if p.name.startswith(".new-")]


def test_no_place_for_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.warns(CacheWarning):
            assert DiskCache(folder, 1).get_or_make(KEY, lambda: ENTRY) == ENTRY


def test_options_choose_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TILELOOM_CACHE_DIR", str(tmp_path / "here"))
    found = disk_cache()
    assert found is not None and found.directory == tmp_path / "here"
    assert disk_cache() is found
    monkeypatch.setenv("TILELOOM_CACHE", "0")
    assert disk_cache() is None


_RIVAL = """
import sys, time
from pathlib import Path
from tileloom.runtime.cache import DiskCache, Entry
folder, key, log, go = sys.argv[1:]
def make():
    with open(log, "a") as file:
        file.write("made\\n")
    time.sleep(0.05)
    return Entry({"n": 1}, b"payload")
print("ready", flush=True)
while not Path(go).exists():
    time.sleep(0.001)
assert DiskCache(Path(folder), 1 << 20).get_or_make(key, make).payload == b"payload"
"""


def _start(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_rivals_make_an_entry_once(tmp_path: Path) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    with ExitStack() as running:
        rivals = [
            running.enter_context(_start(_RIVAL, tmp_path / "cache", KEY, log, go))
            for _ in range(3)
        ]
        assert [_first_line(r) for r in rivals] == [b"ready\n"] * 3
        go.touch()
        assert [r.wait(30) for r in rivals] == [0, 0, 0]
    assert log.read_text() == "made\n"


_HOLDER = """
import sys, time
from pathlib import Path
from tileloom.runtime.cache import DiskCache, Entry
def make():
    print("holding", flush=True)
    time.sleep(60)
DiskCache(Path(sys.argv[1]), 1 << 20).get_or_make(sys.argv[2], make)
"""


def test_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with _start(_HOLDER, folder, KEY) as holder:
        assert _first_line(holder) == b"holding\n"
        lock = next(p for p in folder.iterdir() if p.name.startswith(".lock-"))
        with open(lock) as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    began = time.monotonic()
    assert DiskCache(folder, 1 << 20).get_or_make(KEY, lambda: ENTRY) == ENTRY
    assert time.monotonic() - began < 5


def test_a_lock_nobody_releases_is_waited_for_a_while_only(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_LOCK_WAIT_S", 0.05)
    cache.put(key_of("other"), ENTRY)  # makes the directory
    for number in range(64):
        (cache.directory / f".lock-{number:02d}").touch()
    with ExitStack() as held:
        for path in cache.directory.glob(".lock-*"):
            fcntl.flock(held.enter_context(open(path)), fcntl.LOCK_EX)
        assert cache.get_or_make(KEY, lambda: ENTRY) == ENTRY


def test_source_hash_sees_content_and_names(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "x.py").write_text("1")
        (folder / "notes.txt").write_text(folder.name)
    assert source_hash([first]) == source_hash([second])
    (second / "inner" / "x.py").write_text("2")
    assert source_hash([first]) != source_hash([second])
    (second / "inner" / "x.py").write_text("1")
    (second / "inner" / "x.py").rename(second / "inner" / "y.py")
    assert source_hash([first]) != source_hash([second])
