"""The pages as HTML text: facts in, text out. Each is one file that needs nothing else and forbids foreign scripts."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from homeostat.dashboard.cards import MOST_CARDS, MOST_LINES, card_of, link_of, ranked
from homeostat.dashboard.condition import (
    JUDGED,
    WINDOW_WORDS,
    condition_of,
    drifted_words,
    metric_of,
    newest,
    quality_finding,
)
from homeostat.dashboard.drift import drift_map, effect_threshold, feature_count, feature_rows
from homeostat.dashboard.facts import ModelFacts, PageFacts
from homeostat.dashboard.quality import history_chart, history_of, history_rows, history_samples
from homeostat.dashboard.rollout import past_rollouts, rollout_view
from homeostat.dashboard.serving import MOST_GATEWAYS, arm_rows, gateway_rows, gateways_words, version_rows
from homeostat.dashboard.timeline import (
    FIRST_DECISIONS,
    MOST_ALERTS,
    alert_rows,
    alerts_words,
    check_rows,
    decision_rows,
    retraining_since,
)
from homeostat.dashboard.words import VERDICT_WORDS, moment, sound
from homeostat.records import Finding, Verdict
from homeostat.reports.charts.heat import heat_chart, heat_samples
from homeostat.reports.charts.quality import majors
from homeostat.reports.charts.scale import time_range
from homeostat.reports.charts.svg import PHONE, WIDE, Size
from homeostat.reports.format import counted, metric_name, metric_value, number, percent, seconds, when
from homeostat.reports.html import TEMPLATES as REPORT_TEMPLATES

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
KEY_LENGTH = 6
# The colours of drift go up to so many thresholds, so that they mean the same at every look.
HEAT_TOP = 5.0


def render_overview(facts: PageFacts) -> str:
    """The page at `/`: of one model everything, of several a card each, of none the next step."""
    if len(facts.models) == 1:
        return render_model(facts)
    if not facts.models:
        return _render(
            "empty.html.j2", facts, title="No model yet", summary="No model is registered yet.", sign="pending"
        )
    judged = ranked(facts.models, facts.now, simulated=facts.simulated)
    cards = [card_of(one, condition, index, facts.now) for index, (one, condition) in enumerate(judged[:MOST_CARDS])]
    others = judged[MOST_CARDS : MOST_CARDS + MOST_LINES]
    waiting = sum(condition.needs_attention for _, condition in judged)
    healthy = sum(condition.verdict == "healthy" for _, condition in judged)
    return _render(
        "overview.html.j2",
        facts,
        title=f"{waiting} of {len(judged)} models need attention" if waiting else f"{len(judged)} models",
        sign=judged[0][1].verdict if waiting else "healthy",
        summary=_overview_words(len(judged), waiting, healthy),
        cards=cards,
        others=[(sound(one.status.model, 60), link_of(one.status.model), condition) for one, condition in others],
        left_out=max(0, len(judged) - MOST_CARDS - MOST_LINES),
        alerts=sum(len(one.alerts) for one in facts.models),
        rollouts=sum(one.status.rollout is not None for one in facts.models),
        rows=sum(one.status.rows for one in facts.models),
        healthy=healthy,
        unknown=len(judged) - waiting - healthy,
    )


def render_model(facts: PageFacts) -> str:
    """The page of one model: the first of the facts."""
    one, now = facts.models[0], facts.now
    status, found = one.status, newest(one)
    condition = condition_of(one, now, simulated=facts.simulated)
    rows, gateways = alert_rows(one.alerts, now), gateway_rows(one, facts.machine_now or now)
    decisions = decision_rows(one.decisions, now)
    name = sound(status.model)
    return _render(
        "model.html.j2",
        facts,
        title=f"{name}: {condition.word}",
        sign=condition.verdict,
        summary=f"{name} {condition.sentence}",
        name=name,
        task=status.task.value,
        target=sound(one.version.signature.target, 60) if one.version is not None else "",
        about=sound(status.description, 200),
        condition=condition,
        status=status,
        since=None if one.since is None else moment(one.since, now),
        figures=_figures(one, found),
        arms=arm_rows(one),
        route=_route(one, now),
        gateways=gateways[:MOST_GATEWAYS],
        gateways_left_out=max(0, len(gateways) - MOST_GATEWAYS),
        gateways_words=gateways_words(gateways),
        alerts=rows,
        alerts_words=alerts_words(one.alerts),
        retraining=retraining_since(one.decisions, now),
        alerts_left_out=max(0, len(one.alerts) - MOST_ALERTS),
        rollout=rollout_view(one, now),
        past=past_rollouts(one, now),
        quality=_quality(one, now, simulated=facts.simulated),
        drift=_drift(one, found.get("drift"), now, simulated=facts.simulated),
        checks=check_rows(one, now),
        decisions=decisions[:FIRST_DECISIONS],
        older=decisions[FIRST_DECISIONS:],
        decisions_left_out=max(0, len(one.decisions) - len(decisions)),
        versions=version_rows(one, now),
        versions_count=len(one.versions),
    )


def render_error(title: str, message: str, *, server: str = "") -> str:
    """A page that says what went wrong, and links to the start."""
    return str(
        _template("error.html.j2").render(
            **_shell(),
            title=sound(title, 120),
            message=sound(message, 600),
            server=sound(server),
            sign="error",
            live=False,
        )
    )


def _overview_words(models: int, waiting: int, healthy: int) -> str:
    if waiting:
        return f"{waiting} of {counted(models, 'model')} {'needs' if waiting == 1 else 'need'} attention."
    if healthy == models:
        return f"All {models} models are healthy."
    return f"{healthy} of {counted(models, 'model')} are healthy; of the others too little is known."


# What a model's page is made of
def _figures(one: ModelFacts, found: dict[str, Finding]) -> list[dict[str, str]]:
    """The strip of figures at the top, each with its unit or rows and its verdict in words."""
    metric, status = metric_of(one), one.status
    quality, drift, service = quality_finding(found), found.get("drift"), found.get("service")
    looked = [found[check] for check in WINDOW_WORDS if check in found]
    shown = quality or (looked[-1] if looked else None)
    return [
        {
            "name": metric_name(metric),
            "value": metric_value(metric, None if quality is None else quality.statistic),
            "note": "no label came yet" if quality is None else f"{_rows(quality)}, {WINDOW_WORDS[quality.check]}",
            **_verdict(shown),
        },
        {
            "name": "Features drifted",
            "value": drifted_words(drift).removesuffix("s").removesuffix(" feature")
            if drift is not None and drift.verdict in JUDGED
            else "–",
            "note": "nothing was looked at yet" if drift is None else f"the latest {_rows(drift, 'row')}",
            **_verdict(drift),
        },
        {
            "name": "95 % of answers within",
            "value": _latency(service),
            "note": "nothing was looked at yet"
            if service is None
            else f"{percent(_evidence(service, 'error_rate'), 2)} of {_rows(service, 'row', key='rows')} failed",
            **_verdict(service),
        },
        {
            "name": "Labelled",
            "value": percent(status.labelled / status.rows, 0) if status.rows else "–",
            "note": f"{status.labelled:,} of {counted(status.rows, 'row')}"
            + (f"; {counted(status.unmatched, 'label')} without a prediction" if status.unmatched else ""),
            "verdict": "",
            "words": "",
        },
    ]


def _rows(finding: Finding, noun: str = "labelled row", key: str = "") -> str:
    held = finding.evidence.get(key)
    rows = held if isinstance(held, int) else finding.window.rows if finding.window is not None else 0
    return counted(rows, noun)


def _evidence(finding: Finding, name: str) -> float | None:
    value = finding.evidence.get(name)
    return float(value) if isinstance(value, int | float) else None


def _latency(service: Finding | None) -> str:
    p95 = None if service is None else _evidence(service, "p95_latency_ms")
    return "–" if p95 is None else f"{number(p95, 2)} ms"


def _verdict(finding: Finding | None) -> dict[str, str]:
    verdict = Verdict.PENDING if finding is None else finding.verdict
    return {"verdict": verdict.value, "words": VERDICT_WORDS[verdict]}


def _route(one: ModelFacts, now: datetime) -> dict[str, Any] | None:
    route = one.status.route
    if route is None:
        return None
    return {"number": route.number, "at": moment(route.at, now), "reason": sound(route.reason, 240)}


def _quality(one: ModelFacts, now: datetime, *, simulated: bool) -> dict[str, Any] | None:
    history = history_of(one, now)
    if history is None:
        return None
    title = _axis(simulated=simulated)
    numbered = majors(history.marks)
    span = seconds(history.end) - seconds(history.looks[0].at)
    shown = sorted(enumerate(numbered, 1), key=lambda pair: (pair[1].kind != "rollback", -pair[0]))[:KEY_LENGTH]
    return {
        "drawing": _pair(lambda size: history_chart(history, size, title)) if history.judged else None,
        "data": _data(history_samples(history)),
        "rows": history_rows(history),
        "metric": metric_name(history.metric),
        "window": WINDOW_WORDS[history.check],
        "looks": len(history.looks),
        "looks_words": counted(len(history.looks), "look"),
        "judged": history.judged,
        "numbered": len(numbered),
        "key": [
            {"number": place, "kind": mark.kind, "what": mark.reason, "when": when(seconds(mark.at), max(span, 3600.0))}
            for place, mark in sorted(shown)
        ],
    }


def _drift(one: ModelFacts, finding: Finding | None, now: datetime, *, simulated: bool) -> dict[str, Any] | None:
    drift = drift_map(one)
    if drift is None and finding is None:
        return None
    view: dict[str, Any] = {
        "drawing": None,
        "data": "",
        "rows": feature_rows(finding),
        "features": feature_count(one),
        "threshold": number(effect_threshold(one), 2),
        "message": "" if finding is None else sound(finding.message, 300),
        "at": None if finding is None else moment(finding.at, now),
        **_verdict(finding),
        "shown": 0,
    }
    if drift is not None:
        domain, title = time_range(drift.times), _axis(simulated=simulated)
        view |= {
            "drawing": _pair(lambda size: heat_chart(drift, size, domain, title, least_top=HEAT_TOP * drift.threshold)),
            "data": _data(heat_samples(drift, WIDE, domain)),
            "shown": len(drift.features),
        }
    return view


def _axis(*, simulated: bool) -> str:
    return "simulated time" if simulated else "event time, UTC"


def _pair(draw: Callable[[Size], Markup]) -> Markup:
    return Markup('<div class="wide">{}</div><div class="phone">{}</div>').format(draw(WIDE), draw(PHONE))


def _data(content: object) -> Markup:
    """JSON that is safe inside a script element: nothing in it can close the element."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704 - the letters that matter to HTML were just replaced


# The shell
@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([TEMPLATES, REPORT_TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def _template(name: str) -> Any:
    return _environment().get_template(name)


@functools.cache
def _shell() -> dict[str, Any]:
    style = "\n".join(
        line.strip() for name in ("style.css.j2", "dashboard.css.j2") for line in _template(name).render().splitlines()
    )
    script = _template("live.js.j2").render()
    return {
        "style": Markup(style),  # noqa: S704 - our own file
        "script": Markup(script),  # noqa: S704 - our own file
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def _render(template: str, facts: PageFacts, **values: Any) -> str:
    now = facts.now
    return str(
        _template(template).render(
            **_shell(),
            server=sound(facts.server),
            build=sound(facts.version, 40),
            now=moment(now, now),
            simulated=facts.simulated,
            live=True,
            **values,
        )
    )
