"""`homeostat.compare`: has a table drifted from its reference?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidData, InvalidInput
from homeostat.frames import Kind, Reader
from homeostat.reports.drift import DriftReport
from homeostat.stats.drift.comparison import DriftComparison, compare_profiles
from homeostat.stats.drift.tables import profiles_of
from homeostat.stats.drift.thresholds import DEFAULT, Thresholds
from homeostat.stats.profile import Profile

Floats = npt.NDArray[np.float64]


def compare(
    reference: Any,
    current: Any,
    *,
    preset: str = "calibrated",
    importances: Mapping[str, float] | None = None,
    columns: Sequence[str] | None = None,
    kinds: Mapping[str, Kind | str] | None = None,
    methods: Sequence[str] = (),
    together: Sequence[str] = (),
    minimum_rows: int | None = None,
    thresholds: Thresholds = DEFAULT,
    control: str = "by",
    design_effect: float = 1.0,
    rng: int | np.random.Generator = 0,
) -> DriftReport:
    """Compare a table with its reference, feature by feature, and say whether it drifted.

    From frames the distances are exact; from profiles they are those of their bins, at a cost that does not depend on
    how many rows the profiles are of. A column of the reference that the current table lacks, or whose values are no
    longer of its kind, counts as missing in every row and is named in `lost`.

    Args:
        reference: what to compare with: a frame of pandas, polars or pyarrow, a mapping of arrays, or a `Profile`.
        current: the table to look at, in any of these forms; a profile must have been made with `like=reference`.
        preset: "calibrated" (effect and significance together) or "classic" (customary thresholds of single tests).
        importances: how much the model depends on each feature, of any scale.
        columns: the features to compare; by default all of the reference.
        kinds: what columns hold ("numeric", "boolean", "categorical", "text"), where type and values mislead.
        methods: further measures by name, computed for each feature that they apply to; frames only.
        together: tests of several features at once, by name: "samples" (the most powerful one), "domain_classifier",
            "mmd", "pca". They read a sample of 2,000 rows, find changes that no single feature shows, and are reported
            beside the verdict, which is the features'.
        minimum_rows: rows that both sides must have; by default 30 (calibrated) or 100 (classic).
        thresholds: what counts as drift.
        control: "by" or "bh"; see `compare_profiles`.
        design_effect: by how much rows count for less than independent ones; see `compare_profiles`.
        rng: seed or generator of the row samples and of permutations.

    Raises:
        InvalidData: something is no table, or the tables have no column in common.
        InvalidInput: an argument can't be used; profiles do not fit each other.

    >>> rng = np.random.default_rng(0)
    >>> report = compare({"x": rng.normal(size=500), "y": rng.normal(size=500)},
    ...                  {"x": rng.normal(1, 1, 400), "y": rng.normal(size=400)})
    >>> report.drifted, report.features["x"].severity, report.features["y"].drifted
    (True, 'high', False)
    """
    given = {name: _kind(name, kind) for name, kind in (kinds or {}).items()}
    if isinstance(reference, Profile) and isinstance(current, Profile):
        before, after = _selected(reference, columns), _selected(current, columns)
        if methods:
            raise InvalidInput("Further methods need rows: pass frames instead of profiles, or leave 'methods' out.")
        found = compare_profiles(
            before,
            after,
            preset=preset,
            minimum_rows=minimum_rows,
            importances=importances,
            thresholds=thresholds,
            control=control,
            design_effect=design_effect,
        )
        return DriftReport(found, before, after, together=_together(before, after, together, rng))
    if isinstance(current, Profile):
        raise InvalidInput("A profile can't be compared with a frame: pass Profile.of(current, like=reference).")
    now = Reader(current, given)
    then = None if isinstance(reference, Profile) else Reader(reference, given)
    names = _names(then.names if then is not None else list(reference.features), columns)
    if not set(names) & set(now.names):
        raise InvalidData(f"The tables have no column in common. The reference has: {', '.join(names[:10])}.")
    asked = _selected(reference, names) if then is None else then.select(names)
    pair = profiles_of(asked, now, sample=_SAMPLE if together else 0, rng=rng)
    before, after, lost = pair.before, pair.after, pair.lost
    found = compare_profiles(
        before,
        after,
        preset=preset,
        minimum_rows=minimum_rows,
        importances=importances,
        thresholds=thresholds,
        control=control,
        exact=pair.exact,
        design_effect=design_effect,
    )
    return DriftReport(
        _with_lost(found, lost),
        before,
        after,
        methods=_methods(then, now, before, lost, methods),
        together=_together(before, after, together, rng),
        lost=lost,
        added=tuple(name for name in now.names if name not in names) if columns is None else (),
    )


_SAMPLE = 2_000


def _kind(name: str, kind: Kind | str) -> Kind:
    try:
        return Kind(kind)
    except ValueError:
        known = ", ".join(one.value for one in Kind)
        raise InvalidInput(f"There is no kind '{kind}' (for '{name}'). Take one of: {known}.") from None


def _names(known: list[str], columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return known
    absent = [name for name in columns if name not in known]
    if absent:
        raise InvalidInput(f"The reference has no column {', '.join(map(repr, absent))}.", columns=absent)
    return list(dict.fromkeys(columns))


def _selected(profile: Profile, columns: Sequence[str] | None) -> Profile:
    if columns is None:
        return profile
    names = _names(list(profile.features), columns)
    return replace(profile, features={name: profile.features[name] for name in names}, sample=None)


def _with_lost(found: DriftComparison, lost: Mapping[str, str]) -> DriftComparison:
    if not lost:
        return found
    features = {
        name: replace(one, words=f"'{name}' can't be compared. {lost[name]}") if name in lost else one
        for name, one in found.features.items()
    }
    gone = f" {len(lost)} of them can't be compared at all: {', '.join(list(lost)[:3])}."
    return replace(found, features=features, words=found.words + gone)


def _methods(
    then: Reader | None, now: Reader, before: Profile, lost: Mapping[str, str], methods: Sequence[str]
) -> dict[str, dict[str, Any]]:
    if not methods:
        return {}
    if then is None:
        raise InvalidInput("Further methods need the rows of the reference too: pass a frame instead of its profile.")
    from homeostat.stats.drift.methods import METHODS, run_method

    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise InvalidInput(f"There is no method {', '.join(map(repr, unknown))}. Known: {', '.join(METHODS)}.")
    results: dict[str, dict[str, Any]] = {}
    for name in before.features:
        kind = before.kind(name)
        asked = [method for method in methods if kind.value in METHODS[method].kinds]
        if name in lost or not asked:
            continue
        first, second = (reader.take(name, None, text=not kind.is_number) for reader in (then, now))
        results[name] = {}
        for method in asked:
            try:
                results[name][method] = run_method(method, first, second, kind=kind.value)
            except InvalidInput:
                # A side without values has no measure; the drift of its missing share says what is wrong.
                continue
    return results


TOGETHER = ("samples", "domain_classifier", "mmd", "pca")


def _together(before: Profile, after: Profile, names: Sequence[str], rng: int | np.random.Generator) -> dict[str, Any]:
    """Tests of several features at once, on the row samples of both profiles."""
    if not names:
        return {}
    unknown = [name for name in names if name not in TOGETHER]
    if unknown:
        raise InvalidInput(
            f"There is no test of several features {', '.join(map(repr, unknown))}. Known: {', '.join(TOGETHER)}."
        )
    if before.sample is None or after.sample is None:
        raise InvalidInput(
            "Tests of several features need rows: pass frames, or profiles that keep a sample and all their columns."
        )
    from homeostat.stats.drift import multivariate as tests

    first, second = before.sample.columns, after.sample.columns
    common = [name for name in first if name in second]
    both = tests.design_matrix({name: first[name] for name in common}, {name: second[name] for name in common})
    does: dict[str, Callable[[], Any]] = {
        "samples": lambda: tests.compare_samples(both.reference, both.current, names=both.names, rng=rng),
        "domain_classifier": lambda: tests.domain_classifier(both.reference, both.current, names=both.names, rng=rng),
        "mmd": lambda: tests.mmd(both.reference, both.current, rng=rng),
        "pca": lambda: tests.pca_reconstruction(both.reference, both.current, rng=rng),
    }
    return {name: does[name]() for name in names}
