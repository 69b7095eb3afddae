"""Numbers, times and names as a reader wants them: pure text, the same on every machine and in every locale."""

from __future__ import annotations

import math
from datetime import UTC, datetime

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SHARES = frozenset({"accuracy", "f1_macro", "f1", "precision", "recall", "auc", "roc_auc", "balanced_accuracy"})
LOWER_IS_BETTER = frozenset({"mae", "mse", "rmse", "log_loss", "brier"})
METRIC_NAMES = {
    "accuracy": "Accuracy",
    "f1_macro": "Macro F1",
    "mae": "Mean absolute error",
    "mse": "Mean squared error",
    "rmse": "Root mean squared error",
    "auc": "ROC AUC",
    "roc_auc": "ROC AUC",
}
KIND_WORDS = {
    "retraining": "retrained",
    "promotion": "promoted",
    "rollback": "rolled back",
    "alert": "alert opened",
    "resolved": "alert resolved",
    "rejected": "candidate rejected",
    "rollout": "rollout began",
    "step": "rollout step",
    "registered": "version registered",
}
DAY = 86_400.0
MINUS = "\N{MINUS SIGN}"
NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"


def metric_name(metric: str) -> str:
    """A metric's name for readers.

    >>> metric_name("f1_macro"), metric_name("top_5")
    ('Macro F1', 'Top 5')
    """
    return METRIC_NAMES.get(metric, metric.replace("_", " ").capitalize())


def is_finite(value: float | None) -> bool:
    """Whether there is a value that can be shown."""
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 3) -> str:
    """A number to that many significant digits, with thousands separated and powers of ten where it is extreme.

    >>> number(1234.56), number(0.000123456), number(2.5e6), number(None)
    ('1,235', '1.23×10⁻⁴', '2.5 million', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    sign, size = (MINUS if value < 0 else ""), abs(value)
    rounded = float(f"{size:.{digits - 1}e}")
    if 1e6 <= rounded < 1e9:
        return f"{sign}{_plain(rounded / 1e6, digits)} million"
    if rounded >= 1e9 or rounded < 1e-3:
        mantissa, exponent = f"{size:.{digits - 1}e}".split("e")
        return f"{sign}{_trimmed(mantissa)}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    if rounded >= 1000:
        return f"{sign}{size:,.0f}"
    return sign + _plain(rounded, digits)


def _plain(value: float, digits: int) -> str:
    places = max(0, digits - 1 - math.floor(math.log10(value)))
    return _trimmed(f"{value:.{places}f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | None, places: int = 1) -> str:
    """A share between 0 and 1 as per cent.

    >>> percent(0.9431).split(), percent(None)
    (['94.3', '%'], '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.{places}f}{NARROW_SPACE}%".replace("-", MINUS)


def metric_value(metric: str, value: float | None) -> str:
    """A metric's value: per cent for shares, else a number."""
    return percent(value) if metric in SHARES else number(value, 4)


def seconds(moment: datetime) -> float:
    """Seconds since 1970; a time without a zone counts as UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware.timestamp()


def utc(at: float) -> datetime:
    """The UTC time of seconds since 1970."""
    return datetime.fromtimestamp(at, UTC)


def date(at: float) -> str:
    """A day, such as `3 Mar 2024`."""
    moment = utc(at)
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}"


def when(at: float, span: float) -> str:
    """A time as exact as a story of `span` seconds needs.

    >>> when(1709479800.0, 365 * DAY), when(1709479800.0, 3 * DAY), when(1709479805.0, 60.0)
    ('3 Mar 2024', '3 Mar 2024, 15:30', '3 Mar 2024, 15:30:05')
    """
    if span > 120 * DAY:
        return date(at)
    moment = utc(at)
    return f"{date(at)}, {moment:%H:%M:%S}" if span < 3600 else f"{date(at)}, {moment:%H:%M}"


def kind_words(kind: str) -> str:
    """A kind of decision in words.

    >>> kind_words("rollback"), kind_words("label_import")
    ('rolled back', 'label import')
    """
    return KIND_WORDS.get(kind, kind.replace("_", " "))


def clipped(text: str, most: int) -> str:
    """The text, cut to `most` characters with an ellipsis.

    >>> clipped("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun.

    >>> counted(1, "rollback"), counted(2300, "row")
    ('1 rollback', '2,300 rows')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
