"""What a judgement says: by metric and arm, about the data, and as a whole."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from homeostat.errors import InvalidInput
from homeostat.stats.experiments.units import Role

Verdict = Literal["running", "win", "loss", "flat", "inconclusive", "held"]
Standing = Literal["better", "not worse", "worse", "flat", "differs", "open", "no data"]


@dataclass(frozen=True)
class MetricJudgement:
    """One metric of one arm against the control.

    `levels` are the control's and the arm's, standardised over the strata; `effect` is their difference and `lift` its
    share of the control's. `interval` is the confidence sequence of the effect: its end on the worse side holds at the
    error `alpha_worse`, the other at `alpha_better`, so that it leaves out a limit just when the evidence decides.
    `log_e_better` is the log evidence that the arm is better (of a guardrail: not worse by the margin), `log_e_worse`
    that it is worse (of a guardrail and a deterioration metric: by more than the margin); each decides at
    log(1/alpha). `units` have a value, `exposed` were assigned. `method` is `exact` or `asymptotic`; the latter says
    nothing before its burn-in.
    """

    metric: str
    role: Role
    arm: str
    method: str
    levels: tuple[float, float]
    effect: float
    lift: float
    interval: tuple[float, float]
    confidence: float
    log_e_better: float
    log_e_worse: float
    alpha_better: float
    alpha_worse: float
    margin: float
    units: tuple[int, int]
    exposed: tuple[int, int]
    standing: Standing
    sentence: str

    @property
    def coverage(self) -> tuple[float, float]:
        """The share of the assigned units that have a value, in the control and in the arm; NaN without units."""
        shares = [n / all_ if all_ else math.nan for n, all_ in zip(self.units, self.exposed, strict=True)]
        return shares[0], shares[1]


@dataclass(frozen=True)
class Check:
    """A check of the data: units by arm against their planned split, anytime-valid; failed at evidence 1/`alpha`."""

    name: str
    counts: tuple[int, ...]
    expected: tuple[float, ...]
    log_e: float
    alpha: float
    failed: bool
    sentence: str


@dataclass(frozen=True)
class Judgement:
    """What can be said about an experiment now, however often it was looked at before.

    `verdict` is running, win, loss, flat, inconclusive or held; `winner` the arm that won, and `arm_verdicts` each
    other arm's own (win, loss, flat, inconclusive or running). `reasons` say why, one sentence each. `split` compares
    assigned units with the weights, `coverage` the units with a value, metric by metric. `chance_to_win` is what the
    futility rule goes by, by arm; NaN where no maximum is planned.
    """

    verdict: Verdict
    winner: str | None
    reasons: tuple[str, ...]
    arm_verdicts: dict[str, Verdict]
    metrics: tuple[MetricJudgement, ...]
    split: Check
    coverage: tuple[Check, ...]
    units: tuple[int, ...]
    exposed_twice: int
    alpha: float
    rollback_error: float
    chance_to_win: dict[str, float]
    sentence: str

    @property
    def multiple_exposure(self) -> float:
        """The share of all units that were seen in several arms."""
        seen = sum(self.units) + self.exposed_twice
        return self.exposed_twice / seen if seen else 0.0

    def of(self, metric: str, arm: str) -> MetricJudgement:
        """The judgement of this metric and arm. Raises `InvalidInput` where there is none."""
        for each in self.metrics:
            if (each.metric, each.arm) == (metric, arm):
                return each
        raise InvalidInput(f"There is no judgement of the metric {metric!r} in the arm {arm!r}.")

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON; what is not a finite number becomes None."""
        plain: dict[str, Any] = _plain(asdict(self))
        plain["multiple_exposure"] = self.multiple_exposure
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
