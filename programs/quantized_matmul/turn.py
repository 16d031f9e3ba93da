"""One turn of the main loop: what a warp reads of a chunk, and what it adds to the totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tileloom import vm
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f32

from .config import Config


@dataclass
class Operands:
    """What a chunk's codes meet, as it is in memory: rows of x, f16 scales and zeros."""

    x: Tile
    scales: Tile
    zeros: Tile | None

    def set(self, other: Operands) -> None:
        """Overwrites the operands with another chunk's."""
        self.x.set(other.x)
        self.scales.set(other.scales)
        if self.zeros is not None and other.zeros is not None:
            self.zeros.set(other.zeros)


@dataclass
class Block:
    """What the parts of the program share: the arguments, and the block's place and part of k."""

    config: Config
    x: Pointer
    words_view: MemoryTile
    scales_view: MemoryTile
    zeros_view: MemoryTile
    m: Scalar
    k: Scalar
    end: Scalar  # the first chunk that isn't this block's
    first: Scalar  # the first of the block's feature blocks
    token: Scalar  # its first token

    def words(self, chunk: Scalar) -> Tile:
        """[F, W * span, steps, U, 32, 4] packed words; zeros past the block's part of k."""
        layout = self.config.layouts.words()
        offsets: list[ScalarLike] = [self.first, chunk, 0, 0, 0, 0]
        return vm.load(self.words_view, offsets, layout.shape, layout, cache="stream")

    def others(self, chunk: Scalar) -> Operands:
        """Rows of x, scales and zeros of the warps' chunks, `chunk` and after."""
        zeros = self.per_feature(self.zeros_view, chunk) if self.config.has_zeros else None
        return Operands(self.x_rows(chunk), self.per_feature(self.scales_view, chunk), zeros)

    def x_rows(self, chunk: Scalar) -> Tile:
        """[tokens, W * span * chunk] of x."""
        layout = self.config.layouts.x()
        view, start = self.x_place(chunk)
        return vm.load(view, [self.token, start], layout.shape, layout, cache="keep")

    def x_place(self, chunk: Scalar) -> tuple[MemoryTile, Scalar]:
        """x as far as the chunks at `chunk` may see it, and the first of their columns."""
        config, cut = self.config, self.config.cut
        start = chunk * cut.chunk
        limit = vm.smaller(self.k, self.end * cut.chunk)
        if not cut.contiguous:
            group, inside = chunk // cut.chunks_per_group, chunk % cut.chunks_per_group
            start = group * cut.group + inside * cut.chunk
            limit = vm.smaller(self.k, (group + 1) * cut.group)
        alignment = 2 * config.x_vector
        return vm.global_view(self.x, [self.m, limit], [self.k, 1], alignment=alignment), start

    def per_feature(self, view: MemoryTile, chunk: Scalar) -> Tile:
        """[F, rows, 8, T, 2] scales or zeros."""
        config, cut = self.config, self.config.cut
        row: ScalarLike = 0 if cut.one_scale else chunk
        layout = config.layouts.scales(1 if cut.one_scale else config.turn)
        return vm.load(view, [self.first, row, 0, 0, 0], layout.shape, layout)

    def add(self, words: Tile, operands: Operands, totals: Sequence[Tile]) -> None:
        """Adds the product of one span a warp to the totals of all feature tiles, each of them in
        its unit (`Config.unit`): chunk by chunk."""
        if self.config.span == 1:
            self.add_chunk(words, operands, totals)
            return
        one = replace(self, config=replace(self.config, span=1))
        for number in range(self.config.span):
            one.add_chunk(
                self.chunk_of(words, 1, number),
                Operands(
                    self.chunk_of(operands.x, 1, number),
                    self.chunk_of(operands.scales, 1, number),
                    None if operands.zeros is None else self.chunk_of(operands.zeros, 1, number),
                ),
                totals,
            )

    def chunk_of(self, tile: Tile, dim: int, number: int) -> Tile:
        """Of each warp's span one chunk, where a dimension of a tile is [W * span * the rest]."""
        config, shape = self.config, tile.shape
        before, after = shape[:dim], shape[dim + 1 :]
        rest = shape[dim] // config.turn
        split = vm.reshape(tile, (*before, config.k_warps, config.span, rest, *after))
        whole = [slice(None)] * len(split.shape)
        whole[dim + 1] = slice(number, number + 1)
        box = split[tuple(whole)]
        return vm.reshape(box, (*before, config.k_warps * rest, *after))

    def add_chunk(self, words: Tile, operands: Operands, totals: Sequence[Tile]) -> None:
        """The same of one chunk a warp."""
        config = self.config
        rows = self.scaled_x(operands.x)
        steps = self.x_steps(rows)
        scales = self.by_tile(operands.scales)
        zeros = None if operands.zeros is None else self.by_tile(operands.zeros)
        sums = RankOne(config, self.sums_of(rows))
        products = self.products(words, steps)
        for tile, (total, product) in enumerate(zip(totals, products, strict=True)):
            unit, scale = config.unit(tile), self.tile(scales, tile)
            product = sums.less_known_zero(tile, unit, product)
            if zeros is not None:
                product = vm.fma(self.tile(zeros, tile) * (-1.0 / unit), sums.unscaled, product)
            if not config.units_last:
                scale = scale * unit
            total.set(vm.fma(scale, product, total))

    def products(self, words: Tile, steps: Sequence[Sequence[Tile]]) -> list[Tile]:
        """[W, F * 16, tokens] of each feature tile, in its unit: decoded codes times x."""
        config, layout = self.config, self.config.layouts.accumulator()
        factors = [config.factors(tile) for tile in range(config.cut.tiles)]
        sums = [
            {factor: vm.full(f32, layout.shape, 0.0, layout) for factor in found}
            for found in factors
        ]
        # A step's codes are decoded and multiplied before the next one's: few values are alive.
        step = self.step()
        for number, parts in enumerate(steps):
            values = step.decoded(words[:, :, number : number + 1, :, :, :])
            for tile, found in enumerate(factors):
                for factor, members in found.items():
                    for part in members:
                        vm.mma(sums[tile][factor], step.operand(values, part, tile), parts[part])
        return [self.in_unit(tile, sums_of_tile) for tile, sums_of_tile in enumerate(sums)]

    def in_unit(self, tile: int, sums: dict[float, Tile]) -> Tile:
        """The sum over all parts of k, out of those of each factor."""
        unit = self.config.unit(tile)
        whole = sums[unit]
        for factor, part in sums.items():
            if factor != unit:
                whole = vm.fma(part, factor / unit, whole)
        return whole

    def x_steps(self, rows: Tile) -> list[list[Tile]]:
        """[W, 16, tokens] of x for each unit of a thread along k and each part of it."""
        config, cut = self.config, self.config.cut
        split = vm.reshape(rows, (config.tokens, config.k_warps, cut.steps, cut.parts, 16))
        shape = (config.tokens, config.k_warps, 16)
        return [
            [
                vm.transpose(vm.reshape(split[:, :, s : s + 1, q : q + 1, :], shape), (1, 2, 0))
                for q in range(cut.parts)
            ]
            for s in range(cut.steps)
        ]

    def step(self) -> Block:
        """The same block whose chunks are one unit of a thread along k."""
        cut = self.config.cut
        return replace(self, config=replace(self.config, cut=replace(cut, chunk=16 * cut.parts)))

    def sums_of(self, rows: Tile) -> list[Tile | None]:
        """Sums over each part of k; of all in the first's place where their constants agree."""
        config, parts = self.config, range(self.config.cut.parts)
        if not config.needs_sums:
            return [None for _ in parts]
        if not config.needs_parts and config.cut.chunk % 32 == 0:
            return [self.whole_sum(rows)]
        layout = config.layouts.accumulator()
        count = len(parts) if config.needs_parts else 1
        sums = [vm.full(f32, layout.shape, 0.0, layout) for _ in range(count)]
        units = self.step().config.layouts.ones()
        ones = vm.full(dtype(config.activation), units.shape, 1.0, units)
        for operands in self.x_steps(rows):
            for part, x in enumerate(operands):
                vm.mma(sums[part % len(sums)], ones, x)
        return list(sums)

    def whole_sum(self, rows: Tile) -> Tile:
        """[W, 1, tokens]: each token's sum over the chunk.

        Here x is the left operand: 8 tokens over one half of every 16 of k, and again over the
        other, which are the registers of two right operands. That takes half the products that
        ones on the left would, and lanes exchange the sums.
        """
        config, layouts = self.config, self.config.layouts
        steps = config.cut.chunk // 32
        split = vm.reshape(rows, (config.tokens, config.k_warps, steps, 2, 2, 8))
        kind, ones_layout = dtype(config.activation), layouts.right_ones()
        ones = vm.full(kind, ones_layout.shape, 1.0, ones_layout)
        whole: Tile | None = None
        for first in range(0, config.tokens, 8):
            sums = vm.full(f32, layouts.sums().shape, 0.0, layouts.sums())
            for step in range(steps):
                box = vm.transpose(
                    split[first : first + 8, :, step : step + 1, :, :, :], (1, 2, 4, 0, 3, 5)
                )
                vm.mma(sums, vm.reshape(box, (config.k_warps, 16, 16)), ones)
            eight = self.by_column(sums)
            layout = layouts.sums_by_column(first + 8)
            whole = eight if whole is None else vm.concat(whole, eight, 2, layout)
        assert whole is not None
        return whole

    def by_column(self, sums: Tile) -> Tile:
        """[W, 1, 8] of [W, 2 * 8, 8] sums whose columns are alike: where products have tokens."""
        layouts = self.config.layouts
        # Of a thread's two columns one is enough, and of the four threads any.
        halves = vm.reshape(sums, (self.config.k_warps, 2, 8, 4, 2))
        row = layouts.sums_by_row()
        even = vm.view(halves[:, :1, :, :, :1], f32, row.shape, row)
        odd = vm.view(halves[:, 1:, :, :, :1], f32, row.shape, row)
        return vm.convert_layout(even + odd, layouts.sums_by_column(8))

    def decoded(self, words: Tile) -> Tile:
        """[W, F, T, 16, s, q, 16]: decoded codes."""
        config = self.config
        if not config.form.decoded:
            return self.values(words)
        if config.complemented:
            words = vm.convert_layout(~words, config.layouts.words())
        decoded = vm.decode(self._codes(words), dtype(config.activation), config.form.name)
        return self._split(decoded)

    def values(self, words: Tile) -> Tile:
        """[W, F, T, 16, s, q, 16]: what the codes stand for."""
        return self._split(vm.cast(self._codes(words), dtype(self.config.activation)))

    def _codes(self, words: Tile) -> Tile:
        config, cut = self.config, self.config.cut
        shape = (config.k_warps, config.features, cut.chunk)
        return vm.view(words, dtype(config.weight), shape, config.layouts.codes(), vm.PAIRED)

    def _split(self, values: Tile) -> Tile:
        config, cut = self.config, self.config.cut
        split = (config.k_warps, config.feature_warps, cut.tiles, 16, cut.steps, cut.parts, 16)
        return vm.reshape(values, split)

    def operand(self, values: Tile, part: int, tile: int) -> Tile:
        """[W, F * 16, chunk / Q]: the A operand of a feature tile and a part of k."""
        config, cut = self.config, self.config.cut
        box = values[:, :, tile : tile + 1, :, :, part : part + 1, :]
        shape = (config.k_warps, 16 * config.feature_warps, cut.chunk // cut.parts)
        return vm.reshape(box, shape)

    def scaled_x(self, rows: Tile) -> Tile:
        """x, times what the form of the weights asks for: a power of two, so it stays exact."""
        scale = self.config.form.x_scale
        return rows if scale == 1.0 else rows * scale

    def x_parts(self, rows: Tile) -> list[Tile]:
        """[W, chunk / Q, tokens] of x for each part of k."""
        config, cut = self.config, self.config.cut
        split = vm.reshape(rows, (config.tokens, config.k_warps, cut.steps, cut.parts, 16))
        shape = (config.tokens, config.k_warps, cut.chunk // cut.parts)
        parts = []
        for part in range(cut.parts):
            box = split[:, :, :, part : part + 1, :]
            parts.append(vm.transpose(vm.reshape(box, shape), (1, 2, 0)))
        return parts

    def by_tile(self, values: Tile) -> Tile:
        """[rows, F, T, 16, 1] scales or zeros in f32."""
        config, cut = self.config, self.config.cut
        rows = values.shape[1]
        ordered = vm.transpose(vm.cast(values, f32), (1, 0, 3, 4, 2))
        return vm.reshape(ordered, (rows, config.feature_warps, cut.tiles, 16, 1))

    def tile(self, values: Tile, tile: int) -> Tile:
        """A feature tile of [rows, F, T, 16, 1], as [rows, F * 16, 1]."""
        box = values[:, :, tile : tile + 1, :, :]
        return vm.reshape(box, (values.shape[0], 16 * self.config.feature_warps, 1))

    def sums(self, x: Tile) -> Tile | None:
        """[W, F * 16, tokens]: the sum over k of each token's x, in every row; None if unneeded."""
        if not self.config.needs_sums:
            return None
        layout, ones_layout = self.config.layouts.accumulator(), self.config.layouts.ones()
        ones = vm.full(dtype(self.config.activation), ones_layout.shape, 1.0, ones_layout)
        sums = vm.full(f32, layout.shape, 0.0, layout)
        vm.mma(sums, ones, x)
        return sums


class RankOne:
    """Sums of x over the parts of k, and what they make of the constants of the decode."""

    def __init__(self, config: Config, parts: Sequence[Tile | None]) -> None:
        self.config, self.parts = config, parts
        self._whole: Tile | None = None
        self._unscaled: Tile | None = None
        self._known: dict[tuple[float, ...], Tile | None] = {}

    @property
    def whole(self) -> Tile:
        """The sums over all of the chunk."""
        if self._whole is None:
            for part in self.parts:
                assert part is not None
                self._whole = part if self._whole is None else self._whole + part
        assert self._whole is not None
        return self._whole

    @property
    def unscaled(self) -> Tile:
        """The same of x as it is in memory."""
        scale = self.config.form.x_scale
        if scale == 1.0:
            return self.whole
        if self._unscaled is None:
            self._unscaled = self.whole * (1.0 / scale)
        return self._unscaled

    def known_zero(self, tile: int) -> Tile | None:
        """What the constants known at compile time add to a feature tile's sum, negated."""
        constants = self._constants(tile, 1.0)
        if constants not in self._known:
            self._known[constants] = self._weighted(constants)
        return self._known[constants]

    def less_known_zero(self, tile: int, unit: float, product: Tile) -> Tile:
        """A feature tile's sum, in a unit, without what those constants add to it."""
        constants = self._constants(tile, unit)
        if not any(constants):
            return product
        if len(set(constants)) == 1:
            return vm.fma(self.whole, -constants[0], product)
        weighted = self._weighted(constants)
        assert weighted is not None
        return product + weighted

    def _constants(self, tile: int, unit: float) -> tuple[float, ...]:
        """Of the parts of k."""
        config = self.config
        parts = range(config.cut.parts)
        return tuple(config.constant(config.pair(part, tile)) / unit for part in parts)

    def _weighted(self, constants: tuple[float, ...]) -> Tile | None:
        if not any(constants):
            return None
        if len(set(constants)) == 1:
            return self.whole * -constants[0]
        total: Tile | None = None
        for part, constant in zip(self.parts, constants, strict=True):
            assert part is not None
            total = scaled(part, -constant, total)
        return total


def scaled(value: Tile, factor: float, added: Tile | None) -> Tile:
    """value * factor + added."""
    if added is not None:
        return vm.fma(value, factor, added)
    return value if factor == 1.0 else value * factor
