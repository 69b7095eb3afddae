"""Rows of mixed features as matrices of floats, for methods that look at all features at once.

Whatever is learned from the rows here (medians, categories) is learned from both samples together, without looking at
which row came from where. Under "nothing changed" the rows stay exchangeable then, so permutation tests on the result
are exact. Medians and top categories of the reference alone would not do: its top categories were chosen for their
counts, so they fall back in any later window, which looks like drift.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Floats = npt.NDArray[np.float64]

CATEGORIES = 20
BUCKETS = 16
MEDIAN_ROWS = 100
_WORD = re.compile(r"\w+")
# A column of strings is read as text where a value has this many words on average.
WORDS = 3.0


@dataclass(frozen=True, slots=True)
class DesignMatrices:
    """Two samples as matrices with the same columns; `names` tells the columns and `features` where each came from."""

    reference: Floats
    current: Floats
    names: tuple[str, ...]
    features: tuple[str, ...]


def design_matrix(
    reference_columns: Mapping[str, npt.NDArray[Any]],
    current_columns: Mapping[str, npt.NDArray[Any]],
    *,
    categories: int = CATEGORIES,
    buckets: int = BUCKETS,
) -> DesignMatrices:
    """Turn two tables of named columns into two matrices of floats without gaps.

    Numbers and booleans stay as they are; a gap (NaN) becomes the median of both samples and sets an indicator column.
    Infinite values count as gaps. An array of strings is categorical: its `categories` most frequent values become
    indicators, the rest is hashed into `buckets` indicators. It is text where values have three words or more on
    average: then the columns are the shares of its words in `buckets` hashed buckets, and the log of its word count.
    `None` and NaN are gaps of strings too.

    Args:
        reference_columns: arrays of one length, by feature.
        current_columns: arrays of one length, by the same features.
        categories: indicators of single categories a feature has at most.
        buckets: into which rarer categories, or words, are hashed (CRC-32, the same everywhere).

    Raises:
        InvalidInput: the features differ, a table has no rows or columns, lengths differ, or a column mixes kinds.

    >>> made = design_matrix(
    ...     {"age": np.array([30.0, np.nan]), "colour": np.array(["red", "blue"], dtype=object)},
    ...     {"age": np.array([50.0]), "colour": np.array(["red"], dtype=object)},
    ... )
    >>> made.names
    ('age', 'age is missing', 'colour = red', 'colour = blue')
    >>> made.reference.tolist(), made.current.tolist()
    ([[30.0, 0.0, 1.0, 0.0], [40.0, 1.0, 0.0, 1.0]], [[50.0, 0.0, 1.0, 0.0]])
    """
    if categories < 1 or buckets < 1:
        raise InvalidInput(f"Categories and buckets must be at least 1; got {categories} and {buckets}.")
    if not reference_columns:
        raise InvalidInput("There are no columns to compare.")
    if set(reference_columns) != set(current_columns):
        differing = ", ".join(sorted(set(reference_columns) ^ set(current_columns)))
        raise InvalidInput(f"Both samples must have the same columns; only one has: {differing}.")
    rows, more = _length(reference_columns, "reference"), _length(current_columns, "current")
    blocks, names, features = [], [], []
    for feature, before in reference_columns.items():
        block, made = _encoded(feature, before, current_columns[feature], categories, buckets)
        blocks.append(block)
        names += made
        features += [feature] * len(made)
    joined = np.concatenate(blocks, axis=1)
    return DesignMatrices(joined[:rows], joined[rows : rows + more], tuple(names), tuple(features))


def checked_pair(reference: Any, current: Any, names: Sequence[str] | None = None) -> DesignMatrices:
    """Two matrices (rows by features) as floats; gaps become the joint median and get an indicator column a feature.

    Raises:
        InvalidInput: a sample is no matrix of numbers, is empty, holds infinity, or their features differ.
    """
    first, second = _matrix(reference, "reference"), _matrix(current, "current")
    if first.shape[1] != second.shape[1]:
        raise InvalidInput(
            f"Both samples must have the same features; the reference has {first.shape[1]}, the current sample "
            f"{second.shape[1]}."
        )
    labels = list(names) if names is not None else [f"feature {place}" for place in range(first.shape[1])]
    if len(labels) != first.shape[1]:
        raise InvalidInput(f"There are {len(labels)} names for {first.shape[1]} features; give one a feature.")
    joined = np.concatenate((first, second))
    gaps = np.isnan(joined)
    gappy = np.flatnonzero(gaps.any(axis=0))
    for place in gappy:
        joined[gaps[:, place], place] = _median(joined[:, place])
    joined = np.concatenate((joined, gaps[:, gappy].astype(np.float64)), axis=1)
    columns = labels + [f"{labels[place]} is missing" for place in gappy]
    owners = labels + [labels[place] for place in gappy]
    return DesignMatrices(joined[: len(first)], joined[len(first) :], tuple(columns), tuple(owners))


def standardised(rows: Floats) -> Floats:
    """Columns less their mean, by their standard deviation; constant columns become 0. Huge values don't overflow."""
    size = np.maximum(rows.max(axis=0), -rows.min(axis=0))
    centred = rows / np.where(size > 0, size, 1.0)
    centred -= centred.mean(axis=0)
    spread = np.sqrt(np.einsum("ij,ij->j", centred, centred) / len(rows))
    centred *= np.where(spread > 1e-12, 1 / np.where(spread > 1e-12, spread, 1.0), 0.0)
    return np.asarray(centred)


