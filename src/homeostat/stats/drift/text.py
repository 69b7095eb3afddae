"""Text as numbers that drift methods can read: cheap descriptors of each text, and token counts in hashed buckets.

The descriptors see a change of length, language, script, shouting, markup or encoding; the token counts see a change of
vocabulary. Neither sees a change of meaning in the same words. Texts are read in pieces of at most a million
characters, so memory stays bounded by the number of texts, however long they are; `token_drift` alone holds the tokens.

Hashing tokens into a fixed number of buckets is the hashing trick (Weinberger et al. 2009). The hash is CRC-32 of the
UTF-8 bytes, which is the same in every process and on every machine.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.permutation import PERMUTATIONS, PermutationResult, concluded, permutations_for

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

DESCRIPTORS = (
    "characters",
    "words",
    "mean_word_length",
    "digit_share",
    "upper_case_share",
    "punctuation_share",
    "whitespace_share",
    "non_ascii_share",
)
BUCKETS = 256
PIECE = 1_000_000
LARGEST_BUCKETS = 1 << 24

# The classes of a character as bits, so that one look-up gives all of them.
DIGIT, UPPER, PUNCTUATION, SPACE, NON_ASCII = 1, 2, 4, 8, 16
_CLASSES = (DIGIT, UPPER, PUNCTUATION, SPACE, NON_ASCII)
_TOKEN = re.compile(r"\w+")


def describe_texts(texts: Sequence[str | None] | npt.NDArray[Any]) -> dict[str, Floats]:
    """Eight descriptors of each text, as one array of floats a descriptor.

    `characters` counts code points and `words` counts runs of characters that are not whitespace. The shares are of the
    characters: decimal and other digits, upper case, punctuation and symbols, whitespace, and code points above 127.
    A missing text (`None` or NaN) has NaN everywhere. A text without characters has no shares, and one without words no
    mean word length: those are NaN too.

    Raises:
        InvalidInput: a value is neither text nor missing, or the texts are not one-dimensional.

    >>> found = describe_texts(["Pay NOW!", "", None])
    >>> found["characters"].tolist(), found["words"].tolist(), found["upper_case_share"].tolist()
    ([8.0, 0.0, nan], [2.0, 0.0, nan], [0.5, nan, nan])
    """
    values, present = _checked(texts)
    size = len(values)
    length, words = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    counts = np.zeros((len(_CLASSES), size), dtype=np.int64)
    for places, parts, follows in _pieces(values):
        widths = np.array([len(part) for part in parts], dtype=np.intp)
        classes = _classes("".join(parts))
        starts = np.cumsum(widths) - widths
        length[places] += widths
        for row, bit in enumerate(_CLASSES):
            counts[row, places] += np.add.reduceat((classes & bit) > 0, starts, dtype=np.int64)
        space = (classes & SPACE) > 0
        before = np.empty(len(space), dtype=bool)
        before[1:] = space[:-1]
        # A piece that carries a word on does not begin one.
        before[starts] = ~np.array(follows, dtype=bool)
        words[places] += np.add.reduceat(before & ~space, starts, dtype=np.int64)
    characters = np.where(present, length.astype(np.float64), np.nan)
    spoken = np.where(present, words.astype(np.float64), np.nan)
    whole = np.where(length > 0, characters, np.nan)
    digits, upper, punctuation, spaces, foreign = counts / whole
    letters = length - counts[_CLASSES.index(SPACE)]
    return {
        "characters": characters,
        "words": spoken,
        "mean_word_length": letters / np.where(words > 0, spoken, np.nan),
        "digit_share": digits,
        "upper_case_share": upper,
        "punctuation_share": punctuation,
        "whitespace_share": spaces,
        "non_ascii_share": foreign,
    }


def token_counts(texts: Sequence[str | None] | npt.NDArray[Any], buckets: int = BUCKETS) -> Counts:
    """How many tokens of all texts fall into each of `buckets` buckets; missing texts add none.

    A token is a run of letters, digits and underscores in lower case; its bucket is the remainder of its CRC-32.
    Counts of two sets of texts add up, so windows merge. Compare them by a distance (Jensen–Shannon, Hellinger, total
    variation). Tokens of one text are not independent, so a p-value of these counts as if they were rows is far too
    small: use `token_drift`, which permutes whole texts.

    Raises:
        InvalidInput: a value is neither text nor missing, or `buckets` is not between 1 and 16,777,216.

    >>> token_counts(["pay now", "Pay later", None], 8).sum().item()
    4
    >>> bool((token_counts(["now PAY"], 8) == token_counts(["Pay, now!"], 8)).all())
    True
    """
    _check_buckets(buckets)
    values, _ = _checked(texts)
    found = np.zeros(buckets, dtype=np.int64)
    for _, parts, _ in _pieces(values):
        # Joined by a blank, as a text that goes on in the next piece is cut where a token ends wherever it can be.
        tally = Counter(_TOKEN.findall(" ".join(parts).lower()))
        where = np.fromiter((_bucket(token, buckets) for token in tally), dtype=np.intp, count=len(tally))
        np.add.at(found, where, np.fromiter(tally.values(), dtype=np.int64, count=len(tally)))
    return found


def token_drift(
    reference: Sequence[str | None] | npt.NDArray[Any],
    current: Sequence[str | None] | npt.NDArray[Any],
    *,
    buckets: int = BUCKETS,
    permutations: int = PERMUTATIONS,
    level: float = 0.05,
    rng: int | np.random.Generator = 0,
) -> PermutationResult:
    """The Jensen–Shannon divergence, in bits, of the token counts of two sets of texts, with a permutation p-value.

    Whole texts are permuted, so that it does not matter how tokens of one text go together; texts must be independent.
    Missing texts and texts without a token are left out, and do not count among the rows.

    Raises:
        InvalidInput: a side has no text with a token, or an argument is out of range.

    >>> before = ["pay the invoice now", "see the report", "lunch at noon"] * 20
    >>> after = ["win a prize now", "claim your prize", "free prize"] * 20
    >>> token_drift(before, after, permutations=99).p
    0.01
    """
    from scipy.sparse import vstack

    from homeostat.stats.drift.jensen_shannon import jensen_shannon_of_rows

    _check_buckets(buckets)
    if permutations < permutations_for(level):
        raise InvalidInput(f"{permutations} permutations can't give a p-value of {level}; take more.")
    sides = [_text_rows(_checked(texts)[0], buckets) for texts in (reference, current)]
    n, m = (side.shape[0] for side in sides)
    if not n or not m:
        raise InvalidInput(f"Both sides need texts with at least one token; got {n} and {m} such texts.")
    rows = vstack(sides).tocsr()
    total = np.asarray(rows.sum(axis=0), dtype=np.float64).ravel()

    def divergences(chosen: Floats) -> Floats:
        """By row of `chosen`, which marks the texts that count as the reference."""
        before = np.asarray((rows.T @ chosen.T).T, dtype=np.float64)
        after = total - before
        return jensen_shannon_of_rows(
            before / before.sum(axis=1, keepdims=True), after / after.sum(axis=1, keepdims=True)
        )

    generator = np.random.default_rng(rng)
    first = np.arange(n + m) < n
    drawn = np.empty(permutations)
    # A batch holds a few million marks at most.
    batch = max(1, min(permutations, 4_000_000 // (n + m + buckets)))
    for start in range(0, permutations, batch):
        size = min(batch, permutations - start)
        drawn[start : start + size] = divergences(
            generator.permuted(np.tile(first.astype(np.float64), (size, 1)), axis=1)
        )
    return concluded(float(divergences(first[None].astype(np.float64))[0]), drawn, n, m, level=level)


def _text_rows(texts: list[str], buckets: int) -> Any:
    """Token counts of each text that has one, as a sparse matrix."""
    from scipy.sparse import csr_matrix

    columns: list[int] = []
    ends = [0]
    known: dict[str, int] = {}
    for text in texts:
        for token in _TOKEN.findall(text.lower()):
            place = known.get(token)
            if place is None:
                place = known[token] = _bucket(token, buckets)
            columns.append(place)
        if len(columns) > ends[-1]:
            ends.append(len(columns))
    found = csr_matrix(
        (np.ones(len(columns)), np.array(columns, dtype=np.intp), np.array(ends)), shape=(len(ends) - 1, buckets)
    )
    found.sum_duplicates()
    return found


def _bucket(token: str, buckets: int) -> int:
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) % buckets


def _check_buckets(buckets: int) -> None:
    if not 1 <= buckets <= LARGEST_BUCKETS:
        raise InvalidInput(f"Tokens are hashed into 1 to {LARGEST_BUCKETS:,} buckets; got {buckets}.")


def _checked(texts: Sequence[str | None] | npt.NDArray[Any]) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """The texts with "" for the missing ones, and which are present."""
    if isinstance(texts, str):
        raise InvalidInput("One text was given where an array of texts is needed; put it into a list.")
    if isinstance(texts, np.ndarray) and texts.ndim != 1:
        raise InvalidInput(f"Texts must be in an array of one dimension; got {texts.ndim}.")
    values: list[Any] = texts.tolist() if isinstance(texts, np.ndarray) else list(texts)
    present = np.fromiter((isinstance(value, str) for value in values), dtype=bool, count=len(values))
    for place in np.flatnonzero(~present).tolist():
        value = values[place]
        # NaN is the one float that differs from itself, and pandas' missing value the one that can't tell.
        if value is not None and not (isinstance(value, float) and value != value) and repr(value) != "<NA>":  # noqa: PLR0124
            raise InvalidInput(
                f"Texts must be strings or missing; value {place} is of type {type(value).__name__}. "
                "Convert such values to strings, or leave them out."
            )
        values[place] = ""
    return values, present


def _pieces(texts: list[str]) -> Iterator[tuple[npt.NDArray[np.intp], list[str], list[bool]]]:
    """Non-empty texts in pieces of about `PIECE` characters: where they stand, and whether they carry a word on."""
    places: list[int] = []
    parts: list[str] = []
    follows: list[bool] = []
    held = 0
    for place, text in enumerate(texts):
        start = 0
        while start < len(text):
            stop = min(len(text), start + PIECE)
            if stop < len(text):
                stop = _token_end(text, start, stop)
            places.append(place)
            parts.append(text[start:stop])
            follows.append(start > 0 and not text[start - 1].isspace())
            held += stop - start
            start = stop
            # A text stands at most once in a piece, so that sums can be added by place.
            if held >= PIECE or start < len(text):
                yield np.array(places, dtype=np.intp), parts, follows
                places, parts, follows, held = [], [], [], 0
    if places:
        yield np.array(places, dtype=np.intp), parts, follows


def _token_end(text: str, start: int, stop: int) -> int:
    """The last place up to `stop` where no token is cut; `stop` itself where one token fills the last stretch."""
    for place in range(stop, max(start, stop - 10_000), -1):
        if not _TOKEN.match(text[place - 1]) or not _TOKEN.match(text[place]):
            return place
    return stop


def _classes(text: str) -> npt.NDArray[np.uint8]:
    """The class bits of each character."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    found: npt.NDArray[np.uint8] = _ASCII[np.minimum(codes, 127)]
    foreign = np.flatnonzero(codes > 127)
    if len(foreign):
        distinct, place = np.unique(codes[foreign], return_inverse=True)
        found[foreign] = np.array([_class_of(chr(code)) for code in distinct.tolist()], dtype=np.uint8)[place]
    return found


def _class_of(character: str) -> int:
    bits = NON_ASCII if ord(character) > 127 else 0
    bits |= DIGIT if character.isdigit() else 0
    bits |= UPPER if character.isupper() else 0
    bits |= SPACE if character.isspace() else 0
    return bits | (PUNCTUATION if unicodedata.category(character)[0] in "PS" else 0)


_ASCII = np.array([_class_of(chr(code)) for code in range(128)], dtype=np.uint8)
