"""Memory: allocations of each space, checked for bounds and alignment at every access.

Addresses are virtual. Global allocations lie far apart, so that running over the end of one never
reaches another; generic addresses of shared and local memory are offsets in windows of their own.
An access resolves to `Piece`s: a buffer and element indices for the lanes that touch it, in the
common case a single piece for all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .clusters import OFFSET_MASK
from .cohort import FaultError
from .storage import Access, Storage
from .types import Array

if TYPE_CHECKING:
    from .cohort import Cohort

SHARED_WINDOW = 1 << 60
LOCAL_WINDOW = 1 << 61
PARAM_WINDOW = 1 << 62
GLOBAL_START = 1 << 33
_GUARD = 1 << 20


def window_of(space: str) -> int:
    """What a generic address adds to an offset in a space."""
    return {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW}.get(space, 0)


@dataclass(slots=True)
class Allocation:
    """A global buffer: virtual `start`, `size` bytes, `name` for messages."""

    name: str
    start: int
    size: int
    storage: Storage
    read_only: bool = False


class Piece(NamedTuple):
    """Lanes of one access that lie in one buffer; `where` indexes the flat address list."""

    storage: Storage
    place: Array
    where: Array | None


class Memory:
    """All spaces of one launch."""

    def __init__(self) -> None:
        self.allocations: list[Allocation] = []
        self._starts: list[int] = []
        self._next = GLOBAL_START
        self.shared_size = 0
        self.shared_stride = 0
        self.shared = Storage.undefined(0)
        self.local_size = 0
        self.local = Storage.undefined(0)
        self.params: Array = np.zeros(0, np.uint8)
        self.tensor_maps: dict[int, object] = {}  # by generic address

    def allocate(self, name: str, data: Array, read_only: bool = False) -> int:
        """Places flat uint8 `data`; its virtual address is aligned to 1 MiB."""
        start = self._next
        self.allocations.append(Allocation(name, start, len(data), Storage(data), read_only))
        self._starts.append(start)
        self._next = -(-(start + len(data) + _GUARD) // _GUARD) * _GUARD
        return start

    def reset_blocks(self, shared_size: int, local_size: int) -> None:
        """Forgets shared and local memory; `grow` makes room for blocks."""
        self.shared_size = shared_size
        self.shared_stride = -(-max(shared_size, 1) // 128) * 128
        self.local_size = -(-local_size // 16) * 16
        self.shared, self.local = Storage.undefined(0), Storage.undefined(0)

    def grow(self, blocks: int, warps: int) -> None:
        """Room for resident blocks; what is there stays, what is new is undefined."""
        self.shared = self.shared.grown(blocks * self.shared_stride)
        self.local = self.local.grown(warps * 32 * self.local_size)

    # ---- resolving addresses

    def resolve(
        self, c: Cohort, space: str, address: Array, on: Array | None, access: Access, write: bool
    ) -> list[Piece]:
        """`address` [n, 32] uint64, or the flat addresses of the lanes `on`; none may be empty."""
        if space == "shared":
            return [self._offset_piece(c, "shared", self._own(c, address, on), on, access)]
        if space == "cluster":
            return [self._cluster_piece(c, address, on, access)]
        if space == "local":
            return [self._offset_piece(c, "local", address, on, access)]
        if space == "generic" and int(address.max()) >= SHARED_WINDOW:
            return list(self._generic(c, address, on, access, write))
        return self._global(c, address, on, access, write)

    def _own(self, c: Cohort, address: Array, on: Array | None) -> Array:
        clusters = c.machine.clusters
        if clusters.size == 1:
            return address
        slots = np.broadcast_to(c.slots, c.mask.shape)
        return clusters.own(slots if on is None else slots[on], address)

    def _cluster_piece(self, c: Cohort, address: Array, on: Array | None, access: Access) -> Piece:
        slots = np.broadcast_to(c.slots, c.mask.shape)
        slots = slots if on is None else slots[on]
        base = c.machine.clusters.owners(c, slots, address) * self.shared_stride
        return self._offset_piece(c, "shared", address & np.uint64(OFFSET_MASK), on, access, base)

    def _offset_piece(
        self,
        c: Cohort,
        space: str,
        address: Array,
        on: Array | None,
        access: Access,
        base: Array | None = None,
    ) -> Piece:
        size = self.shared_size if space == "shared" else self.local_size
        width = access.width
        if int(address.max()) > size - width:
            bad = address > size - width if size >= width else np.ones_like(address, bool)
            place = int(address[bad][0])
            raise FaultError(
                f"{width} bytes at {space} address {place} are out of bounds: "
                f"{size} bytes are allocated ({_who(c, bad, on)})"
            )
        _check_alignment(c, address, on, width, f"{space} address")
        if base is None:
            base = self._bases(c, space)
            if on is not None:
                base = (base if base.shape[1] == 32 else base.repeat(32, 1))[on]
        storage = self.shared if space == "shared" else self.local
        index = (address.view(np.int64) + base) >> (width.bit_length() - 1)
        return Piece(storage, index, None)

    def _bases(self, c: Cohort, space: str) -> Array:
        if space == "shared":
            return c.slots * self.shared_stride
        lanes = c.rows[:, None] * 32 + np.arange(32)
        bases: Array = lanes * self.local_size
        return bases

    def _generic(
        self, c: Cohort, address: Array, on: Array | None, access: Access, write: bool
    ) -> Iterator[Piece]:
        """Splits generic addresses by window."""
        active = np.ones(c.mask.shape, bool) if on is None else on
        flat = address.reshape(-1)
        for space, low, high in (
            ("global", 0, SHARED_WINDOW),
            ("shared", SHARED_WINDOW, LOCAL_WINDOW),
            ("local", LOCAL_WINDOW, 1 << 64),
        ):
            chosen = (flat >= np.uint64(low)) & (flat <= np.uint64(high - 1))
            if not chosen.any():
                continue
            lanes = np.zeros_like(active)
            lanes[active] = chosen
            part = flat[chosen] - np.uint64(window_of(space))
            places = np.flatnonzero(chosen)
            for piece in self.resolve(c, space, part, lanes, access, write):
                where = places if piece.where is None else places[piece.where]
                yield Piece(piece.storage, piece.place.reshape(-1), where)

    def _global(
        self, c: Cohort, address: Array, on: Array | None, access: Access, write: bool
    ) -> list[Piece]:
        width = access.width
        found = self._find(int(address.flat[0]))
        if found is not None and found.size >= width:
            offset = address - np.uint64(found.start)
            if int(offset.max()) <= found.size - width:
                _check_alignment(c, offset, on, width, f"`{found.name}` at byte")
                if write and found.read_only:
                    raise FaultError(f"write to constant `{found.name}`")
                index = offset.view(np.int64) >> (width.bit_length() - 1)
                return [Piece(found.storage, index, None)]
        return self._several(c, address, on, access, write)

    def _several(
        self, c: Cohort, address: Array, on: Array | None, access: Access, write: bool
    ) -> list[Piece]:
        """Lanes in different allocations, or an address outside all of them."""
        flat = address.reshape(-1)
        owner = np.searchsorted(np.array(self._starts, np.uint64), flat, "right") - 1
        pieces = []
        for number in np.unique(owner):
            places = np.flatnonzero(owner == number)
            part = flat[places]
            found = self.allocations[number] if number >= 0 else None
            if found is None or int(part.max()) - found.start > found.size - access.width:
                raise self._out_of_bounds(c, address, on, found, access.width)
            selected: Any = np.zeros(flat.shape, bool)
            selected[places] = True
            lanes = np.zeros(c.mask.shape, bool)
            lanes[np.ones(c.mask.shape, bool) if on is None else on] = selected
            (piece,) = self._global(c, part, lanes, access, write)
            pieces.append(Piece(piece.storage, piece.place, places))
        return pieces

    def span(self, address: int, size: int, writes: bool) -> tuple[Storage, int]:
        """The buffer that holds `size` bytes of global memory, and where in it they start.

        Raises:
            FaultError: no allocation holds all of them, or it can't be written.
        """
        found = self._find(address)
        if found is None or address + size > found.start + found.size:
            where = f"{size} bytes at {address:#x} are out of bounds"
            if found is not None:
                where += f": {address - found.start} bytes into `{found.name}`, of {found.size}"
            raise FaultError(where)
        if writes and found.read_only:
            raise FaultError(f"write to constant `{found.name}`")
        return found.storage, address - found.start

    def _find(self, address: int) -> Allocation | None:
        number = bisect_right(self._starts, address) - 1
        return self.allocations[number] if number >= 0 else None

    def _out_of_bounds(
        self, c: Cohort, address: Array, on: Array | None, found: Allocation | None, width: int
    ) -> FaultError:
        start, size = (found.start, found.size) if found is not None else (0, 0)
        most = np.uint64(max(size - width, 0))
        bad = (address < np.uint64(start)) | (address - np.uint64(start) > most)
        if size < width:
            bad = np.ones_like(bad)
        place = int(address[bad][0])
        where = f"{width} bytes at {place:#x} are out of bounds"
        if found is not None:
            where += f": {place - found.start} bytes into `{found.name}`, which has {size}"
        return FaultError(f"{where} ({_who(c, bad, on)})")


def _check_alignment(c: Cohort, address: Array, on: Array | None, width: int, what: str) -> None:
    if width > 1 and int(np.bitwise_or.reduce(address, axis=None)) & (width - 1):
        wrong = (address & np.uint64(width - 1)) != 0
        place = int(address[wrong][0])
        raise FaultError(f"{what} {place} is not aligned to {width} bytes ({_who(c, wrong, on)})")


def _who(c: Cohort, bad: Array, on: Array | None) -> str:
    """The first bad lane in words; `bad` is [n, 32], or flat over the lanes `on`."""
    lanes = np.zeros(c.mask.shape, bool)
    if on is None:
        lanes[...] = np.broadcast_to(bad, c.mask.shape)
    else:
        lanes[on] = bad.reshape(-1)
    return c.lane_name(lanes)