def sampled(rows: Floats, most: int, generator: np.random.Generator) -> Floats:
    """At most `most` of the rows, drawn at random without replacement."""
    if len(rows) <= most:
        return rows
    return rows[generator.choice(len(rows), size=most, replace=False)]


def median_distance(rows: Floats, generator: np.random.Generator) -> float:
    """The median distance between different rows, of at most 100 at random; 0 where all are equal."""
    few = sampled(rows, MEDIAN_ROWS, generator)
    squares = (few * few).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * few @ few.T, 0.0)
    apart = distances[np.triu_indices(len(few), 1)]
    apart = apart[apart > 1e-12]
    return math.sqrt(float(np.median(apart))) if len(apart) else 0.0


def _matrix(values: Any, name: str) -> Floats:
    try:
        rows = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"The {name} sample must be a matrix of numbers; use design_matrix for other columns: {error}."
        ) from error
    if rows.ndim == 1:
        rows = rows[:, None]
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InvalidInput(f"The {name} sample must be a matrix of rows by features; its shape is {rows.shape}.")
    if not len(rows):
        raise InvalidInput(f"The {name} sample has no rows, so it can't be compared.")
    if np.isinf(rows).any():
        raise InvalidInput(f"The {name} sample holds infinite values; make them NaN, which counts as missing.")
    return rows


def _length(columns: Mapping[str, npt.NDArray[Any]], name: str) -> int:
    lengths = {np.asarray(column).shape for column in columns.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1:
        raise InvalidInput(f"The {name} columns must be arrays of one length; their shapes are {sorted(lengths)}.")
    (rows,) = next(iter(lengths))
    if not rows:
        raise InvalidInput(f"The {name} sample has no rows, so it can't be compared.")
    return int(rows)


def _encoded(feature: str, before: Any, after: Any, categories: int, buckets: int) -> tuple[Floats, list[str]]:
    first, second = np.asarray(before), np.asarray(after)
    if first.dtype.kind in "fiub" and second.dtype.kind in "fiub":
        return _numbers(feature, np.concatenate((first.astype(np.float64), second.astype(np.float64))))
    values = [*first.tolist(), *second.tolist()]
    missing = np.array([value is None or (isinstance(value, float) and math.isnan(value)) for value in values])
    kinds = {type(value).__name__ for value, gap in zip(values, missing, strict=True) if not gap}
    if kinds <= {"float", "int", "bool"}:
        return _numbers(
            feature, np.array([np.nan if gap else float(v) for v, gap in zip(values, missing, strict=True)])
        )
    if kinds != {"str"}:
        raise InvalidInput(
            f"Column '{feature}' must hold numbers or strings only; it holds {', '.join(sorted(kinds))}."
        )
    texts = ["" if gap else value for value, gap in zip(values, missing, strict=True)]
    words = [_WORD.findall(text) for text in texts]
    if sum(map(len, words)) >= WORDS * max(1, len(words) - int(missing.sum())):
        block, names = _text(feature, words, buckets)
    else:
        block, names = _categories(feature, texts, missing, categories, buckets)
    if missing.any():
        block, names = np.column_stack((block, missing)), [*names, f"{feature} is missing"]
    return block, names


def _numbers(feature: str, values: Floats) -> tuple[Floats, list[str]]:
    gaps = ~np.isfinite(values)
    if not gaps.any():
        return values[:, None], [feature]
    filled = np.where(gaps, _median(values), values)
    return np.column_stack((filled, gaps)), [feature, f"{feature} is missing"]


def _median(values: Floats) -> float:
    present = values[np.isfinite(values)]
    return float(np.median(present)) if len(present) else 0.0


def _categories(
    feature: str, texts: list[str], missing: npt.NDArray[np.bool_], categories: int, buckets: int
) -> tuple[Floats, list[str]]:
    counts = Counter(text for text, gap in zip(texts, missing, strict=True) if not gap)
    # Ties by name, so that the choice can't depend on the order of the rows, and with it on the sample.
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    top, rest = ranked[:categories], ranked[categories:]
    place = {text: number for number, text in enumerate(top)}
    used = sorted({_bucket(text, buckets) for text in rest})
    place |= {text: len(top) + used.index(_bucket(text, buckets)) for text in rest}
    block = np.zeros((len(texts), len(top) + len(used)))
    rows = np.flatnonzero(~missing)
    block[rows, [place[texts[row]] for row in rows]] = 1.0
    return block, [f"{feature} = {text}" for text in top] + [f"{feature} in bucket {bucket}" for bucket in used]


def _text(feature: str, words: list[list[str]], buckets: int) -> tuple[Floats, list[str]]:
    block = np.zeros((len(words), buckets + 1))
    known: dict[str, int] = {}
    for row, found in zip(block, words, strict=True):
        for word in found:
            low = word.lower()
            bucket = known.get(low)
            if bucket is None:
                bucket = known[low] = _bucket(low, buckets)
            row[bucket] += 1.0
    counts = block[:, :buckets].sum(axis=1)
    block[:, :buckets] /= np.maximum(counts, 1.0)[:, None]
    block[:, buckets] = np.log1p(counts)
    return block, [f"{feature}: words in bucket {number}" for number in range(buckets)] + [f"{feature}: log of words"]


def _bucket(text: str, buckets: int) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % buckets
