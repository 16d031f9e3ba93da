"""How a weight matrix is cut into what threads hold: the one place both packing and kernel read.

A *unit* is the packing's: U words that hold P pairs of codes (`tileloom.vm.packing`). The two codes
of a pair are neighbours in k. The pairs of a unit, P = Q * T, belong to T tiles of 16 features and,
in each, to Q parts of k: pair j = q * T + tile. So one mask at one bit position serves one (part,
tile), and the factor 2^f of the fast decode is constant in it. A *feature block* is 16 T features.
Few tiles a block mean many blocks, and Q products a tile to be summed with their factors.

k is walked in *chunks* that never cross a group of scales; a group is padded to whole chunks (its
surplus rows meet zeros of x). Inside a chunk k is in its own order, that of mma's A operand, with g
= lane / 4 and t = lane % 4:

    k       = chunk * c + 16 * (Q * s + q) + 8 * r1 + 2 * t + h
    feature = 16 T * block + 16 * tile + 8 * r0 + g

so that rows of x are operands as they are: by `ldmatrix` out of shared memory, or where the tensor
core reads it itself. The words of (block, chunk) are contiguous: [s][vector of U][lane of 32][4],
where a lane's 4 U words of one s are [r1][r0][U].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd

from tileloom.layouts import MemoryLayout, RegisterLayout, replicate, strided

from .packed import Matrix

LARGEST_CHUNK = 128
MOST_CHUNKS = 1 << 22  # so that no place along k comes near 2**31

# 64 features a block: 8192 of them are a block for each multiprocessor of an H100.
DEFAULT_TILES = 4
NARROW_TILES, LARGEST_NARROW = 2, 1 << 27


@dataclass(frozen=True)
class Cut:
    """What a kernel needs to know of the cut at compile time; k and n stay run-time numbers."""

    bits: int
    chunk: int
    tiles: int  # T: tiles of 16 features in a feature block
    contiguous: bool  # row k of the matrix is row k of the chunks: no padding between groups
    one_scale: bool  # all chunks share one row of scales
    group: int = 0  # where rows are padded between groups, else 0
    chunks_per_group: int = 1

    @property
    def pairs(self) -> int:
        """P: pairs in a unit."""
        return 16 // gcd(self.bits, 16)

    @property
    def unit_words(self) -> int:
        """U: words in a unit."""
        return self.bits * self.pairs // 16

    @property
    def parts(self) -> int:
        """Q: parts of k that share a word."""
        return self.pairs // self.tiles

    @property
    def block_features(self) -> int:
        """Features in a feature block."""
        return 16 * self.tiles

    @property
    def steps(self) -> int:
        """Units of a thread along k in a chunk, for one (r1, r0)."""
        return self.chunk // (16 * self.parts)

    def span(self, tokens: int) -> int:
        """Chunks that a warp takes in a turn: small ones together, for as many bytes are to be on
        their way as with large ones. More tokens leave fewer registers for their scales."""
        rows = LARGEST_CHUNK if tokens <= 8 else LARGEST_CHUNK // 2
        return max(1, rows // self.chunk) if self.contiguous and not self.one_scale else 1

    @property
    def k_digits(self) -> tuple[int, ...]:
        """The extents of (s, q, r1, t, h)."""
        return (self.steps, self.parts, 2, 4, 2)


@dataclass(frozen=True)
class Geometry(Matrix):
    """The cut of a matrix.

    `tiles` asks for that many tiles of 16 features in a block (0: the default for the width).
    """

    tiles: int = 0

    @cached_property
    def cut(self) -> Cut:
        """The part that kernels are specialised to."""
        chunk = self._chunk()
        padded = _padded(self.group, chunk)
        contiguous = self.num_groups <= 1 or padded == self.group
        return Cut(
            self.bits,
            chunk,
            self._tiles(chunk),
            contiguous,
            one_scale=self.num_groups <= 1,
            group=0 if contiguous else self.group,
            chunks_per_group=1 if contiguous else padded // chunk,
        )

    def _tiles(self, chunk: int) -> int:
        """T: as asked for, or the next for which parts divide the fragments of a chunk."""
        pairs = 16 // gcd(self.bits, 16)
        tiles = min(self.wanted_tiles, pairs)
        while tiles < pairs and (pairs % tiles or chunk // 16 % (pairs // tiles)):
            tiles += 1
        return tiles

    @property
    def wanted_tiles(self) -> int:
        """T as asked for. By default blocks of 32 features at 4 bits, where blocks of 64 are too
        few for many tokens: what one product of few tokens loses by them is made good by smaller
        splits of k. At other widths it loses more."""
        if self.tiles:
            return self.tiles
        small = self.bits == 4 and self.k * self.n <= LARGEST_NARROW
        return NARROW_TILES if small else DEFAULT_TILES

    def _chunk(self) -> int:
        """The rows of a chunk: as many as can be."""
        rows = _padded(self.group, 16)
        if rows <= LARGEST_CHUNK:
            return rows
        best = max(c for c in range(16, LARGEST_CHUNK + 1, 16) if rows % c == 0)
        # Chunks much smaller than the largest cost more than some padding of the group.
        return best if 2 * best > LARGEST_CHUNK else LARGEST_CHUNK

    @property
    def num_blocks(self) -> int:
        """Feature blocks, the last one padded."""
        return -(-self.n // self.cut.block_features)

    @property
    def chunks_per_group(self) -> int:
        """Chunks of a whole group."""
        return -(-self.group // self.cut.chunk)

    @property
    def num_chunks(self) -> int:
        """Chunks of the whole matrix."""
        if self.num_groups <= 1:
            return -(-self.k // self.cut.chunk)
        last = self.k - (self.num_groups - 1) * self.group
        return (self.num_groups - 1) * self.chunks_per_group + -(-last // self.cut.chunk)

    def num_spans(self, tokens: int) -> int:
        """What a warp takes in a turn, of the whole matrix."""
        return -(-self.num_chunks // self.cut.span(tokens))

    @property
    def scale_rows(self) -> int:
        """Rows of packed scales: one, or one a chunk."""
        return 1 if self.cut.one_scale else self.num_chunks

    def word_shape(self) -> tuple[int, ...]:
        """The packed words: [blocks, chunks, s, vector, lane, word]."""
        cut = self.cut
        return (self.num_blocks, self.num_chunks, cut.steps, cut.unit_words, 32, 4)

    def scale_shape(self) -> tuple[int, ...]:
        """Packed scales and zeros: [blocks, rows, g, feature tile, r0]."""
        return (self.num_blocks, self.scale_rows, 8, self.cut.tiles, 2)


def _padded(rows: int, unit: int) -> int:
    return -(-rows // unit) * unit


@dataclass(frozen=True)
class Layouts:
    """The register layouts of one thread block: `k_warps` x `feature_warps` warps.

    Warp w * feature_warps + f takes span w of the block's turn, of `span` chunks, and feature block
    f. Products are of one chunk.
    """

    cut: Cut
    k_warps: int
    feature_warps: int
    tokens: int
    span: int = 1

    def words(self) -> RegisterLayout:
        """[F, W * span, steps, U, 32, 4] words as they lie in memory."""
        g = self.cut
        inner = (g.steps, g.unit_words, 32, 4)
        return RegisterLayout.from_modes(
            (self.feature_warps, self.k_warps * self.span, *inner),
            ((self.feature_warps,), (self.k_warps, self.span), *((extent,) for extent in inner)),
            spatial=[(1, 0), (0, 0), (4, 0)],
            local=[(1, 1), (2, 0), (3, 0), (5, 0)],
        )

    def codes(self) -> RegisterLayout:
        """[W, F * 16 T, chunk] codes in the same registers."""
        g = self.cut
        shape = (self.k_warps, self.feature_warps * g.block_features, g.chunk)
        rows = (self.feature_warps, g.tiles, 2, 8)
        return RegisterLayout.from_modes(
            shape,
            ((self.k_warps,), rows, g.k_digits),
            spatial=[(0, 0), (1, 0), (1, 3), (2, 3)],
            local=[(2, 0), (2, 2), (1, 2), (2, 1), (1, 1), (2, 4)],
        )

    def x(self) -> RegisterLayout:
        """[tokens, W * span * chunk] of x: a lane holds pairs of token g, as matrices of 8 x 8
        do."""
        rows = self.span * self.cut.chunk
        k_modes = (self.k_warps, rows // 8, 4, 2)
        return RegisterLayout.from_modes(
            (self.tokens, self.k_warps * rows),
            ((self.tokens // 8, 8), k_modes),
            spatial=[(1, 0), replicate(self.feature_warps), (0, 1), (1, 2)],
            local=[(0, 0), (1, 1), (1, 3)],
        )

    def x_copy(self) -> RegisterLayout:
        """[tokens, W * span * chunk] of x again: who copies which 16 bytes. Each warp copies its
        own part, and those that share it a share each; a lane has few rows, each an address and
        a check."""
        rows = self.span * self.cut.chunk
        vectors, lanes, down = rows // 8, 32 * self.feature_warps, min(self.tokens, 8)
        across = gcd(vectors, lanes // down)
        return RegisterLayout.from_modes(
            (self.tokens, self.k_warps * rows),
            ((self.tokens // down, down), (self.k_warps, vectors // across, across, 8)),
            spatial=[(1, 0), replicate(lanes // (across * down)), (0, 1), (1, 2)],
            local=[(0, 0), (1, 1), (1, 3)],
        )

    def slots(self, stages: int) -> MemoryLayout:
        """[stages, tokens, W * span * chunk] of x in shared memory. Rows are 16 bytes longer than
        their elements, an odd number of 16 bytes, so that eight rows lie in different banks."""
        columns = self.k_warps * self.span * self.cut.chunk
        row = columns + 8
        return strided((stages, self.tokens, columns), (self.tokens * row, row, 1))

    def ones(self) -> RegisterLayout:
        """[W, F * 16, chunk / Q]: the A operand of one feature tile and part of k."""
        g = self.cut
        steps, _, *inner = g.k_digits
        return RegisterLayout.from_modes(
            (self.k_warps, 16 * self.feature_warps, g.chunk // g.parts),
            ((self.k_warps,), (self.feature_warps, 2, 8), (steps, *inner)),
            spatial=[(0, 0), (1, 0), (1, 2), (2, 2)],
            local=[(2, 0), (2, 1), (1, 1), (2, 3)],
        )

    def right_ones(self) -> RegisterLayout:
        """[W, 16, 8]: the B operand of sums over rows."""
        return RegisterLayout.from_modes(
            (self.k_warps, 16, 8),
            ((self.k_warps,), (2, 4, 2), (8,)),
            spatial=[(0, 0), replicate(self.feature_warps), (2, 0), (1, 1)],
            local=[(1, 0), (1, 2)],
        )

    def sums(self) -> RegisterLayout:
        """[W, 16, 8]: their accumulator."""
        return RegisterLayout.from_modes(
            (self.k_warps, 16, 8),
            ((self.k_warps,), (2, 8), (4, 2)),
            spatial=[(0, 0), replicate(self.feature_warps), (1, 1), (2, 0)],
            local=[(1, 0), (2, 1)],
        )

    def sums_by_row(self) -> RegisterLayout:
        """[W, 1, 8]: sums where that accumulator has them."""
        return RegisterLayout.from_modes(
            (self.k_warps, 1, 8),
            ((self.k_warps,), (1,), (8,)),
            spatial=[(0, 0), replicate(self.feature_warps), (2, 0), replicate(4)],
            local=[],
        )

    def sums_by_column(self, tokens: int) -> RegisterLayout:
        """[W, 1, tokens]: sums where products have their tokens."""
        return RegisterLayout.from_modes(
            (self.k_warps, 1, tokens),
            ((self.k_warps,), (1,), (tokens // 8, 4, 2)),
            spatial=[(0, 0), replicate(8 * self.feature_warps), (2, 1)],
            local=[(2, 0), (2, 2)],
        )

    def accumulator(self) -> RegisterLayout:
        """[W, F * 16, tokens]: mma's accumulator of one feature tile."""
        return RegisterLayout.from_modes(
            (self.k_warps, 16 * self.feature_warps, self.tokens),
            ((self.k_warps,), (self.feature_warps, 2, 8), (self.tokens // 8, 4, 2)),
            spatial=[(0, 0), (1, 0), (1, 2), (2, 1)],
            local=[(2, 0), (1, 1), (2, 2)],
        )

    def scales(self, rows: int) -> RegisterLayout:
        """[F, rows, 8, T, 2] scales; `rows` is W * span, or 1 where all chunks share one."""
        g = self.cut
        inner = (8, g.tiles, 2)
        warps: list[tuple[int, int] | RegisterLayout] = [(1, 0)]
        split = (self.k_warps, self.span)
        if rows != self.k_warps * self.span:
            warps, split = [replicate(self.k_warps)], (1, 1)
        return RegisterLayout.from_modes(
            (self.feature_warps, rows, *inner),
            ((self.feature_warps,), split, *((extent,) for extent in inner)),
            spatial=[*warps, (0, 0), (2, 0), replicate(4)],
            local=[(1, 1), (3, 0), (4, 0)],
        )
