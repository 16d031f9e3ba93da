"""Packed words as the bytes of an operand: shifts and masks of whole words."""

from __future__ import annotations

from tileloom import vm
from tileloom.vm.dsl.values import MemoryTile, ScalarLike, Tile
from tileloom.vm.dtypes import dtype

from .eight_bit_config import ByteConfig
from .eight_bit_forms import ByteForm, Piece, pieces
from .eight_bit_packing import SLAB

_EACH = 0x01010101  # one in each byte


class Weights:
    """The weights of a chunk of a slab: `slots` from `place` on."""

    def __init__(self, config: ByteConfig, slots: MemoryTile, place: list[ScalarLike]) -> None:
        self.config, self.slots, self.place = config, slots, place
        self.units: _Units | None = None

    def operand(self, half: int = 0) -> Tile:
        """[64, depth] of the form's operand dtype: a half of the chunk."""
        config = self.config
        self.read(half)
        assert self.units is not None
        places = config.places
        first = places * half if config.loads == 1 else 0
        quads = vm.convert_layout(self.units.quad(first), config.quads(1))
        for count in range(1, places):
            quads = vm.concat(quads, self.units.quad(first + count), 2, config.quads(count + 1))
        return vm.view(quads, dtype(config.form.operand), (SLAB, config.depth), config.operand)

    def read(self, half: int = 0) -> None:
        """Reads the words of a half, or of both where they share words."""
        if self.units is None or self.config.loads > 1:
            self.units = self._load(half)

    def _load(self, half: int) -> _Units:
        config, layout = self.config, self.config.words()
        *lead, first = self.place
        at = [*lead, first + half * layout.shape[0]]
        words = vm.load(self.slots, at, layout.shape, layout, dims=(2,), in_bounds=True)
        lanes = vm.transpose(vm.reshape(words, config.word_dims()), (1, 2, 0, 3))
        return _Units(vm.reshape(lanes, config.unit_dims()), config.form)


class _Units:
    """The units of a lane: [warp, lane, word, unit]."""

    def __init__(self, units: Tile, form: ByteForm) -> None:
        self.units, self.form = units, form
        self.moved: dict[tuple[int, int], Tile] = {}

    def quad(self, number: int) -> Tile:
        """[warp, lane, 1, unit]: the quads of a place of a unit, as bytes."""
        whole: Tile | None = None
        for word, bit, length, place in self._runs(pieces(self.form.bits)[number]):
            some = self._shifted(word, place - bit)
            if length < 8:
                some = some & _EACH * ((1 << length) - 1 << place)
            whole = some if whole is None else whole | some
        assert whole is not None, "a code has bits"
        if self.form.ones:
            whole = whole | _EACH * self.form.ones
        if self.form.carries:
            whole = whole + ((whole >> 7) & _EACH)
        return whole

    def _runs(self, parts: tuple[Piece, ...]) -> list[tuple[int, int, int, int]]:
        """(word, bit, length, place in the byte) of bits that stay neighbours."""
        runs: list[tuple[int, int, int, int]] = []
        for part in parts:
            for i in range(part.length):
                place = self.form.places[part.code_bit + i]
                word, bit = part.word, part.bit + i
                if runs and i and runs[-1][3] + runs[-1][2] == place:
                    runs[-1] = (*runs[-1][:2], runs[-1][2] + 1, runs[-1][3])
                else:
                    runs.append((word, bit, 1, place))
        return runs

    def _shifted(self, word: int, left: int) -> Tile:
        """A word of all units, shifted left or, if negative, right."""
        found = self.moved.get((word, left))
        if found is None:
            found = self.units[:, :, word : word + 1, :]
            if left:
                found = found << left if left > 0 else found >> -left
            self.moved[word, left] = found
        return found
