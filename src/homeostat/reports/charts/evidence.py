"""How the evidence of a rollout's paired test grew: one small drawing for each rollout."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from homeostat.reports.charts.scale import Linear, spread, step_of, ticks
from homeostat.reports.charts.svg import floats, joined, label, line_path, picture, tag, text_width, thinned
from homeostat.reports.format import number
from homeostat.reports.story import EvidenceTrack

WIDTH, HEIGHT = 292.0, 196.0
LEFT, TOP, BOTTOM = 46.0, 26.0, 150.0
# Room right of the plot: for "roll back 100", and at most for longer words.
LEAST_RIGHT, MOST_RIGHT = 86.0, 130.0
GAP = 8.0
FONT = 11.0
MOST_PANELS = 6
LEAST_LOG = -math.log(1000.0)
LN10 = math.log(10.0)


def shown_tracks(tracks: Sequence[EvidenceTrack]) -> list[EvidenceTrack]:
    """At most six rollouts: those rolled back first, then those with most labelled pairs; in order of time."""
    ranked = sorted(
        tracks, key=lambda track: ("roll" not in track.outcome.lower(), -(max(track.pairs) if track.pairs else 0))
    )
    kept = {id(track) for track in ranked[:MOST_PANELS]}
    return [track for track in tracks if id(track) in kept]


def evidence_range(tracks: Sequence[EvidenceTrack]) -> tuple[float, float]:
    """One range of log evidence for all panels: around 1 to the thresholds, cut where evidence runs far past them."""
    thresholds = [
        threshold
        for track in tracks
        for threshold in (track.log_threshold_promote, track.log_threshold_rollback)
        if math.isfinite(threshold)
    ]
    values = [float(v) for track in tracks for v in floats((*track.log_better, *track.log_worse)) if math.isfinite(v)]
    top = max(thresholds, default=math.log(100.0))
    low = max(min([0.0, *values]), LEAST_LOG)
    high = min(max([top, *values]), 2.5 * max(top, 1.0))
    room = 0.06 * (high - low or 1.0)
    return low - room, high + room


def evidence_chart(track: EvidenceTrack, limits: tuple[float, float], ident: str) -> Markup:
    """The drawing of one rollout's evidence over its labelled pairs, on a log scale."""
    pairs = np.array(track.pairs, dtype=np.float64)
    most = float(pairs.max()) if len(pairs) else 1.0
    y = Linear(limits[0], limits[1], BOTTOM, TOP)
    bounds = _bounds(track, y)
    widest = max((text_width(words, FONT) for _, words in bounds), default=0.0)
    right = min(max(LEAST_RIGHT, GAP + widest), MOST_RIGHT)
    x = Linear(0.0, max(most, 1.0), LEFT, WIDTH - right)
    body = [tag("text", "evidence (e-value, log scale)", x=0.0, y=FONT, class_="faint")]
    decades = ticks(limits[0] / LN10, limits[1] / LN10, 4)
    for power in decades:
        if power != int(power):
            continue
        at = y(power * LN10)
        body.append(tag("path", d=f"M{LEFT} {at:.1f}H{x.end:.1f}", class_="grid"))
        body.append(tag("text", _power(int(power)), x=LEFT - 6, y=at + 4, class_="end"))
    step = max(1.0, step_of(0.0, x.high, 3))
    for index in range(int(x.high / step + 1e-9) + 1):
        words, at = number(index * step), x(index * step)
        body.append(tag("path", d=f"M{at:.1f} {BOTTOM}v4", class_="axis"))
        body.append(tag("text", words, x=at, y=BOTTOM + 16, class_="mid"))
    body.append(tag("path", d=f"M{LEFT} {BOTTOM}H{x.end:.1f}", class_="axis"))
    body.append(tag("text", "labelled pairs", x=(x.start + x.end) / 2, y=BOTTOM + 34, class_="mid faint"))
    body.append(_lines(track, x, y, bounds))
    return picture(
        ident,
        f"Evidence of {track.title}",
        f"After {number(most)} labelled pairs the evidence for better is {_evidence(track.log_better)}, for worse "
        f"{_evidence(track.log_worse)}. Outcome: {track.outcome}.",
        WIDTH,
        HEIGHT,
        *body,
    )


def _bounds(track: EvidenceTrack, y: Linear) -> list[tuple[float, str]]:
    """The thresholds that are drawn, each with its words."""
    thresholds = {"promote": track.log_threshold_promote, "roll back": track.log_threshold_rollback}
    if math.isclose(thresholds["promote"], thresholds["roll back"], rel_tol=1e-6):
        thresholds = {"decided": track.log_threshold_promote}
    return [
        (threshold, f"{words} {number(math.exp(min(threshold, 700.0)), 2)}")
        for words, threshold in thresholds.items()
        if math.isfinite(threshold) and y.low <= threshold <= y.high
    ]


def _lines(track: EvidenceTrack, x: Linear, y: Linear, bounds: Sequence[tuple[float, str]]) -> Markup:
    parts: list[Markup] = []
    wanted: list[tuple[float, str, str]] = []
    for threshold, words in bounds:
        at = y(threshold)
        parts.append(tag("path", d=f"M{LEFT} {at:.1f}H{x.end + 4:.1f}", class_="bound"))
        wanted.append((at, words, "faint"))
    places = np.array([x(float(pair)) for pair in track.pairs])
    for name, values in (("worse", track.log_worse), ("better", track.log_better)):
        logs = np.clip(floats(values), y.low, y.high)
        present = np.flatnonzero(np.isfinite(logs))
        if not len(present):
            continue
        kept = thinned(places, logs, 50)
        parts.append(
            tag("path", d=line_path(places[kept], [y(value) for value in logs[kept]]), class_=f"line e-{name}")
        )
        wanted.append((y(float(logs[present[-1]])), name, f"name n-{name}"))
    heights = spread([at for at, _, _ in wanted], FONT * 1.35, TOP - 2, BOTTOM + 2)
    for (_, words, class_), height in zip(wanted, heights, strict=True):
        room = WIDTH - x.end - GAP
        parts.append(label(words, x.end + GAP, height + 4, size=FONT, width=room, class_=class_))
    return joined(parts)


def _evidence(logs: Sequence[float]) -> str:
    present = [value for value in logs if math.isfinite(value)]
    return number(math.exp(min(present[-1], 700.0)), 2) if present else "unknown"


def _power(power: int) -> str:
    if 0 <= power <= 4:
        return f"{10**power:,}"
    return f"{10.0**power:g}" if -3 <= power < 0 else f"1e{power}"
