"""What a kernel of warp groups for many tokens is specialised to (wide.py)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd

from tileloom.layouts import MemoryLayout, RegisterLayout, replicate, strided, swizzled

from .geometry import Cut, Layouts

WARPS = 4  # of a warp group
FETCHING, MULTIPLYING = 24, 240  # registers of a thread, for two warp groups that multiply
LARGEST_TOKENS = 128


@dataclass(frozen=True)
class WideConfig:
    """What one compiled kernel is specialised to: never m, k or n."""

    cut: Cut
    weight: str
    activation: str
    zero_point: str
    out: str
    bias: str = ""  # the dtype of the bias, "" without one
    tokens: int = 64  # N, a multiple of 8
    groups: int = 2
    slabs: int = 2  # of 64 features, for each warp group
    stages: int = 4
    cluster: int = 1  # blocks that split k

    @property
    def x_vector(self) -> int:
        """Elements of x that its rows and its start are multiples of."""
        return 8

    @property
    def split(self) -> bool:
        """Whether sums meet in a workspace."""
        return False

    @property
    def columns(self) -> int:
        """Columns of 4 feature blocks in a thread block."""
        return self.groups * self.slabs // self.cut.tiles

    @property
    def blocks(self) -> int:
        """Feature blocks of a thread block."""
        return WARPS * self.columns

    @property
    def features(self) -> int:
        """Features of a thread block."""
        return self.blocks * self.cut.block_features

    def place(self, group: int) -> tuple[int, range]:
        """The column of a warp group in its block, and the feature tiles that are its slabs."""
        column, first = divmod(group * self.slabs, self.cut.tiles)
        return column, range(first, first + self.slabs)

    @cached_property
    def layouts(self) -> Layouts:
        return Layouts(self.cut, 1, WARPS, self.tokens)

    @property
    def run(self) -> int:
        """Words of a chunk of one feature block."""
        return self.cut.steps * self.cut.unit_words * 128

    @property
    def box(self) -> int:
        """Rows of k in one copy of x: rows of a swizzle."""
        return gcd(self.cut.chunk, 64)

    @property
    def has_zeros(self) -> bool:
        """Whether zero points are read from memory."""
        return self.zero_point in ("int", "float")

    @property
    def stage_bytes(self) -> int:
        """What the copies of one turn bring."""
        scales = 2 * 16 * self.cut.tiles * (1 + self.has_zeros)
        return self.blocks * (4 * self.run + scales) + 2 * self.tokens * self.cut.chunk

    @property
    def shared_bytes(self) -> int:
        """What a thread block takes, apart from barriers and gaps."""
        return self.stages * self.stage_bytes + 4 * self.sums().size

    def x_slots(self) -> MemoryLayout:
        """[stages, chunk, tokens] of x, rows of tokens along k, swizzled."""
        return swizzled([self.stages, self.tokens, self.cut.chunk], 16).permute(0, 2, 1)

    def sums(self) -> MemoryLayout:
        """[blocks, T, 16, tokens] of results, where T is 1 unless blocks meet in a cluster: each
        warp group then has room for a slab. Rows are 16 bytes apart for the sake of the banks."""
        row, tiles = self.tokens + 4, self.cut.tiles if self.cluster > 1 else 1
        blocks = self.blocks if self.cluster > 1 else WARPS * self.groups
        shape = (blocks, tiles, 16, self.tokens)
        return strided(shape, (16 * tiles * row, 16 * row, row, 1))

    def results(self) -> RegisterLayout:
        """[blocks, T, 16, tokens]: what a block of a cluster writes, or a warp group. Lanes along
        features, two each, and four tokens of each."""
        blocks, tiles, _, tokens = self.sums().shape
        blocks //= self.cluster if self.cluster > 1 else self.groups
        threads = 32 * WARPS * (self.groups if self.cluster > 1 else 1)
        rest, quads = threads // (8 * tiles), tokens // 4
        down = gcd(rest, quads)
        across = gcd(rest // down, blocks) if self.cluster > 1 else 1
        return RegisterLayout.from_modes(
            (blocks, tiles, 16, tokens),
            ((blocks // across, across), (tiles,), (8, 2), (quads // down, down, 4)),
            spatial=[replicate(rest // (across * down)), (0, 1), (3, 1), (1, 0), (2, 0)],
            local=[(0, 0), (3, 0), (3, 2), (2, 1)],
        )

    def words(self) -> RegisterLayout:
        """[4, words of a chunk], as `Layouts.words` has them."""
        cut = self.cut
        return RegisterLayout.from_modes(
            (WARPS, self.run),
            ((WARPS,), (cut.steps, cut.unit_words, 32, 4)),
            spatial=[(0, 0), (1, 2)],
            local=[(1, 0), (1, 1), (1, 3)],
        )

    def scales(self) -> RegisterLayout:
        """[4, 8 * T * 2] scales of a row."""
        return RegisterLayout.from_modes(
            (WARPS, 16 * self.cut.tiles),
            ((WARPS,), (8, self.cut.tiles, 2)),
            spatial=[(0, 0), (1, 0), replicate(4)],
            local=[(1, 1), (1, 2)],
        )
