"""What a report tells: the outcome of a backtest or of the demo, as plain frozen data.

Whoever replays a loop fills a `Story`; `html.render_story` and `text.story_table` show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from homeostat.errors import InvalidInput


@dataclass(frozen=True)
class StrategyResult:
    """How one way of running the model did.

    `scores` holds `accuracy` and `f1_macro`, or `mae`, over all rows; `by_block` the story's metric in ten equal blocks
    of rows; `series` its rolling value at each of the story's times, `None` where absent (empty: not plotted).
    """

    name: str
    scores: dict[str, float]
    by_block: tuple[float | None, ...]
    series: tuple[float | None, ...]


@dataclass(frozen=True)
class Mark:
    """One decision: a retraining, promotion, rollback, alert, rejection, rollout, step and so on."""

    at: datetime
    kind: str
    reason: str
    version: int | None


@dataclass(frozen=True)
class DriftMap:
    """Effect sizes (0 to 1) of drift by feature and time, features first; `drifted` has the same shape."""

    features: tuple[str, ...]
    times: tuple[datetime, ...]
    values: tuple[tuple[float | None, ...], ...]
    threshold: float
    drifted: tuple[tuple[bool, ...], ...] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.features), len(self.times))
        _same_length("the drift map's rows", len(self.values), shape[0])
        for row in self.values:
            _same_length("a row of the drift map", len(row), shape[1])
        for flags in self.drifted or ():
            _same_length("a row of the drift map's flags", len(flags), shape[1])
        if self.drifted is not None:
            _same_length("the drift map's flags", len(self.drifted), shape[0])


@dataclass(frozen=True)
class Traffic:
    """The share (0 to 1) of served rows that each version had at each time."""

    times: tuple[datetime, ...]
    shares: dict[int, tuple[float, ...]]

    def __post_init__(self) -> None:
        for version, shares in self.shares.items():
            _same_length(f"the traffic of version {version}", len(shares), len(self.times))


@dataclass(frozen=True)
class EvidenceTrack:
    """How the evidence of one rollout's paired test grew with its labelled pairs.

    Evidence and thresholds are natural logarithms of e-values: for the candidate being better, and for its being worse.
    """

    title: str
    candidate: int
    baseline: int
    times: tuple[datetime, ...]
    pairs: tuple[int, ...]
    log_better: tuple[float, ...]
    log_worse: tuple[float, ...]
    log_threshold_promote: float
    log_threshold_rollback: float
    outcome: str
    sentence: str

    def __post_init__(self) -> None:
        for name in ("times", "log_better", "log_worse"):
            _same_length(f"'{name}' of the evidence '{self.title}'", len(getattr(self, name)), len(self.pairs))


@dataclass(frozen=True)
class VersionLine:
    """One version's life: when it was made, of what, how good it was, and its stages as (stage, from, to)."""

    number: int
    created_at: datetime
    description: str
    rows: int
    metrics: dict[str, float]
    spans: tuple[tuple[str, datetime, datetime], ...]


@dataclass(frozen=True)
class WindowRow:
    """A named stretch of the data with figures already in words."""

    name: str
    rows: int
    figures: dict[str, str]


@dataclass(frozen=True)
class Story:
    """Everything that a report shows, headline first.

    `metric` is `accuracy` or `mae`; `facts` and `findings` are pairs of a name and its words. Raises
    `InvalidInput` where a series does not have one value for each of `times`.
    """

    title: str
    subtitle: str
    headline: str
    facts: tuple[tuple[str, str], ...]
    metric: str
    target: str
    rows: int
    times: tuple[datetime, ...]
    strategies: tuple[StrategyResult, ...]
    initial_until: datetime | None
    marks: tuple[Mark, ...]
    drift: DriftMap | None
    traffic: Traffic | None
    evidence: tuple[EvidenceTrack, ...]
    versions: tuple[VersionLine, ...]
    windows: tuple[WindowRow, ...] = ()
    findings: tuple[tuple[str, str], ...] = ()
    simulated_times: bool = True
    made_by: str = ""

    def __post_init__(self) -> None:
        for strategy in self.strategies:
            if strategy.series:
                _same_length(f"the series of '{strategy.name}'", len(strategy.series), len(self.times))


def _same_length(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise InvalidInput(
            f"{what[0].upper()}{what[1:]} has {found} values where {expected} belong. Give one for each.",
            found=found,
            expected=expected,
        )
