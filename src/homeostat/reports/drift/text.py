"""A drift report as plain text of at most 100 columns: for a terminal, a log or a mail."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from homeostat.reports.format import clipped, counted, metric_name, number

if TYPE_CHECKING:
    from homeostat.reports.drift.report import DriftReport
    from homeostat.stats.drift.comparison import FeatureDrift

WIDTH = 100
SHORTEST_NAME = 14
LONGEST_NAME = 60
LONGEST_SENTENCE = 500
BAR = 6
# Rows of the table: all features where they are few, else of those that drifted and of the others so many.
FEW, MOST_DRIFTED, MOST_OTHERS = 40, 60, 20
MOST_SENTENCES, MOST_COLUMNS, MOST_METHODS = 20, 20, 60
VERDICTS = {"harmed": "DRIFT", "healthy": "NO DRIFT", "insufficient": "TOO FEW ROWS", "no_data": "NO DATA"}
# Control characters, marks that turn the direction of what follows, and halves of characters.
UNSOUND = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def render_text(report: DriftReport) -> str:
    """The verdict, the advice, the features with their measures, and a sentence for each one that drifted.

    Lines are at most 100 columns wide and hold no control characters, whatever the names of features and categories.
    Long names are cut; of many features, those that drifted most are shown and the rest are counted.
    """
    found = report.comparison
    ranked = report.ranked()
    drifted = [one for one in ranked if one.drifted]
    rows = f"Rows {found.reference_rows:,} → {found.rows:,}"
    level = f", adjusted p below {found.level:g}" if found.preset == "calibrated" else ""
    judged = f"{len(drifted)} of {counted(len(ranked), 'feature')} drifted"
    if report.verdict not in ("harmed", "healthy"):
        judged = f"{counted(len(ranked), 'feature')}, not judged"
    lines = [
        f"{VERDICTS[report.verdict]}: {headline(report)}",
        "",
        *_wrapped(readable(report.words, report.features)),
        *_wrapped("What to do: " + readable(report.advice, report.features)),
        "",
        f"{rows}; {judged}; preset {found.preset}{level}.",
    ]
    if ranked and report.verdict != "no_data":
        lines += ["", *_feature_lines(ranked)]
    if drifted:
        lines += ["", *(line for one in drifted[:MOST_SENTENCES] for line in _item(readable(one.words, [one.name])))]
        lines += _more(len(drifted) - MOST_SENTENCES, "drifted feature")
    lines += _column_lines(report)
    if report.together:
        lines += ["", "Features tested together"]
        lines += [line for name, words in together_rows(report) for line in _item(f"{name}: {words}")]
    methods = method_rows(report)
    if methods:
        table = [[fitted(name, 30), *rest] for name, *rest in methods[:MOST_METHODS]]
        lines += ["", *_table(["further measure of", "method", "value", "p"], table, "llrr")]
        lines += _more(len(methods) - MOST_METHODS, "further measure")
    return "\n".join(UNSOUND.sub("\N{REPLACEMENT CHARACTER}", line).rstrip() for line in lines) + "\n"


def headline(report: DriftReport) -> str:
    """What came out, in less than a line."""
    count, of = sum(one.drifted for one in report.features.values()), counted(len(report.features), "feature")
    if report.verdict == "harmed":
        return f"{count} of {of} drifted, severity {report.severity}"
    if report.verdict == "healthy":
        return f"none of {of} drifted" if not count else f"{count} of {of} drifted, too little to act on as a whole"
    return "nothing can be said yet" if report.verdict == "insufficient" else "there is nothing to compare"


def readable(words: str, names: Iterable[str]) -> str:
    """A sentence of the comparison with long names of features cut, and itself cut where it is still too long."""
    for name in sorted((name for name in names if len(name) > LONGEST_NAME and name in words), key=len, reverse=True):
        words = words.replace(name, fitted(name, LONGEST_NAME))
    return clipped(" ".join(words.split()), LONGEST_SENTENCE)


def chosen(ranked: Sequence[FeatureDrift], *, few: int, drifted: int, others: int) -> list[FeatureDrift]:
    """All features where they are at most `few`, else the first so many that drifted and that did not."""
    if len(ranked) <= few:
        return list(ranked)
    return [one for one in ranked if one.drifted][:drifted] + [one for one in ranked if not one.drifted][:others]


def p_words(p: float | None) -> str:
    """A p-value, without a false 0.

    >>> p_words(0.0), p_words(0.0123), p_words(None)
    ('<1e-300', '0.012', '–')
    """
    if p is None or not math.isfinite(p):
        return "–"
    return "<1e-300" if p < 1e-300 else f"{p:.2g}"


def share_words(share: float) -> str:
    """A share of rows with a tenth of a per cent, and no false 0."""
    return "0%" if not share else "<0.1%" if share < 0.0005 else f"{share:.1%}".replace(".0%", "%")


def together_rows(report: DriftReport) -> list[tuple[str, str]]:
    """Each test of several features at once: its name, and what it found."""
    return [(metric_name(name), readable(_said(result), report.features)) for name, result in report.together.items()]


def method_rows(report: DriftReport) -> list[list[str]]:
    """The further measures that were asked for: feature, method, value and p, drifted features first."""
    return [
        [one.name, name, number(_value(result)), p_words(_optional(getattr(result, "p", None)))]
        for one in report.ranked()
        for name, result in report.methods.get(one.name, {}).items()
    ]


def fitted(name: str, width: int) -> str:
    """The name on one line, cut in its middle to so many columns.

    >>> fitted("a_rather_long_name_of_a_feature", 20)
    'a_rather_lo…_feature'
    """
    name = UNSOUND.sub("\N{REPLACEMENT CHARACTER}", " ".join(name.split()))
    if columns(name) <= width:
        return name
    head = _begin(name, (width - 1) * 3 // 5)
    tail = _begin(name[::-1], width - 1 - columns(head))[::-1]
    return f"{head}…{tail}"


def _begin(text: str, width: int) -> str:
    """The letters from the first on that fit."""
    taken = 0
    for place, letter in enumerate(text):
        taken += columns(letter)
        if taken > width or place > 4 * width:
            return text[:place]
    return text


def columns(text: str) -> int:
    """How many columns text takes in a terminal: two for wide letters, none for those that stand over others."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _feature_lines(ranked: list[FeatureDrift]) -> list[str]:
    shown = chosen(ranked, few=FEW, drifted=MOST_DRIFTED, others=MOST_OTHERS)
    titles = ["feature", "kind", "severity", "effect", "KS", "PSI", "JS", "chi²", "p adj.", "missing"]
    rows = [
        [
            one.name,
            one.kind,
            one.severity if one.drifted else "–",
            f"{_bar(one.effect)} {figure(one.effect)}",
            figure(one.ks),
            figure(one.psi),
            figure(one.js),
            "–" if one.chi2 is None else f"{one.chi2:.3g}".replace("e+0", "e"),
            p_words(one.p_adjusted),
            f"{share_words(one.missing_reference)} → {share_words(one.missing_current)}"
            if one.missing_reference or one.missing_current
            else "–",
        ]
        for one in shown
    ]
    # A measure that applies to none of the features is no column.
    kept = [place for place in range(len(titles)) if place < 4 or any(row[place] != "–" for row in rows)]
    taken = [max(columns(titles[place]), *(columns(row[place]) for row in rows)) for place in kept[1:]]
    longest = max(columns(name) for name, *_ in rows)
    gap = 2 if longest + sum(taken) + 2 * len(taken) <= WIDTH else 1
    room = max(SHORTEST_NAME, WIDTH - sum(taken) - gap * len(taken))
    cut = [[fitted(row[0], room), *(row[place] for place in kept[1:])] for row in rows]
    lines = _table([titles[place] for place in kept], cut, "".join("lllrrrrrrr"[place] for place in kept))
    left = len(ranked) - len(shown)
    if left:
        also = sum(one.drifted for one in ranked) - sum(one.drifted for one in shown)
        lines.append(f"… and {counted(left, 'more feature')}, {also:,} of them drifted.")
    return lines


