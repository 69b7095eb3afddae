"""What answers for a model now: its arms and shadows, and the processes that serve them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from homeostat.controllers.confirmation import SILENT
from homeostat.dashboard.facts import ModelFacts
from homeostat.dashboard.words import Moment, moment, share, sound
from homeostat.records import GatewayReport, Route, Version
from homeostat.reports.format import counted, metric_name, metric_value

MOST_ARMS = 12
MOST_GATEWAYS = 8
MOST_VERSIONS = 12
HUES = 6
MADE_METRICS = ("accuracy", "roc_auc", "mae")


@dataclass(frozen=True)
class ArmRow:
    """A version that answers a share of the traffic, or, as a shadow, scores all of it unseen."""

    version: int
    name: str
    share: str
    weight: float
    hue: int
    description: str
    is_shadow: bool


@dataclass(frozen=True)
class GatewayRow:
    """A process that serves, and whether it serves the newest route."""

    name: str
    pid: int
    route: str
    verdict: str
    words: str
    seen: Moment


@dataclass(frozen=True)
class VersionRow:
    """A version of the model."""

    number: int
    stage: str
    made: Moment
    by: str
    rows: str
    metrics: str
    description: str
    is_served: bool


def arm_rows(facts: ModelFacts) -> list[ArmRow]:
    """The arms of the newest route, then its shadows."""
    route = facts.status.route
    if route is None:
        return []
    known = {version.number: version for version in facts.versions}
    if facts.version is not None:
        known[facts.version.number] = facts.version

    def row(number: int, name: str, weight: float, *, is_shadow: bool) -> ArmRow:
        return ArmRow(
            version=number,
            name=sound(name, 30),
            share="" if is_shadow else share(weight),
            weight=round(max(weight, 0.0), 4),
            hue=number % HUES,
            description=describe(known.get(number)),
            is_shadow=is_shadow,
        )

    arms = [row(arm.version, arm.name, arm.weight, is_shadow=False) for arm in route.arms]
    return (arms + [row(number, "shadow", 0.0, is_shadow=True) for number in route.shadows])[:MOST_ARMS]


def describe(version: Version | None) -> str:
    """What a version is made of: its algorithm, or the format that it is served as."""
    if version is None:
        return ""
    algorithm = str(version.parameters.get("algorithm", "")).replace("_", " ")
    return sound(algorithm or version.serving.format, 40)


def gateway_rows(facts: ModelFacts, machine_now: datetime) -> list[GatewayRow]:
    """The gateways: those first that do not serve the newest route."""
    rows = [_gateway(gateway, facts.status.model, facts.status.route, machine_now) for gateway in facts.gateways]
    return sorted(rows, key=lambda row: (row.verdict == "healthy", row.name))


def _gateway(gateway: GatewayReport, model: str, route: Route | None, machine_now: datetime) -> GatewayRow:
    held = gateway.routes.get(model)
    is_silent = machine_now - gateway.seen_at >= SILENT
    if is_silent:
        verdict, words = "no_data", "silent: it serves what it last had, or nothing"
    elif held is None:
        verdict, words = "pending", "was not asked for this model yet"
    elif route is not None and held < route.number:
        verdict, words = "inconclusive", f"still serves route {held}; the newest is {route.number}"
    else:
        verdict, words = "healthy", "serves the newest route"
    return GatewayRow(
        name=sound(gateway.name, 40),
        pid=gateway.pid,
        route="–" if held is None else str(held),
        verdict=verdict,
        words=words,
        seen=moment(gateway.seen_at, machine_now),
    )


def gateways_words(rows: Sequence[GatewayRow]) -> str:
    """How many gateways serve the newest route."""
    if not rows:
        return "No gateway has reported yet."
    current = sum(row.verdict == "healthy" for row in rows)
    if current == len(rows):
        return f"{counted(current, 'gateway')}, serving it." if current == 1 else f"All {current} gateways serve it."
    return f"{current} of {counted(len(rows), 'gateway')} serve it."


def version_rows(facts: ModelFacts, now: datetime) -> list[VersionRow]:
    """The newest versions and the one in production, newest first."""
    ordered = sorted(facts.versions, key=lambda version: version.number)
    kept = {version.number: version for version in ordered[-MOST_VERSIONS:]}
    kept |= {version.number: version for version in ordered if version.number == facts.status.production}
    return [
        VersionRow(
            number=version.number,
            stage=version.stage.value,
            made=moment(version.created_at, now),
            by=sound(version.lineage.run or version.lineage.registered_by, 40),
            rows=counted(version.lineage.rows, "row"),
            metrics=", ".join(
                f"{metric_name(name)} {metric_value(name, version.metrics[name])}"
                for name in MADE_METRICS
                if name in version.metrics
            ),
            description=describe(version),
            is_served=version.number == facts.status.production,
        )
        for _, version in sorted(kept.items(), reverse=True)
    ]
