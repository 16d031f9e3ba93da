"""Sentences to token numbers, all sentences one after the other without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tileloom.vm.diagnostics import UsageError

LONGEST_SENTENCE = 256


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of several sentences: sentence i has `ids[starts[i]:starts[i + 1]]`."""

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def positions(self) -> NDArray[np.int64]:
        """The place of every token in its own sentence."""
        return np.arange(len(self.ids)) - np.repeat(self.starts[:-1], np.diff(self.starts))

    def sentences(self) -> list[slice]:
        """Where each sentence's tokens lie."""
        return [slice(a, b) for a, b in zip(self.starts[:-1], self.starts[1:], strict=True)]


def load_sentences() -> list[str]:
    """The sentences the example embeds."""
    text = resources.files(__package__).joinpath("sentences.txt").read_text("utf-8")
    return text.splitlines()


def tokenize(sentences: Sequence[str], model_dir: Path) -> Tokens:
    """Tokens by the model's own word pieces, with its start and end marks."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UsageError(
            "`tokenizers` is not installed", hint='pip install "tileloom[minilm]"'
        ) from None
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST_SENTENCE)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(sentences))]
    starts = np.cumsum([0, *map(len, ids)])
    return Tokens(np.array([each for sentence in ids for each in sentence], np.int64), starts)
