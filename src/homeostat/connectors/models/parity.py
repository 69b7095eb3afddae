"""Rows on which a served form must give what the original gives, and the comparison."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from homeostat import frames
from homeostat.connectors.models.original import Estimator
from homeostat.connectors.models.serving import Predictor, Refusals
from homeostat.errors import CompilationFailed, HomeostatError
from homeostat.frames import Array, Columns, Floats

REFERENCE_ROWS = 1000
BORDER_ROWS = 1000
ROWS_A_CASE = 4
QUANTILES = 9
SMALL_ROWS = 240
SMALL_BATCHES = 12
EXTREMES = (1e30, -1e30, 0.0)
REFERENCE = "reference rows"
NEAR_ZERO = 1.01e-35
UNSEEN = "\N{EMPTY SET}unseen"


@dataclass(frozen=True)
class Case:
    """Constructed rows of one sort, in one column or in all (`None`)."""

    sort: str
    column: str | None
    rows: Columns


@dataclass(frozen=True)
class Rows:
    """The rows to compare on, the original's outputs for them, and what it refused."""

    columns: Columns
    outputs: Floats
    sorts: Array
    refusals: Refusals = field(default_factory=Refusals)
    refused: tuple[Case, ...] = ()

    @property
    def scale(self) -> float:
        """What a difference is measured in: 1 for probabilities, the spread on reference rows for values."""
        if self.outputs.ndim == 2:
            return 1.0
        return float(np.std(self.outputs[self.sorts == REFERENCE])) or 1.0

    @property
    def notes(self) -> list[str]:
        """What the original refused, in words."""
        notes = []
        if self.refusals.missing:
            notes.append(f"the original refuses missing values in {_listed(self.refusals.missing)}, so do we")
        if self.refusals.infinite:
            notes.append("the original refuses infinite values, so do we")
        for sort in sorted({case.sort for case in self.refused}):
            names = [case.column for case in self.refused if case.sort == sort and case.column is not None]
            notes.append(f"the original refuses {sort} in {_listed(names)}, so do we")
        return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more columns" if len(names) > 5 else "")


def collect(
    original: Estimator, reference: Columns, borders: Mapping[str, Floats], generator: np.random.Generator
) -> Rows:
    """Reference rows and constructed ones with the original's outputs.

    Constructed are, in each column: missing values, categories never seen, extreme numbers, and values at `borders`
    (split values of trees, else quantiles) with their 32-bit and 64-bit neighbours. Raises `CompilationFailed` where
    there are no reference rows or the original fails on them.
    """
    kinds = original.kinds
    known = reference.select(kinds)
    if known.rows == 0:
        raise CompilationFailed("There are no reference rows to check the served model against; pass some.")
    if known.rows > REFERENCE_ROWS:
        known = known.take(np.sort(generator.choice(known.rows, REFERENCE_ROWS, replace=False)))
    cases = [Case(REFERENCE, None, known)]
    texts = [name for name, kind in kinds.items() if not kind.is_number]
    numbers = [name for name, kind in kinds.items() if kind.is_number]
    for name in kinds:
        gone = np.full(ROWS_A_CASE, np.nan) if name in numbers else np.array([None] * ROWS_A_CASE, dtype=object)
        cases.append(_case("missing values", name, gone, known, generator))
    for name in texts:
        strange = np.array([UNSEEN] * (ROWS_A_CASE - 1) + [""], dtype=object)
        cases.append(_case("unseen categories", name, strange, known, generator))
    extremes = np.array(EXTREMES)
    cases.extend(_case("extreme values", name, extremes, known, generator) for name in numbers)
    cases.extend(_border_cases(numbers, known, borders, generator))
    cases.append(Case("missing values", None, Columns({name: _gone(known[name]) for name in kinds})))

    answered, refused = _ask(original, cases)
    if not answered or answered[0][0] is not cases[0]:
        raise CompilationFailed("The model fails on the rows that it is to be checked against; see the cause.")
    parts = [case.rows for case, _ in answered]
    outputs = np.concatenate([given for _, given in answered])
    sorts = np.concatenate([np.full(case.rows.rows, case.sort, dtype=object) for case, _ in answered])
    columns = frames.concatenate(parts)
    finite = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
    missing = tuple(case.column for case in refused if case.sort == "missing values" and case.column is not None)
    others = tuple(case for case in refused if case.sort != "missing values")
    return Rows(
        columns=columns.take(finite),
        outputs=outputs[finite],
        sorts=sorts[finite],
        refusals=Refusals(missing=missing, infinite=_refuses_infinite(original, numbers, known)),
        refused=others,
    )


def _case(sort: str, name: str, values: Array, known: Columns, generator: np.random.Generator) -> Case:
    rows = known.take(generator.integers(0, known.rows, len(values)))
    return Case(sort, name, Columns({**rows.values_by_name, name: values}))


def _gone(values: Array) -> Array:
    return np.array([np.nan]) if values.dtype.kind == "f" else np.array([None], dtype=object)


