"""Register layouts as text: a product of atoms where one exists, else a list of modes.

`local(2, 1) * spatial(8, 4)` numbers the modes of each list, and factors each dimension, in one
order from left to right. A layout is such a product when its three kinds of order (of the thread
number, of the local number, of each dimension) do not contradict each other: then its modes are
sorted so that all hold, and neighbours that one atom expresses are joined. Otherwise the text is

    layout(shape=[4], modes=[[2, 2]], spatial=[1, 0], local=[])

with each dimension's factors, outermost first, and the modes numbered through all dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from .modes import REPLICATED, Mode, Modes

LOCAL, SPATIAL = "local", "spatial"


@lru_cache(maxsize=4096)
def format_layout(shape: tuple[int, ...], spatial: Modes, local: Modes) -> str:
    """Text that parse_layout reads back as an equal layout."""
    order = _common_order(spatial, local)
    if order is None:
        return _format_modes(shape, spatial, local)
    atoms = _join(order, len(shape))
    return " * ".join(atoms) or f"local({', '.join('1' for _ in shape)})"


def _common_order(spatial: Modes, local: Modes) -> list[tuple[str, Mode]] | None:
    """All modes in an order that agrees with both lists and with each dimension, or None.

    Stays in one list as long as it can, so that few atoms result.
    """
    queues = {LOCAL: list(local), SPATIAL: list(spatial)}
    order: list[tuple[str, Mode]] = []
    kind = LOCAL

    def ready(kind: str) -> bool:
        if not queues[kind]:
            return False
        dim, _, stride = queues[kind][0]
        waiting = (mode for queue in queues.values() for mode in queue)
        return dim == REPLICATED or not any(m.dim == dim and m.stride > stride for m in waiting)

    while queues[LOCAL] or queues[SPATIAL]:
        if not ready(kind):
            kind = SPATIAL if kind == LOCAL else LOCAL
            if not ready(kind):
                return None
        order.append((kind, queues[kind].pop(0)))
    return order


@dataclass
class _Atom:
    kind: str
    extents: list[int]
    dims: list[int]

    def accepts(self, kind: str, mode: Mode) -> bool:
        """Whether the mode can join: numbered along rising or along falling dimensions."""
        if kind != self.kind or REPLICATED in (mode.dim, self.dims[0]):
            return False
        dims = [*self.dims, mode.dim]
        steps = [b - a for a, b in pairwise(dims)]
        return all(step > 0 for step in steps) or all(step < 0 for step in steps)

    def __str__(self) -> str:
        if self.dims[0] == REPLICATED:
            return f"replicate({self.extents[0]})"
        falling = len(self.dims) > 1 and self.dims[0] > self.dims[1]
        name = f"column_{self.kind}" if falling else self.kind
        return f"{name}({', '.join(map(str, self.extents))})"


def _join(order: Sequence[tuple[str, Mode]], rank: int) -> list[str]:
    atoms: list[_Atom] = []
    for kind, mode in order:
        if not (atoms and atoms[-1].accepts(kind, mode)):
            atoms.append(_Atom(kind, [1] * rank if mode.dim != REPLICATED else [1], []))
        atoms[-1].extents[max(mode.dim, 0)] = mode.extent
        atoms[-1].dims.append(mode.dim)
    if rank and all(atom.dims[0] == REPLICATED for atom in atoms):
        return [*map(str, atoms), f"local({', '.join(['1'] * rank)})"] if atoms else []
    return list(map(str, atoms))


def _format_modes(shape: tuple[int, ...], spatial: Modes, local: Modes) -> str:
    numbers: dict[Mode, int] = {}
    factors: list[list[int]] = [[] for _ in shape]
    indexed = (mode for mode in spatial + local if mode.dim != REPLICATED)
    for mode in sorted(indexed, key=lambda mode: (mode.dim, -mode.stride)):
        numbers[mode] = len(numbers)
        factors[mode.dim].append(mode.extent)

    def names(modes: Modes) -> str:
        listed = (
            f"replicate({m.extent})" if m.dim == REPLICATED else str(numbers[m]) for m in modes
        )
        return f"[{', '.join(listed)}]"

    return (
        f"layout(shape={list(shape)}, modes={factors}, "
        f"spatial={names(spatial)}, local={names(local)})"
    )
