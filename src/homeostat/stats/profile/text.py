"""The summary of one text feature: numbers that describe each text, and in how many texts each hashed token occurs."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.profile.numeric import DIFFERENT, NumericSummary, first_numeric, numeric_like

Counts = npt.NDArray[np.int64]

BUCKETS = 256
# Beyond this a text's tokens are not read; its descriptors are of the whole text.
LONGEST = 100_000
_TOKEN = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, eq=False)
class TextSummary:
    """Summaries of what describes each text (length, words, classes of characters), and `documents`.

    `documents[b]` is how many texts hold a token that hashes to bucket `b`. A text counts once in a bucket, however
    often it repeats a token, so that texts, and not tokens, are the independent unit.
    """

    descriptors: dict[str, NumericSummary]
    documents: Counts
    count: int
    missing: int

    @property
    def rows(self) -> int:
        """All rows, missing ones included."""
        return self.count + self.missing

    def same_cells(self, other: TextSummary) -> bool:
        """Whether the counts of both are of the same bins and buckets."""
        return (
            self.descriptors.keys() == other.descriptors.keys()
            and len(self.documents) == len(other.documents)
            and all(mine.same_cells(other.descriptors[name]) for name, mine in self.descriptors.items())
        )

    def empty(self) -> TextSummary:
        """The summary of no rows with these edges and buckets."""
        descriptors = {name: summary.empty() for name, summary in self.descriptors.items()}
        return TextSummary(descriptors, np.zeros_like(self.documents), 0, 0)

    def __add__(self, other: TextSummary) -> TextSummary:
        if not self.same_cells(other):
            raise InvalidInput(DIFFERENT)
        descriptors = {name: mine + other.descriptors[name] for name, mine in self.descriptors.items()}
        return TextSummary(
            descriptors, self.documents + other.documents, self.count + other.count, self.missing + other.missing
        )


def first_text(texts: npt.NDArray[Any], bins: int) -> TextSummary:
    """The summary of a reference's texts (objects, `None` for missing)."""
    described = _described(texts)
    summaries = {name: first_numeric(values, bins)[0] for name, values in described.items()}
    return _with_tokens(texts, summaries, BUCKETS)


def text_like(texts: npt.NDArray[Any], like: TextSummary) -> TextSummary:
    """The summary of texts over the edges and buckets of another."""
    described = _described(texts)
    summaries = {name: numeric_like(described[name], summary.edges)[0] for name, summary in like.descriptors.items()}
    return _with_tokens(texts, summaries, len(like.documents))


def _described(texts: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float64]]:
    from homeostat.stats.drift.text import describe_texts

    return describe_texts(texts)


def _with_tokens(texts: npt.NDArray[Any], summaries: dict[str, NumericSummary], buckets: int) -> TextSummary:
    documents = np.zeros(buckets, dtype=np.int64)
    count = 0
    places: dict[str, int] = {}
    for text in texts.tolist():
        if not isinstance(text, str):
            continue
        count += 1
        tokens = set(_TOKEN.findall(text[:LONGEST].lower()))
        for token in tokens - places.keys():
            places[token] = zlib.crc32(token.encode("utf-8", "surrogatepass")) % buckets
        documents[list({places[token] for token in tokens})] += 1
        if len(places) > LONGEST:
            places.clear()
    return TextSummary(summaries, documents, count, len(texts) - count)
