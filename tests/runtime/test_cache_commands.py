"""`tileloom cache ...`, bundles, and layers that are only read."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest

from tileloom.runtime import cli, compile_kernel
from tileloom.runtime.assemblers import Assembler
from tileloom.runtime.bundles import Bundle, write_bundle
from tileloom.runtime.cache import DiskCache, Entry, disk_cache, encode_entry, key_of
from tileloom.runtime.errors import CacheError, CacheWarning
from tileloom.runtime.jit import no_jit

from .kernels import add_one, unaligned

KEYS = [key_of(name) for name in ("a", "b", "c")]


def kernel_entry(name: str, registers: int = 10) -> Entry:
    metadata = {
        "generated": {"ptx": "", "name": name, "dynamic_shared": 0},
        "assembled": {
            "target": "sm_90a", "assembler": "ptxas 1.2", "kernels": [{"registers": registers}],
        },
    }  # fmt: skip
    return Entry(metadata, b"\x7fELF" + name.encode())


@pytest.fixture
def disk() -> DiskCache:
    """A cache with two kernels and a note of the runtime's own."""
    found = disk_cache()
    assert found is not None
    found.put(KEYS[0], kernel_entry("first", 10))
    found.put(KEYS[1], kernel_entry("second", 168))
    found.put(KEYS[2], Entry({"hash": "1234"}, b""))
    times = dict.fromkeys(KEYS, 0) | {KEYS[1]: 7200}
    for key in KEYS:
        path = found.directory / f"{key}.entry"
        os.utime(path, (path.stat().st_mtime - times[key],) * 2)
    return found


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    """The output of `tileloom cache ...`, or its error where `status` isn't 0."""
    assert cli.main(["cache", *map(str, arguments)]) == status
    captured = capsys.readouterr()
    assert (captured.out if status else captured.err) == ""
    return captured.err if status else captured.out


def test_ls(disk: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [len(encode_entry(kernel_entry(n, r))) for n, r in (("first", 10), ("second", 168))]
    head, *table = run(capsys, "ls").splitlines()
    assert head.startswith(f"{disk.directory}: 2 kernels, ") and head.endswith(" of 1.0 GiB")
    assert table == [
        "kernel  target  registers  assembler   size  last used  key",
        f"first   sm_90a         10  ptxas 1.2  {sizes[0]} B  just now   {KEYS[0][:12]}",
        f"second  sm_90a        168  ptxas 1.2  {sizes[1]} B  2 h ago    {KEYS[1][:12]}",
    ]
    rows = json.loads(run(capsys, "ls", "--json"))
    assert [(row["kernel"], row["registers"], row["key"]) for row in rows] == [
        ("first", 10, KEYS[0]), ("second", 168, KEYS[1]),
    ]  # fmt: skip


def test_ls_of_an_empty_cache(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "ls") == f"{tmp_path / 'cache'}: 0 kernels, 0 B of 1.0 GiB\n"


def test_verify(disk: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "verify") == "3 entries are whole\n"
    path = disk.directory / f"{KEYS[0]}.entry"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    (disk.directory / f"{KEYS[1]}.entry").chmod(0o666)
    notes = [
        f"note: `{KEYS[0]}` is damaged ({len(data) - 1} bytes)",
        f"note: `{KEYS[1]}` belongs to others, or they may write to it",
    ]
    assert run(capsys, "verify", status=2).splitlines() == [
        "cache error: 2 of 3 entries can't be used",
        *sorted(notes),
        "hint: `tileloom cache verify --remove` throws them away; they are made again if needed",
    ]
    assert path.exists()
    assert run(capsys, "verify", "--remove") == ("2 damaged entries removed\n1 entry is whole\n")
    assert list(disk.entries()) == [KEYS[2]]


def test_every_flipped_byte_is_found(disk: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    path = disk.directory / f"{KEYS[0]}.entry"
    data = path.read_bytes()
    for place in range(0, len(data), 37):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert "1 of 3 entries can't be used" in run(capsys, "verify", status=2)


def test_prune(disk: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    size = len(encode_entry(kernel_entry("second", 168)))
    assert run(capsys, "prune") == "0 entries removed, 0 B freed\n"
    assert run(capsys, "prune", "--unused-days", 0.05) == f"1 entry removed, {size} B freed\n"
    assert KEYS[1] not in disk.entries()
    assert run(capsys, "prune", "--all").startswith("2 entries removed, ")
    assert disk.entries() == {}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["prune", "--all", "--bytes", "1"],
         "usage error: `--all` and `--bytes` exclude each other\n"),
        (["prune", "--bytes", "-1"], "usage error: `--bytes` is -1, less than 0\n"),
        (["prune", "--bytes", "x"],
         "usage error: argument --bytes: invalid int value: `x`\n"
         "hint: `tileloom cache prune --help` lists the options\n"),
        (["import"],
         "usage error: the following arguments are required: file\n"
         "hint: `tileloom cache import --help` lists the options\n"),
        (["improt", "x"],
         "name error: there is no `tileloom cache improt`\nhint: did you mean `import`?\n"),
        (["zzz"],
         "name error: there is no `tileloom cache zzz`\n"
         "hint: there are `ls`, `verify`, `prune`, `export`, `import`\n"),
        (["export", "x.tl", "--kernel", "frist"],
         "name error: the cache has no kernel `frist`\nhint: did you mean `first`?\n"),
        (["export", "no/such/x.tl"],
         "cache error: `no/such/x.tl` can't be written: No such file or directory\n"),
        (["import", "none.tl"],
         "cache error: `none.tl` can't be read: No such file or directory\n"),
    ],
)  # fmt: skip
def test_mistakes(
    disk: DiskCache,
    arguments: list[str],
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, *arguments, status=2) == text


