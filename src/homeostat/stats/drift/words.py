"""What happened to a feature and to a window, in sentences: what changed, how much, whether it matters, what to do."""

from __future__ import annotations

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.profile.categorical import CategoricalSummary
from homeostat.stats.profile.numeric import NumericSummary
from homeostat.stats.profile.profile import Summary
from homeostat.stats.profile.text import TextSummary

ADVICE = {
    "none": "Nothing needs to be done.",
    "low": "Keep watching.",
    "medium": "Consider retraining.",
    "high": "Retrain within 24 hours.",
    "critical": "Act now.",
}
PIPELINE = (
    "Look at the data pipeline first: values that vanish or appear are more often a broken source than a new world."
)


def feature_words(
    name: str,
    dimension: str,
    before: Summary,
    after: Summary,
    *,
    gone: tuple[float, float],
    distance: float | None,
    index: float | None,
    part: str | None,
    boolean: bool = False,
) -> str:
    """What happened to a feature that drifted in a dimension; `gone` are its shares of unusable values."""
    if dimension == "missing":
        return f"'{name}' is missing or infinite in {gone[1]:.1%} of rows; in the reference in {gone[0]:.1%}."
    if isinstance(before, TextSummary) and isinstance(after, TextSummary):
        return f"'{name}' reads otherwise: {_of_text(before, after, part or 'tokens')}."
    if isinstance(before, NumericSummary) and isinstance(after, NumericSummary):
        if boolean:
            return f"'{name}' is true in {after.mean:.1%} of rows; in the reference in {before.mean:.1%}."
        return (
            f"'{name}' has moved: mean {before.mean:.4g} → {after.mean:.4g}, "
            f"standard deviation {before.deviation:.4g} → {after.deviation:.4g} "
            f"(KS distance {distance or 0.0:.2f}, PSI {index or 0.0:.2f})."
        )
    if not isinstance(before, CategoricalSummary) or not isinstance(after, CategoricalSummary):
        raise InvalidInput(f"Feature '{name}' is of one kind in one profile and of another in the other.")
    if dimension == "unseen":
        return f"'{name}' holds categories that the reference never had in {after.unseen / after.count:.1%} of rows."
    return f"'{name}' has other shares of categories: {_most_changed(before, after)} (PSI {index or 0.0:.2f})."


def _of_text(before: TextSummary, after: TextSummary, part: str) -> str:
    if part in before.descriptors:
        old, new = before.descriptors[part], after.descriptors[part]
        return f"mean {part.replace('_', ' ')} {old.mean:.4g} → {new.mean:.4g}"
    gaps = after.documents / max(1, after.count) - before.documents / max(1, before.count)
    return f"other words, by {np.abs(gaps).max(initial=0.0):.0%} of texts in the group of words that changed most"


def _most_changed(before: CategoricalSummary, after: CategoricalSummary) -> str:
    old = np.append(before.counts, (before.other, before.unseen)) / before.count
    new = np.append(after.counts, (after.other, after.unseen)) / after.count
    i = int(np.argmax(np.abs(new - old)))
    names = (*before.categories, "other categories", "new categories")
    return f"{names[i]} {old[i]:.1%} → {new[i]:.1%}"


def window_words(
    verdict: str, *, drifted: int, features: int, rows: int, reference_rows: int, minimum_rows: int, worst: str
) -> str:
    """What happened to a window; `worst` are the words of the feature that drifted most."""
    if verdict == "no_data":
        return "There are no rows to compare."
    if verdict == "insufficient":
        few = "rows are" if rows < minimum_rows or reference_rows >= minimum_rows else "rows of the reference are"
        shown = rows if rows < minimum_rows or reference_rows >= minimum_rows else reference_rows
        return f"{shown:,} {few} too few to tell; at least {minimum_rows} are needed in window and reference."
    if not drifted:
        return f"None of {features} features drifted over {rows:,} rows."
    outcome = "the window drifted" if verdict == "harmed" else "too little to call the window drifted"
    return f"{drifted} of {features} features drifted over {rows:,} rows, {outcome}. Worst: {worst}"


def advice_words(
    verdict: str, severity: str, *, important: list[str], unimportant: list[str], weighed: bool, pipeline: bool
) -> str:
    """Whether the drift matters for the model, and what to do about it.

    `important` and `unimportant` are the names of drifted features by what the model makes of them; `weighed` tells
    whether that is known. `pipeline` is set where values vanished or appeared.
    """
    if verdict in ("no_data", "insufficient"):
        return "Collect more rows before judging: no data is neither good nor bad news."
    parts = []
    if important or unimportant:
        if not weighed:
            parts.append("How much the model depends on these features is not known, so each counts alike.")
        elif important:
            parts.append(f"The model depends on {_listed(important)}.")
        else:
            parts.append(f"The model hardly uses {_listed(unimportant)}, so it is unlikely to be harmed.")
    if pipeline:
        parts.append(PIPELINE)
    parts.append(ADVICE[severity])
    return " ".join(parts)


def _listed(names: list[str]) -> str:
    shown = [f"'{name}'" for name in names[:3]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
