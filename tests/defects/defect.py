"""Programs with one defect each, and their near twins without it.

A program is text in which `<<right|wrong>>` stands where the two differ. Two warps run it in one
block (or in a cluster of two); x and y are 16 x 16 numbers each, and n is 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CHOICE = re.compile(r"<<([^|>]*)\|([^>]*)>>", re.DOTALL)

# Threads of the first layout hold parts of rows, of the second parts of columns: whatever goes
# from one to the other by way of memory goes from warp to warp.
_FRAME = """layout #rows = spatial(16, 4) * local(1, 4)
layout #columns = column_spatial(4, 16) * local(4, 1)
layout #turned = spatial(2, 1) * column_spatial(8, 4) * local(1, 4)
layout #half = spatial(8, 8) * local(1, 2)
layout #each = spatial(64) * local(4)
func @f(%px: *f32, %py: *f32, %n: i32) warps = 2{cluster} {{
  %x = global_view %px {{alignment = 16}} : global<f32, [16, 16]>
  %y = global_view %py {{alignment = 16}} : global<f32, [16, 16]>
  %pages = global_view %px {{alignment = 16}} : global<f32, [1, 16, 16]>
{body}
}}
"""


@dataclass(frozen=True)
class Defect:
    """`kind` is race, wait, uninitialised or bounds; `says` is in the interpreter's report and
    `emulator_says` in the emulator's."""

    name: str
    kind: str
    body: str
    says: str
    emulator_says: str
    cluster: bool = False

    def text(self, wrong: bool) -> str:
        """The program with the defect, or without."""
        chosen = _CHOICE.sub(lambda match: match[2 if wrong else 1], self.body)
        lines = [f"  {line.strip()}" for line in chosen.splitlines() if line.strip()]
        cluster = ", grid = [2], cluster = [2]" if self.cluster else ""
        return _FRAME.format(body="\n".join(lines), cluster=cluster)


def race(name: str, body: str, says: str = "race on `%s`", cluster: bool = False) -> Defect:
    return Defect(name, "race", body, says, "race: block|no defined value", cluster)


def wait(name: str, body: str, emulator_says: str = "no defined value|race: block") -> Defect:
    return Defect(name, "wait", body, "an asynchronous copy into it is in flight", emulator_says)


def unset(name: str, body: str, says: str = "an uninitialised") -> Defect:
    return Defect(
        name, "uninitialised", body, says,
        r"has no defined value|was never written|never written",
    )  # fmt: skip


def bounds(name: str, body: str, emulator_says: str = "out of bounds") -> Defect:
    return Defect(name, "bounds", body, "in_bounds|bounds|outside|promises", emulator_says)


STAGED = """
    %t = load %x[0, 0] : reg<f32, [16, 16], #rows>
    %s = alloc_shared : shared<f32, [16, 16]>
    store %s[0, 0], %t
"""
FILLED = STAGED + "barrier\n"
OUT = "store %y[0, 0], %u\n"
ACROSS = "%u = load %s[0, 0] : reg<f32, [16, 16], #columns>\n"
COPY = """
    %s = alloc_shared : shared<f32, [16, 16]>
    copy_async %s[0, 0], %x[0, 0] {shape = [16, 16]}
"""
