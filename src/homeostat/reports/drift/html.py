"""A drift report as one HTML page that needs nothing else, and as a piece of one for notebooks.

Both hold no script. The piece carries its own style, of which every rule begins with one class, so that it changes
nothing of the page around it and reads the same on a light and on a dark one.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from homeostat.reports.charts.densities import Samples
from homeostat.reports.charts.distributions import Drawing, distribution_drawing
from homeostat.reports.drift.text import (
    LONGEST_NAME,
    UNSOUND,
    figure,
    fitted,
    method_rows,
    p_words,
    readable,
    share_words,
    together_rows,
)
from homeostat.reports.format import clipped, counted, number
from homeostat.stats.drift.text import describe_texts
from homeostat.stats.profile import TextSummary

if TYPE_CHECKING:
    from homeostat.reports.drift.report import DriftReport
    from homeostat.stats.drift.comparison import FeatureDrift

TEMPLATES = Path(__file__).parent.parent / "templates"
SCOPE = "homeostat-drift"
# A page draws all features where they are few, else those that drifted and so many of the others.
FEW, MOST_OTHERS = 40, 20
MOST_IN_FRAGMENT, MOST_FRAGMENT_ROWS = 8, 20
MOST_ROWS, MOST_COLUMNS, MOST_METHODS = 200, 50, 200
# Bytes of all panels together, so that a page of any report stays below a megabyte.
PANEL_BYTES = 500_000
LONGEST_TITLE = 120
WIDEST_BAR = 48
VERDICT_WORDS = {"harmed": "harmed", "healthy": "healthy", "insufficient": "insufficient", "no_data": "no data"}
HEADLINES = {
    "harmed": "The data drifted",
    "healthy": "No drift found",
    "insufficient": "Too few rows to tell",
    "no_data": "No rows to compare",
}
MEASURES = {"ks": "KS", "psi": "PSI", "js": "JS", "chi2": "χ²", "p_adjusted": "p"}
# What a notebook may say of tables and headings is overruled, since its colours would not go with these.
FRAGMENT_STYLE = f""".{SCOPE} {{ max-width: 968px; padding: 18px 20px 8px; }}
.{SCOPE} :is(p, h2, h3, b, dt, dd, th, td, i) {{ color: inherit; }}
.{SCOPE} table {{ table-layout: auto; }}
.{SCOPE} table tr:nth-child(n) {{ background: none; }}
.{SCOPE} .verdict h2 {{ margin: 0; font-size: 27px; }}
.{SCOPE} .lead {{ font-size: 16px; }}"""
KEY = Markup(
    '<p class="note">Filled grey: the reference. Blue: the current data. Heights and lengths are shares of the values '
    "of each side, so that both compare whatever their numbers of rows.</p>"
)


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A feature as the table shows it; `full` is its whole name where that is cut."""

    name: str
    full: str
    kind: str
    drifted: bool
    severity: str
    effect: str
    width: int
    figures: tuple[str, ...]
    missing: str


@dataclass(frozen=True, slots=True)
class FeaturePanel:
    """A feature with its picture, or for a text the means of what describes it."""

    name: str
    full: str
    kind: str
    drifted: bool
    severity: str
    words: str
    picture: Markup | None
    notes: tuple[str, ...]
    descriptors: tuple[tuple[str, str, str, bool], ...]
    measures: tuple[tuple[str, str], ...]


def render_page(report: DriftReport) -> str:
    """The whole report as one HTML file below a megabyte, without scripts and without anything to fetch.

    Names and categories are escaped and cut. Of many features, those that drifted and the strongest others are drawn;
    the rest are in the table, which says how many it leaves out.
    """
    ranked = report.ranked() if report.verdict != "no_data" else []
    drifted = [one for one in ranked if one.drifted]
    others = [one for one in ranked if not one.drifted]
    panels, used = _panels(report, drifted, PANEL_BYTES)
    shown = others if len(ranked) <= FEW else others[:MOST_OTHERS]
    other_panels, _ = _panels(report, shown, PANEL_BYTES - used)
    left = len(drifted) - len(panels)
    return _rendered(
        report,
        is_page=True,
        style=Markup(_style()),  # noqa: S704 - our own files
        drifted=panels,
        drifted_title=f"{counted(len(drifted), 'feature')} drifted",
        drifted_left=f"{counted(left, 'more drifted feature')} are in the table below." if left else "",
        others=other_panels,
        others_title="Features that did not drift" if drifted else "Features",
        others_left=f"The {len(other_panels)} of {len(others):,} that lie nearest to drifting; the table has more."
        if len(other_panels) < len(others)
        else "",
        most_rows=MOST_ROWS,
    )


