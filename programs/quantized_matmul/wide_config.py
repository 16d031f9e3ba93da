"""What a kernel of warp groups for many tokens is specialised to (wide.py)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

from tileloom.layouts import MemoryLayout, RegisterLayout, replicate, strided, swizzled
from tileloom.vm.dtypes import dtype

from .geometry import Cut, Layouts

WARPS = 4  # of a warp group
FETCHING, MULTIPLYING = 24, 240  # registers of a thread, for two warp groups that multiply
LARGEST_TOKENS = 128


@dataclass(frozen=True)
class Piece:
    """Rows of k in a chunk, from `low` on."""

    low: int
    rows: int


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
    rows: int = 64  # of k in a span, at least: what is decoded while another is multiplied
    whole_blocks: bool = False  # features are whole feature blocks, and y lies at 16 bytes
    split: bool = False  # tiles are cut between blocks, whose sums meet in a workspace
    in_rounds: bool = False  # blocks take every so many-th tile
    cluster: int = 1  # blocks that split k, and meet in distributed shared memory

    @property
    def x_vector(self) -> int:
        """Elements of x that its rows and its start are multiples of."""
        return 8

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
        return sum(map(self.share_bytes, range(WARPS)))

    def share_bytes(self, warp: int) -> int:
        """What the copies of a fetching warp bring in one turn."""
        blocks = len(range(warp, self.blocks, WARPS))
        boxes = len(range(self.box * warp, self.cut.chunk, self.box * WARPS))
        scales = 2 * 16 * self.cut.tiles * (1 + self.has_zeros)
        return blocks * (4 * self.run + scales) + 2 * boxes * self.box * self.tokens

    @property
    def shared_bytes(self) -> int:
        """What a thread block takes, apart from barriers and gaps."""
        return self.stages * self.stage_bytes + self.leaving_bytes

    @property
    def leaving_bytes(self) -> int:
        """Shared memory through which results leave, or the sums of a cluster meet."""
        if self.cluster > 1:
            return 4 * self.meeting().size
        return self.slots().size * dtype(self.left).bits // 8

    @property
    def left(self) -> str:
        """The dtype of results on their way out: rounded only when a bias is added."""
        return "f32" if self.bias else self.out

    def spans(self) -> list[list[Piece]]:
        """A chunk in spans of pieces; a piece is what a word of each lane holds along k."""
        size = 16 * self.cut.parts
        pieces = [Piece(low, size) for low in range(0, self.cut.chunk, size)]
        each = max(1, self.rows // size)
        return [pieces[i : i + each] for i in range(0, len(pieces), each)]

    @property
    def sums_of_block(self) -> int:
        """Sums that a block has in registers."""
        return self.groups * self.slabs * 64 * self.tokens

    def x_slots(self) -> MemoryLayout:
        """[stages, chunk, tokens] of x, rows of tokens along k, swizzled."""
        return swizzled([self.stages, self.tokens, self.cut.chunk], 16).permute(0, 2, 1)

    @property
    def leaving_tokens(self) -> int:
        """Tokens of a warp that are on their way out at a time."""
        return min(self.tokens, 1024 // dtype(self.left).bits)

    def slots(self) -> MemoryLayout:
        """[warps, tokens, features] of results. Rows are 16 bytes longer than their elements."""
        features, warps = 16 * self.slabs, WARPS * self.groups
        row = features + 128 // dtype(self.left).bits
        return strided((warps, self.leaving_tokens, features), (self.leaving_tokens * row, row, 1))

    def meeting(self) -> MemoryLayout:
        """[tokens, feature blocks, tiles, 16] of f32 sums. Rows are 16 bytes longer than their
        elements."""
        shape, size = (self.tokens, self.blocks, self.cut.tiles, 16), self.cut.block_features
        return strided(shape, (self.features + 4, size, 16, 1))

    def shares(self) -> RegisterLayout:
        """[tokens, feature blocks, tiles, 16] that a block of a cluster adds up and writes: lanes
        along features, four each."""
        tokens, threads = -(-self.tokens // self.cluster), 32 * WARPS * self.groups
        rest = threads // (self.features // 4)
        down = gcd(rest, tokens)
        return RegisterLayout.from_modes(
            (tokens, self.blocks, self.cut.tiles, 16),
            ((tokens // down, down), (self.blocks,), (self.cut.tiles,), (4, 4)),
            spatial=[replicate(rest // down), (0, 1), (1, 0), (2, 0), (3, 0)],
            local=[(0, 0), (3, 1)],
        )

    def results(self, tokens: int) -> RegisterLayout:
        """[4, tokens, features of a warp]: lanes along features, 16 bytes each. A warp reads what
        it wrote; or a part of the tokens of all, where each block of features has its own end."""
        vector = 128 // dtype(self.left).bits
        across = 16 * self.slabs // vector
        threads = 32 if self.whole_blocks else 32 * WARPS
        down = gcd(threads // across, tokens)
        spread: list[tuple[int, int] | RegisterLayout] = [
            replicate(threads // (across * down)), (1, 1), (2, 0)
        ]  # fmt: skip
        inner: list[tuple[int, int]] = [(1, 0), (2, 1)]
        return RegisterLayout.from_modes(
            (WARPS, tokens, 16 * self.slabs),
            ((WARPS,), (tokens // down, down), (across, vector)),
            spatial=[(0, 0), *spread] if self.whole_blocks else spread,
            local=inner if self.whole_blocks else [(0, 0), *inner],
        )

    def words(self, rows: int) -> RegisterLayout:
        """[4, words of so many rows of k], as `Layouts.words` has them."""
        cut = replace(self.cut, chunk=rows)
        return RegisterLayout.from_modes(
            (WARPS, cut.steps * cut.unit_words * 128),
            ((WARPS,), (cut.steps, cut.unit_words, 32, 4)),
            spatial=[(0, 0), (1, 2)],
            local=[(1, 0), (1, 1), (1, 3)],
        )

    def codes(self, rows: int) -> RegisterLayout:
        """[1, 4 * features, rows] of their codes."""
        return Layouts(replace(self.cut, chunk=rows), 1, WARPS, self.tokens).codes()

    def scales(self) -> RegisterLayout:
        """[4, 8 * T * 2] scales of a row."""
        return RegisterLayout.from_modes(
            (WARPS, 16 * self.cut.tiles),
            ((WARPS,), (8, self.cut.tiles, 2)),
            spatial=[(0, 0), (1, 0), replicate(4)],
            local=[(1, 1), (1, 2)],
        )
