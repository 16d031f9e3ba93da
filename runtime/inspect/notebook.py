"""What notebooks show of a compiled kernel: its numbers, and its texts folded."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from tileloom.vm.diagnostics import VMError

from .text import resource_rows

if TYPE_CHECKING:
    from ..compiled import CompiledKernel

# A notebook gives a fragment no style, and must not get one for its whole page.
_CARD = (
    "font: 13px/1.5 system-ui, sans-serif; color: #1f2430; background: #ffffff; "
    "border: 1px solid #e3e6ee; border-radius: 8px; padding: 12px 16px; margin: 6px 0"
)
_NAME = "font: 600 14px ui-monospace, monospace"
_SOFT = "color: #5a6275"
_TABLE = "border-collapse: collapse; font: inherit; margin: 8px 0"
_CELL = "padding: 1px 14px 1px 0; text-align: left; background: none; color: inherit"
_PRE = (
    "font: 12px/1.5 ui-monospace, monospace; color: #1f2430; background: #f6f7fa; "
    "border-radius: 6px; padding: 8px 12px; margin: 4px 0; max-height: 420px; overflow: auto; "
    "white-space: pre"
)
_SUMMARY = "cursor: pointer; color: #3558d4"


def kernel_card(kernel: CompiledKernel) -> str:
    """The fragment. It assembles the kernel, where that is possible."""
    about = f"{kernel.target}, {kernel.num_threads} threads a block"
    rows = "".join(
        f'<tr><td style="{_CELL}; {_SOFT}">{escape(name)}</td>'
        f'<td style="{_CELL}">{escape(text)}</td></tr>'
        for name, text in _rows(kernel)
    )
    texts = {"VM text": kernel.text(), "PTX": kernel.ptx}
    folded = "".join(
        f'<details><summary style="{_SUMMARY}">{name}, {len(text.splitlines())} lines</summary>'
        f'<pre style="{_PRE}">{escape(text)}</pre></details>'
        for name, text in texts.items()
    )
    return (
        f'<div style="{_CARD}"><div style="{_NAME}">{escape(kernel.name)}</div>'
        f'<div style="{_SOFT}">{escape(about)}</div>'
        f'<table style="{_TABLE}">{rows}</table>{folded}</div>'
    )


def _rows(kernel: CompiledKernel) -> Iterator[tuple[str, str]]:
    try:
        yield from resource_rows(kernel.resources)
    except VMError as error:
        yield "shared memory", f"{kernel.dynamic_shared} bytes a block"
        yield "machine code", f"none: {error.message}"