def render_fragment(report: DriftReport) -> str:
    """The verdict, the advice, the table and at most 8 pictures of drifted features, to be shown within a page."""
    ranked = report.ranked() if report.verdict != "no_data" else []
    drifted = [one for one in ranked if one.drifted]
    panels, _ = _panels(report, drifted[:MOST_IN_FRAGMENT], PANEL_BYTES)
    left = len(drifted) - len(panels)
    body = _rendered(
        report,
        is_page=False,
        scope=SCOPE,
        drifted=panels,
        drifted_left=f"{counted(left, 'more feature')} drifted; to_html() and save_html(path) draw them too."
        if left
        else "",
        most_rows=MOST_FRAGMENT_ROWS,
    )
    return f"<style>{scoped(_style(), SCOPE, body)}\n{FRAGMENT_STYLE}</style>\n{body}"


def scoped(style: str, scope: str, body: str) -> str:
    r"""The rules of a style sheet that `body` can use, each for elements within the class `scope` only.

    >>> scoped("body { margin: 0; } .a, .b { color: red; }", "box", '<p class="b">')
    '.box { margin: 0; }\n.box .b { color: red; }'
    """
    used = {name for names in re.findall(r'class="([^"]*)"', body) for name in names.split()}
    rules = []
    for media, selectors, declarations, _ in re.findall(r"(@media[^{]*)\{|([^{}@]+)\{([^{}]*)\}|(\})", style):
        if media:
            rules.append(media.strip() + " {")
            continue
        if not selectors:
            rules.append("}")
            continue
        kept = [
            _within(selector.strip(), scope)
            for selector in selectors.split(",")
            if "#" not in selector and set(re.findall(r"\.([a-zA-Z][\w-]*)", selector)) <= used
        ]
        if kept:
            rules.append(f"{', '.join(kept)} {{{declarations}}}")
    return "\n".join(rules)


def _within(selector: str, scope: str) -> str:
    return f".{scope}" if selector in (":root", "html", "body") else f".{scope} {selector}"


def _rendered(report: DriftReport, *, most_rows: int, **parts: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ranked = report.ranked() if report.verdict != "no_data" else []
    names = [name for name in MEASURES if any(getattr(one, name) is not None for one in ranked)]
    rows = [_row(one, names) for one in ranked[:most_rows]]
    methods = method_rows(report)
    columns = len(report.lost) + len(report.added)
    lost = list(report.lost.items())[:MOST_COLUMNS]
    added = report.added[:MOST_COLUMNS]
    few, more = len(ranked) - len(rows), sum(one.drifted for one in ranked[most_rows:])
    page = environment.get_template("drift.html.j2").render(
        verdict=report.verdict,
        judged=report.verdict in ("harmed", "healthy"),
        verdict_word=VERDICT_WORDS[report.verdict],
        severity_word=report.severity,
        headline=_headline(report),
        words=readable(report.words, report.features),
        advice=readable(report.advice, report.features),
        facts=_facts(report),
        measures=[MEASURES[name] for name in names],
        has_p="p_adjusted" in names,
        rows=rows,
        rows_left=f"{counted(few, 'more feature')}, {more:,} of them drifted, are left out here; to_frame() has all."
        if few
        else "",
        lost=[(_cut(name), clipped(reason, 300)) for name, reason in lost],
        added=[_cut(name) for name in added],
        columns_left=f"{columns - len(lost) - len(added):,} more are left out here."
        if columns > len(lost) + len(added)
        else "",
        together=together_rows(report)[:MOST_COLUMNS],
        methods=[[_cut(name), *rest] for name, *rest in methods[:MOST_METHODS]],
        methods_left=f"{len(methods) - MOST_METHODS:,} more are left out here; to_frame() has all."
        if len(methods) > MOST_METHODS
        else "",
        key_words=KEY,
        **{"others": [], "style": "", "scope": "", **parts},
    )
    # Our own words hold line feeds only, which stay.
    return "\n".join(UNSOUND.sub("\N{REPLACEMENT CHARACTER}", line) for line in page.split("\n") if line.strip())


def _style() -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=True)
    return "\n".join(environment.get_template(name).render() for name in ("style.css.j2", "drift.css.j2"))


def _headline(report: DriftReport) -> str:
    if report.verdict == "healthy" and any(one.drifted for one in report.features.values()):
        return "Some features drifted, the data as a whole did not"
    return HEADLINES[report.verdict]


def _facts(report: DriftReport) -> list[tuple[str, str, str]]:
    found = report.comparison
    drifted = sum(one.drifted for one in report.features.values())
    is_calibrated = found.preset == "calibrated"
    return [
        ("Reference rows", f"{found.reference_rows:,}", ""),
        ("Current rows", f"{found.rows:,}", ""),
        ("Features drifted", f"{drifted:,} of {len(report.features):,}", "")
        if report.verdict in ("harmed", "healthy")
        else ("Features", f"{len(report.features):,}", "not judged"),
        ("Preset", found.preset, "effect and adjusted p decide" if is_calibrated else "customary thresholds decide"),
        (
            "Level",
            f"{found.level:g}" if is_calibrated else "–",
            "of p adjusted over all features" if is_calibrated else "each test has its own",
        ),
    ]


