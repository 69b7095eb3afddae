"""Arms, metrics and ramps as people write them on a command line."""

from __future__ import annotations

import math

from homeostat.errors import InvalidExperiment, InvalidSettings
from homeostat.records import Arm, ExperimentMetric, MetricRole, RampStage, parse_span

ARM_HELP = "An arm is written as NAME=VERSION:WEIGHT, such as control=3:0.5."
METRIC_HELP = (
    "A metric is written as NAME:ROLE, with a margin and the smallest effect that matters if it has any: "
    "accuracy:success, latency:guardrail:20, accuracy:success:0:0.02."
)
OWN_HELP = (
    "A metric of your own is written as NAME:ROLE:higher or NAME:ROLE:lower, with a margin, bounds and the smallest "
    "effect that matters if it has any: revenue:success:higher:0:0..100, revenue:success:higher:0:0..100:5."
)
RAMP_HELP = "A ramp is written as '5% for 1d, 20% for 2d, 100%'."


def parse_arm(text: str) -> Arm:
    """An arm.

    >>> parse_arm("control=3:0.5")
    Arm(name='control', version=3, weight=0.5)
    """
    name, _, rest = text.partition("=")
    version, _, weight = rest.partition(":")
    digits = version.removeprefix("v")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise InvalidExperiment(ARM_HELP)
    return Arm(name=name, version=int(digits), weight=number(weight, ARM_HELP))


def parse_metric(text: str) -> ExperimentMetric:
    """A built-in metric.

    >>> parse_metric("latency:guardrail:20").margin
    20.0
    >>> parse_metric("accuracy:success:0:0.02").minimum_effect
    0.02
    """
    parts = text.split(":")
    if not 2 <= len(parts) <= 4:
        raise InvalidExperiment(METRIC_HELP)
    margin = number(parts[2], METRIC_HELP) if len(parts) > 2 else 0.0
    least = number(parts[3], METRIC_HELP) if len(parts) > 3 else None
    return ExperimentMetric(name=parts[0], role=_role(parts[1]), margin=margin, minimum_effect=least)


def parse_own_metric(text: str) -> ExperimentMetric:
    """A metric of the user's own.

    >>> found = parse_own_metric("revenue:success:higher:0:0..100")
    >>> found.bounds, found.lower_is_better
    ((0.0, 100.0), False)
    """
    parts = text.split(":")
    if not 3 <= len(parts) <= 6 or parts[2] not in ("higher", "lower"):
        raise InvalidExperiment(OWN_HELP)
    bounds = None
    if len(parts) > 4 and (parts[4] or len(parts) == 5):
        low, _, high = parts[4].partition("..")
        bounds = (number(low, OWN_HELP), number(high, OWN_HELP))
    return ExperimentMetric(
        name=parts[0],
        role=_role(parts[1]),
        margin=number(parts[3], OWN_HELP) if len(parts) > 3 else 0.0,
        is_own=True,
        lower_is_better=parts[2] == "lower",
        bounds=bounds,
        minimum_effect=number(parts[5], OWN_HELP) if len(parts) > 5 else None,
    )


def parse_ramp(text: str) -> tuple[RampStage, ...]:
    """The stages of a gradual experiment; the last one needs no length.

    >>> [(stage.share, stage.seconds) for stage in parse_ramp("5% for 1d, 100%")]
    [(0.05, 86400.0), (1.0, 0.0)]
    """
    found = []
    for part in text.split(","):
        share, _, length = part.strip().partition("%")
        length = length.strip()
        if length and not length.startswith("for "):
            raise InvalidExperiment(RAMP_HELP)
        seconds = parse_seconds(length.removeprefix("for ")) if length else 0.0
        found.append(RampStage(share=number(share, RAMP_HELP) / 100, seconds=seconds))
    return tuple(found)


def parse_seconds(text: str) -> float:
    """A length of time such as 90s, 12h or 2d; 0 is none. Raises `InvalidSettings`."""
    if text.strip() == "0":
        return 0.0
    span = parse_span(text)
    if span.rows:
        raise InvalidSettings("This is a length of time, such as 90s, 12h or 2d, and not of rows.")
    return span.seconds


def parse_share(text: str) -> float:
    """A share such as 20% or 0.2.

    >>> parse_share("20%"), parse_share("0.2")
    (0.2, 0.2)
    """
    help_ = "A share is written as 20% or 0.2."
    return number(text[:-1], help_) / 100 if text.endswith("%") else number(text, help_)


def _role(text: str) -> MetricRole:
    if text not in list(MetricRole):
        raise InvalidExperiment(f"A metric's role is one of {', '.join(MetricRole)}.")
    return MetricRole(text)


def number(text: str, help_: str) -> float:
    """A finite number, or `InvalidExperiment` with the help."""
    try:
        found = float(text)
    except ValueError:
        raise InvalidExperiment(help_) from None
    if not math.isfinite(found):
        raise InvalidExperiment(help_)
    return found
