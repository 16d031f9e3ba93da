"""The cache under many processes, killed ones and damaged files.

TILELOOM_STRESS=1 runs the numbers that are promised: 32 processes, 200 kills; without it fewer.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from tileloom.runtime.cache import DiskCache, Entry, decode_entry, encode_entry, key_of

FULL = os.environ.get("TILELOOM_STRESS") == "1"
PROCESSES, ROUNDS, KILLS = (32, 50, 200) if FULL else (6, 8, 12)
PAYLOAD = bytes(range(256)) * 64
BOUND = 1 << 26
# Forked, so that hundreds of processes start in seconds; later Pythons warn of that where the test
# runner has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
fork = multiprocessing.get_context("fork")


def entry(number: int) -> Entry:
    return Entry({"number": number}, PAYLOAD + number.to_bytes(4, "little"))


def key(number: int) -> str:
    return key_of("stress", str(number))


def make_all(folder: Path, log: Path, rounds: int) -> None:
    """One of many processes that want the same entries in the same order."""
    disk = DiskCache(folder, BOUND)

    for number in range(rounds):

        def make(number: int = number) -> Entry:
            with log.open("a") as file:
                file.write(f"{number}\n")
            time.sleep(0.005)
            return entry(number)

        assert disk.get_or_make(key(number), make) == entry(number)
        assert disk.get(key(number)) == entry(number)


def test_many_processes_make_each_entry_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    workers = [fork.Process(target=make_all, args=(folder, log, ROUNDS)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    made = log.read_text().split()
    assert set(made) == {str(number) for number in range(ROUNDS)}
    assert max(made.count(str(number)) for number in range(ROUNDS)) <= 2
    assert not list(folder.glob(".new-*"))


def make_for_ever(folder: Path) -> None:
    """Makes, reads, overwrites and prunes until it is killed."""
    choice = random.Random(os.getpid())
    disk = DiskCache(folder, 24 * len(PAYLOAD))
    while True:
        number = choice.randrange(32)
        if choice.random() < 0.5:
            disk.put(key(number), entry(number))
        else:
            disk.get_or_make(key(number), lambda number=number: entry(number))  # type: ignore[misc]


def test_killed_processes_leave_nothing_behind(tmp_path: Path) -> None:
    choice, folder = random.Random(3), tmp_path / "cache"
    slowest = 0.0
    for _ in range(KILLS):
        victims = [fork.Process(target=make_for_ever, args=(folder,)) for _ in range(2)]
        for victim in victims:
            victim.start()
        time.sleep(choice.uniform(0.005, 0.05))
        for victim in victims:
            victim.kill()
        for victim in victims:
            victim.join(10)
        began = time.monotonic()
        disk = DiskCache(folder, BOUND)
        for name in disk.entries():
            data = disk.read(name)
            assert data is not None and decode_entry(data) is not None, "a torn entry"
        for number in range(4):
            assert disk.get_or_make(key(number), lambda n=number: entry(n)) == entry(number)  # type: ignore[misc]
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1, f"recovery took {slowest:.2f} s"


def test_every_flipped_byte_and_every_truncation_is_found() -> None:
    data = encode_entry(Entry({"kernel": "k", "lines": [1, 2, 3]}, PAYLOAD[:700]))
    for place in range(len(data)):
        for flip in (0x01, 0x80):
            damaged = bytearray(data)
            damaged[place] ^= flip
            assert decode_entry(bytes(damaged)) is None, place
    lengths = random.Random(1).choices(range(len(data)), k=1000)
    assert all(decode_entry(data[:length]) is None for length in {*lengths, *range(64)})
    assert decode_entry(data + b"\0") is None and decode_entry(data) is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    DiskCache(folder, BOUND).put(key(1), entry(1))
    folder.chmod(0o500)
    disk = DiskCache(folder, BOUND)
    with pytest.warns(UserWarning, match="can't be written"):
        assert disk.get_or_make(key(2), lambda: entry(2)) == entry(2)
    assert disk.get(key(1)) == entry(1)
    folder.chmod(0o700)