def _table(titles: list[str], rows: list[list[str]], sides: str) -> list[str]:
    """Aligned columns with a line under their titles; the first gives way where the whole is too wide."""
    widths = [max(columns(row[place]) for row in (titles, *rows)) for place in range(len(titles))]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else " "
    over = sum(widths) + len(gap) * (len(widths) - 1) - WIDTH
    if over > 0:
        widths[0] = max(SHORTEST_NAME, widths[0] - over)
        rows = [[fitted(row[0], widths[0]), *row[1:]] for row in rows]
    lines = []
    for row in (titles, ["─" * width for width in widths], *rows):
        cells = []
        for words, width, side in zip(row, widths, sides, strict=True):
            blank = " " * (width - columns(words))
            cells.append(blank + words if side == "r" else words + blank)
        lines.append(gap.join(cells))
    return lines


def _column_lines(report: DriftReport) -> list[str]:
    lines: list[str] = []
    if report.lost:
        lines += ["", "Columns that could not be compared"]
        lost = list(report.lost.items())[:MOST_COLUMNS]
        lines += [line for name, reason in lost for line in _item(f"{fitted(name, LONGEST_NAME)}: {reason}")]
        lines += _more(len(report.lost) - MOST_COLUMNS, "column")
    if report.added:
        names = ", ".join(fitted(name, LONGEST_NAME) for name in report.added[:MOST_COLUMNS])
        more = len(report.added) - MOST_COLUMNS
        lines += ["", *_wrapped(f"Columns that the reference lacks: {names}{f' and {more:,} more' * (more > 0)}.")]
    return lines


def _item(words: str) -> list[str]:
    return _wrapped(clipped(" ".join(words.split()), LONGEST_SENTENCE), first="- ", next_="  ")


def _wrapped(words: str, *, first: str = "", next_: str = "") -> list[str]:
    """Lines of at most `WIDTH` columns; letters of two columns count as such."""
    padded = "".join(letter + "\0" * (columns(letter) - 1) for letter in words)
    lines = textwrap.wrap(padded, WIDTH, initial_indent=first, subsequent_indent=next_, break_on_hyphens=False)
    return [line.replace("\0", "") for line in lines]


def _more(count: int, noun: str) -> list[str]:
    return [f"… and {counted(count, f'more {noun}')}."] if count > 0 else []


def _bar(effect: float) -> str:
    filled = round(BAR * min(1.0, max(0.0, effect))) if math.isfinite(effect) else 0
    return "█" * filled + "·" * (BAR - filled)


def figure(value: float | None) -> str:
    """A measure with two decimals, so that columns of them compare.

    >>> figure(0.5), figure(12345.0), figure(None)
    ('0.50', '1e4', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.0e}".replace("e+0", "e")


def _said(result: Any) -> str:
    sentence = getattr(result, "sentence", None)
    if isinstance(sentence, str) and sentence:
        return sentence
    named = {name: _optional(getattr(result, name, None)) for name in ("estimate", "statistic", "p")}
    figures = [f"{name} {number(value)}" for name, value in named.items() if value is not None]
    return ", ".join(figures) if figures else str(result)


def _value(result: Any) -> float | None:
    if isinstance(result, int | float):
        return float(result)
    return _optional(getattr(result, "estimate", getattr(result, "statistic", None)))


def _optional(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