def _row(one: FeatureDrift, names: list[str]) -> FeatureRow:
    effect = one.effect if np.isfinite(one.effect) else 0.0
    return FeatureRow(
        name=_cut(one.name),
        full=_full(one.name),
        kind=one.kind,
        drifted=one.drifted,
        severity=one.severity,
        effect=figure(one.effect),
        width=round(WIDEST_BAR * min(1.0, max(0.0, effect))),
        figures=tuple(_figure(name, getattr(one, name)) for name in names),
        missing=f"{share_words(one.missing_reference)} → {share_words(one.missing_current)}"
        if one.missing_reference or one.missing_current
        else "–",
    )


def _panels(report: DriftReport, features: list[FeatureDrift], most: int) -> tuple[list[FeaturePanel], int]:
    """The features' panels until they take up so many bytes, and how many they take."""
    panels: list[FeaturePanel] = []
    used = 0
    # Ids must differ between two reports that one notebook shows.
    prefix = f"d{zlib.crc32(repr((report.words, report.advice, report.comparison.rows)).encode(errors='replace')):08x}"
    for one in features:
        panel = _panel(report, one, f"{prefix}-{zlib.crc32(one.name.encode(errors='replace')):08x}")
        written = Markup("").join((panel.picture or "", *panel.notes, panel.words, panel.name, panel.full))
        used += len(written.encode(errors="replace"))
        if used > most:
            break
        panels.append(panel)
    return panels, used


def _panel(report: DriftReport, one: FeatureDrift, ident: str) -> FeaturePanel:
    before, after = report.reference.features[one.name], report.current.features[one.name]
    missing = (one.missing_reference, one.missing_current)
    name = _cut(one.name)
    descriptors: tuple[tuple[str, str, str, bool], ...] = ()
    if isinstance(before, TextSummary) and isinstance(after, TextSummary):
        descriptors = _descriptors(before, after, one.part)
        part = one.part if one.part in before.descriptors else "characters"
        drawing = Drawing(None, ("Neither side holds a text.",))
        if before.count or after.count:
            words = part.replace("_", " ")
            drawing = distribution_drawing(
                before.descriptors[part],
                after.descriptors[part],
                ident=ident,
                name=f"{name}, {words}",
                missing=missing,
                samples=_samples(report, one.name, part),
            )
            drawing = Drawing(drawing.svg, (f"Drawn: {words} of each text.", *drawing.notes))
    elif isinstance(before, TextSummary) or isinstance(after, TextSummary):
        drawing = Drawing(None)
    else:
        drawing = distribution_drawing(
            before,
            after,
            ident=ident,
            name=name,
            missing=missing,
            samples=_samples(report, one.name),
            is_boolean=one.kind == "boolean",
        )
    measured = [(key, getattr(one, key)) for key in MEASURES]
    return FeaturePanel(
        name=name,
        full=_full(one.name),
        kind=one.kind,
        drifted=one.drifted,
        severity=one.severity,
        words=readable(one.words, [one.name]),
        picture=drawing.svg,
        notes=drawing.notes,
        descriptors=descriptors,
        measures=(
            ("effect", figure(one.effect)),
            *((MEASURES[key], _figure(key, value)) for key, value in measured if value is not None),
        ),
    )


def _descriptors(before: TextSummary, after: TextSummary, part: str | None) -> tuple[tuple[str, str, str, bool], ...]:
    return tuple(
        (name.replace("_", " "), number(old.mean), number(after.descriptors[name].mean), name == part)
        for name, old in before.descriptors.items()
        if name in after.descriptors
    )


def _samples(report: DriftReport, name: str, part: str | None = None) -> Samples:
    """The numbers, or a descriptor of the texts, in the rows that each profile kept."""
    found: list[Any] = []
    for profile in (report.reference, report.current):
        values = profile.sample.columns.get(name) if profile.sample is not None else None
        if values is not None and part is not None:
            values = describe_texts(values)[part]
        found.append(values if values is not None and values.dtype.kind == "f" else None)
    return found[0], found[1]


def _figure(name: str, value: float | None) -> str:
    if name == "p_adjusted":
        return p_words(value)
    return number(value) if name == "chi2" else figure(value)


def _cut(name: str) -> str:
    return fitted(name, LONGEST_NAME)


def _full(name: str) -> str:
    """The whole name, for a tooltip, where the shown one is cut."""
    return clipped(name, LONGEST_TITLE) if _cut(name) != name else ""