def _border_cases(
    numbers: Sequence[str], known: Columns, borders: Mapping[str, Floats], generator: np.random.Generator
) -> list[Case]:
    values: dict[str, Floats] = {}
    for name in numbers:
        at = borders.get(name)
        if at is None:
            present = known[name][np.isfinite(known[name])]
            at = np.unique(np.quantile(present, np.linspace(0, 1, QUANTILES))) if len(present) else np.empty(0)
        values[name] = _neighbours(at)
    total = sum(len(at) for at in values.values())
    share = min(1.0, BORDER_ROWS / total) if total else 0.0
    cases = []
    for name, at in values.items():
        count = round(len(at) * share)
        if count:
            picked = generator.choice(at, count, replace=False) if count < len(at) else at
            cases.append(_case("values at a split", name, picked, known, generator))
    return cases


def _neighbours(at: Floats) -> Floats:
    """Each value, its rounding to 32 bits, and the next numbers both ways in 32 and 64 bits."""
    with np.errstate(over="ignore"):
        narrow = at.astype(np.float32)
    steps = (-np.inf, np.inf)
    wide = [np.nextafter(at, step) for step in steps]
    rounded = [np.nextafter(narrow, np.float32(step)).astype(np.float64) for step in steps]
    every = np.concatenate([at, narrow.astype(np.float64), *wide, *rounded])
    # A split on missing against present has an infinite threshold; trees refuse what 32 bits can't hold.
    # LightGBM takes numbers as near to 0 as this for 0, and treelite does not: no feature lives there.
    known = (every == 0) | (np.abs(every) > NEAR_ZERO)
    return np.asarray(every[known & (np.abs(every) < np.finfo(np.float32).max)], dtype=np.float64)


def _ask(original: Estimator, cases: Sequence[Case]) -> tuple[list[tuple[Case, Floats]], list[Case]]:
    """The original's outputs for each case, and the cases that it raises on, found by halving."""
    try:
        given = quiet_outputs(original, frames.concatenate([case.rows for case in cases]))
    except Exception as error:
        if len(cases) == 1:
            if cases[0].sort == REFERENCE:
                raise CompilationFailed(
                    f"The model fails on the rows that it is to be checked against: {type(error).__name__}: {error}"
                ) from error
            return [], [cases[0]]
        middle = 1 if cases[0].sort == REFERENCE else len(cases) // 2
        before, refused_before = _ask(original, cases[:middle])
        after, refused_after = _ask(original, cases[middle:])
        return before + after, refused_before + refused_after
    ends = np.cumsum([case.rows.rows for case in cases])[:-1]
    return list(zip(cases, np.split(given, ends), strict=True)), []


def quiet_outputs(original: Estimator, columns: Columns) -> Floats:
    """The original's outputs, without its warnings about values that were made up for the check."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return np.asarray(original.outputs(columns, columns.rows), dtype=np.float64)


def _refuses_infinite(original: Estimator, numbers: Sequence[str], known: Columns) -> tuple[str, ...]:
    if not numbers:
        return ()
    row = known.take(slice(0, 1)).values_by_name
    try:
        quiet_outputs(original, Columns({**row, **{name: np.array([np.inf]) for name in numbers}}))
    except Exception:
        return tuple(numbers)
    return ()


@dataclass(frozen=True)
class Comparison:
    """How far a served form is from the original; `fault` is `None` where it is near enough."""

    largest: float
    fault: str | None = None


def compare(served: Predictor, rows: Rows, order: Sequence[int], tolerance: float) -> Comparison:
    """Compare a served form with the original.

    Probabilities differ absolutely; values of a regression by their spread on the reference rows, and relatively
    where a value is larger than that. So the class named can differ only where the original's two best are within
    twice the tolerance. `order` maps the served columns to the original's.
    """
    sample = np.arange(0, rows.columns.rows, max(1, rows.columns.rows // SMALL_ROWS))
    try:
        given = served.predict(rows.columns)
        # A form may score few rows in another way than many.
        few = [served.predict(rows.columns.take(part)) for part in np.array_split(sample, SMALL_BATCHES) if len(part)]
    except HomeostatError as error:
        return Comparison(np.inf, f"it fails on rows that the original answers: {error}")
    both = np.concatenate([given, *few])
    if rows.outputs.ndim == 2:
        both = both[:, list(order)]
    expected = np.concatenate([rows.outputs, rows.outputs[sample]])
    sorts = np.concatenate([rows.sorts, rows.sorts[sample]])
    difference = np.abs(both - expected) / np.maximum(rows.scale, np.abs(expected))
    by_row = difference.reshape(len(difference), -1).max(axis=1)
    largest = float(by_row.max())
    if largest > tolerance:
        sort = str(sorts[int(by_row.argmax())])
        beyond = by_row[: rows.columns.rows] > tolerance
        off = int(beyond.sum())
        return Comparison(
            largest, f"outputs differ by {largest:.2g} on {sort} ({off} of {len(beyond)} rows beyond {tolerance:g})"
        )
    for case in rows.refused:
        try:
            served.predict(case.rows)
        except HomeostatError:
            continue
        return Comparison(largest, f"it answers {case.sort} in '{case.column}', which the original refuses")
    return Comparison(largest)