def test_a_directory_of_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tmp_path.joinpath("open").mkdir()
    tmp_path.joinpath("open").chmod(0o777)
    monkeypatch.setenv("TILELOOM_CACHE_DIR", str(tmp_path / "open"))
    assert run(capsys, "ls", status=2) == (
        f"cache error: the cache `{tmp_path / 'open'}` can't be used: others own it or may write "
        "to it, and it holds code; `chmod 700` it\n"
    )


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "--help"]) == 0
    assert "export  write kernels to a bundle, one file" in capsys.readouterr().out
    assert cli.main(["cache"]) == 2


# ---- bundles


def test_export_and_import(
    disk: DiskCache, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "kernels.tl"
    assert run(capsys, "export", path) == f"{path}: 2 kernels\n"
    assert Bundle(path).keys == sorted(KEYS[:2])
    only = tmp_path / "second.tl"
    assert run(capsys, "export", only, "--kernel", "second") == f"{only}: 1 kernel\n"
    run(capsys, "prune", "--all")
    assert run(capsys, "import", only) == f"{disk.directory}: 1 kernel imported, 0 there\n"
    assert run(capsys, "import", path) == f"{disk.directory}: 1 kernel imported, 1 there\n"
    assert disk.get(KEYS[1]) == kernel_entry("second", 168)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".new-")] == []


def test_a_damaged_bundle_is_imported_in_no_part(
    disk: DiskCache, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "kernels.tl"
    run(capsys, "export", path)
    run(capsys, "prune", "--all")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?")
    assert run(capsys, "import", path, status=2) == (
        f"cache error: 1 of the 2 entries of `{path}` are damaged\n"
        "hint: nothing was imported; export the bundle again\n"
    )
    assert disk.entries() == {}


def test_damage_of_a_bundle_is_found(tmp_path: Path) -> None:
    path = tmp_path / "bundle.tl"
    entries = {key: encode_entry(kernel_entry(key)) for key in KEYS}
    write_bundle(path, entries)
    whole = path.read_bytes()
    for place in range(0, len(whole), 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert not _all_right(path)
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        assert not _all_right(path)
    path.write_bytes(whole)
    assert _all_right(path)


def _all_right(path: Path) -> bool:
    try:
        bundle = Bundle(path)
    except CacheError:
        return False
    return all(bundle.get(key) is not None for key in bundle.keys)


def test_a_bundle_others_may_write_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bundle.tl"
    write_bundle(path, {})
    path.chmod(0o666)
    with pytest.raises(CacheError, match="others own it or may write to it") as caught:
        Bundle(path)
    assert caught.value.hint == f"`chmod go-w {path}`, or `chown` it"
    with pytest.raises(CacheError, match="is no file"):
        Bundle(Path("/dev/null"))


def test_a_bundle_that_was_exchanged_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "bundle.tl"
    write_bundle(path, {KEYS[0]: encode_entry(kernel_entry("x"))})
    bundle = Bundle(path)
    write_bundle(path, {KEYS[0]: encode_entry(kernel_entry("y"))})
    assert bundle.get(KEYS[0]) is None and bundle.get(KEYS[1]) is None
    path.unlink()
    assert bundle.get(KEYS[0]) is None


def test_a_layer_serves_what_the_cache_lacks(
    assembler: Assembler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bundle = tmp_path / "shipped.tl"
    cubin = compile_kernel(add_one.trace()).cubin
    run(capsys, "export", bundle)
    for folder in ("fresh", "file/below"):  # one that can be made, one that can't
        (tmp_path / "file").touch()
        monkeypatch.setenv("TILELOOM_CACHE_DIR", str(tmp_path / folder))
        monkeypatch.setenv("TILELOOM_CACHE_LAYERS", str(bundle))
        with no_jit(), warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            assert compile_kernel(add_one.trace()).cubin == cubin
    monkeypatch.setenv("TILELOOM_CACHE_DIR", str(tmp_path / "fresh"))
    assert "0 kernels" in run(capsys, "ls").splitlines()[0]
    assert f"layer {bundle}: 1 kernel" in run(capsys, "ls")
    assert bundle.read_bytes()[:8] == b"TILELB\x00\x01"
    assert compile_kernel(unaligned.trace()).cubin  # into the user's own
    assert Bundle(bundle).keys == [compile_kernel(add_one.trace())._key(assembler)]


def test_a_broken_layer_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "shipped.tl"
    bundle.write_bytes(b"TILELB\x00\x01 and no more")
    monkeypatch.setenv("TILELOOM_CACHE_LAYERS", str(bundle))
    found = disk_cache()
    assert found is not None
    with pytest.warns(CacheWarning, match="a layer of the cache: `.*` is no bundle") as caught:
        assert found.get(KEYS[0]) is None
        assert found.get(KEYS[1]) is None
    assert len(caught) == 1
    assert "is no bundle" in run(capsys, "ls")
    assert "is no bundle" in run(capsys, "verify", status=2)
