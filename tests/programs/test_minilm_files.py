"""The reader of safetensors files, on good and on broken files; and the progress bar."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tileloom.programs.minilm.progress import Progress
from tileloom.programs.minilm.safetensors import SafetensorsError, read_safetensors


def write(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str, shape: Any, begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_reads_what_was_written(tmp_path: Path) -> None:
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    b = np.array(7, np.int64)
    header = {
        "__metadata__": {"format": "pt"},
        "a": entry("F32", [2, 3], 0, 24),
        "b": entry("I64", [], 24, 32),
        "none": entry("F16", [0, 5], 32, 32),
    }
    tensors = read_safetensors(write(tmp_path / "f", header, a.tobytes() + b.tobytes()))
    assert list(tensors) == ["a", "b", "none"]
    np.testing.assert_array_equal(tensors["a"], a)
    assert tensors["b"] == 7 and tensors["none"].shape == (0, 5)
    assert not tensors["a"].flags.writeable


BROKEN = {
    "empty header": (b"", None, "a header of 0 bytes in a file of 16"),
    "longer than the file": (b"{}", 1 << 40, "a header of 1099511627776 bytes in a file of 18"),
    "no JSON": (b"{]", None, "the header is no JSON object"),
    "no object": (b"[1]", None, "the header is no JSON object"),
    "not UTF-8": (b'{"\xff": 1}', None, "the header is no JSON object"),
    "deep": (b"[" * 100_000, None, "the header is no JSON object"),
    "twice": (b'{"a": 1, "a": 1}', None, "a name occurs twice"),
    "no description": ({"a": 3}, None, "`a` has no description"),
    "dtype": ({"a": entry("X7", [1], 0, 1)}, None, "`a` has the dtype 'X7', which isn't read"),
    "shape": ({"a": entry("U8", [-1], 0, 1)}, None, "`a` has the shape [-1]"),
    "fraction": ({"a": entry("U8", [1.0], 0, 1)}, None, "`a` has the shape [1.0]"),
    "bool": ({"a": entry("U8", [True], 0, 1)}, None, "`a` has the shape [True]"),
    "rank": ({"a": entry("U8", [1] * 17, 0, 1)}, None, "`a` has the shape [1, 1"),
    "past the end": ({"a": entry("U8", [9], 0, 9)}, None, "`a` lies at [0, 9] in 8 bytes of data"),
    "backwards": ({"a": entry("U8", [1], 2, 1)}, None, "`a` lies at [2, 1] in 8 bytes of data"),
    "size": ({"a": entry("F32", [3], 0, 8)}, None, "`a` of F32 [3] takes 8 bytes"),
    "huge": ({"a": entry("F32", [1 << 62, 4], 0, 8)}, None, "takes 8 bytes"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_refuses_broken_files(tmp_path: Path, name: str) -> None:
    header, length, message = BROKEN[name]
    with pytest.raises(SafetensorsError) as caught:
        read_safetensors(write(tmp_path / "f", header, bytes(8), length))
    assert message in str(caught.value)


def test_refuses_a_file_without_room_for_a_header(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\x02\x00")
    with pytest.raises(SafetensorsError):
        read_safetensors(tmp_path / "f")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_draws_on_a_terminal_and_cleans_up() -> None:
    terminal = Terminal()
    with Progress(3, terminal) as progress:
        progress.step("u4")
        progress.clear()
        progress.step()
    assert terminal.getvalue().split("\r\x1b[K") == [
        "",
        "[##########--------------------] 1/3 u4",
        "",
        "[####################----------] 2/3 u4",
        "",
    ]


def test_progress_is_silent_elsewhere() -> None:
    file = io.StringIO()
    with Progress(2, file) as progress:
        progress.step("u4")
    assert file.getvalue() == ""
