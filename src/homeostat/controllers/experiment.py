"""Looks at every live experiment of a model: judges it by what is ripe, and moves it on as the rules say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from homeostat.controllers.segments import by_segment, plain_reading
from homeostat.controllers.units import tried_so_far, units_and_rows
from homeostat.controllers.views import ModelView
from homeostat.experiments.drafts import first_success
from homeostat.experiments.rules import ExperimentFacts, Judged
from homeostat.experiments.service import Experiments
from homeostat.experiments.story import plan_of
from homeostat.records import Experiment, ExperimentState, Policy, Strategy, as_datetime64
from homeostat.registry.service import Registry
from homeostat.stats.experiments import Judgement, Reading, Summary, Units, judge_summary, readings
from homeostat.stats.experiments.bandit import thompson_weights

# How many looks an experiment remembers for its chart; older ones are thinned out.
MOST_LOOKS = 60
_TOLD = ("metric", "arm", "levels", "effect", "interval", "units", "standing")


class ExperimentController:
    """Experiments of a model."""

    name = "experiment"

    def __init__(
        self,
        registry: Registry,
        experiments: Experiments,
        on_route: Callable[[str, datetime], None],
        *,
        holder: str,
    ) -> None:
        self._registry = registry
        self._experiments = experiments
        self._on_route = on_route
        self._holder = holder

    def reconcile(self, view: ModelView, policy: Policy, now: datetime) -> bool:  # noqa: ARG002 (as all controllers)
        live = self._experiments.live(view.model)
        if not live:
            return False
        changed, broken = False, []
        for experiment in live:
            try:
                facts, evidence = self._facts(view, experiment, now)
                following = self._experiments.advance(experiment, facts, evidence)
            except Exception as error:
                # One that can't be judged must not stop the others, nor let their leases run out.
                broken.append(error)
                continue
            changed |= (following.state, following.epochs) != (experiment.state, experiment.epochs)
        if changed:
            self._on_route(view.model, now)
            live = self._experiments.live(view.model)
        served = [one for one in live if one.state.takes_traffic or one.state is ExperimentState.SHADOWING]
        if served:
            seconds = min(one.lease_seconds for one in served)
            self._experiments.renew_lease(view.model, seconds, holder=self._holder, now=now)
        if broken:
            # The loop tells people of it.
            raise broken[0]
        return changed

    def _facts(self, view: ModelView, experiment: Experiment, now: datetime) -> tuple[ExperimentFacts, dict[str, Any]]:
        if experiment.state is ExperimentState.SHADOWING:
            shadowed, failed = _shadowed(view, experiment)
            facts = ExperimentFacts(now=now, judged=Judged(verdict="running"), shadowed=shadowed, failed=failed)
            return facts, {"shadowed": shadowed, "failed": failed}
        if not experiment.state.takes_traffic:
            return ExperimentFacts(now=now, judged=Judged(verdict="running")), experiment.evidence
        signature = self._registry.version(view.model, experiment.control.version).signature
        units, rows = units_and_rows(
            view.joined.rows(),
            view.joined.exposures(),
            experiment,
            self._experiments.values(experiment),
            positive=signature.positive,
            now=now,
        )
        began = experiment.began_at or now
        is_over = (now - began).total_seconds() >= experiment.plan.maximum_seconds
        plan = plan_of(experiment)
        summary = Summary.of(units, plan)
        found = judge_summary(summary, plan, final=is_over)
        judged = Judged(verdict=found.verdict, winner=found.winner, reasons=tuple(found.reasons))
        weights = _weights(experiment, units)
        facts = ExperimentFacts(now=now, judged=judged, weights=weights)
        days = max((now - began).total_seconds(), 1.0) / 86400
        pace = len(units) / days if len(units) else None
        evidence = _evidence(experiment, found, readings(summary, plan, units_a_day=pace), now)
        if experiment.plan.segments:
            evidence["by_segment"] = by_segment(view, experiment, units, rows, plan, signature)
        return facts, evidence


def _evidence(experiment: Experiment, found: Judgement, rows: tuple[Reading, ...], now: datetime) -> dict[str, Any]:
    """What is kept of a look: all that the statistics say, and the effects of the looks before it."""
    plain = found.to_dict()
    looks = list(experiment.evidence.get("looks", []))
    if (
        not looks
        or looks[-1]["units"] != plain["units"]
        or experiment.evidence.get("metrics") != _as_json(plain["metrics"])
    ):
        looks.append(
            {
                "at": now.isoformat(),
                "units": plain["units"],
                "metrics": [{name: line[name] for name in _TOLD} for line in plain["metrics"]],
            }
        )
    if len(looks) > MOST_LOOKS:
        # The first and the last stay; of those between, every other one.
        looks = [*looks[:-1:2], looks[-1]]
    unit = "requests" if experiment.plan.strategy is Strategy.RANDOM else "entities"
    return {**plain, "unit": unit, "looks": looks, "readings": [plain_reading(row) for row in rows]}


def _as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _shadowed(view: ModelView, experiment: Experiment) -> tuple[int, float]:
    """The rows that the arm with the fewest has scored beside production, and the largest share that failed."""
    rows = view.joined.rows()
    since = int(as_datetime64(experiment.stage_at or experiment.updated_at).astype(np.int64))
    recent = rows.event_time >= since
    fewest, worst = [], [0.0]
    for number in sorted(experiment.versions):
        scored = int((recent & ~np.isnan(rows.outputs_of(number)[1])).sum())
        failed = int((view.joined.failure_times(number) >= since).sum())
        fewest.append(scored)
        if scored + failed:
            worst.append(failed / (scored + failed))
    return min(fewest), max(worst)


def _weights(experiment: Experiment, units: Units) -> tuple[float, ...] | None:
    """What a bandit gives its arms next."""
    if experiment.plan.strategy is not Strategy.BANDIT:
        return None
    successes, trials = tried_so_far(units, first_success(experiment.plan.metrics))
    if min(trials) == 0:
        return None
    floor = min(0.1, 1 / len(trials))
    found = thompson_weights(successes, trials, floor=floor, seed=len(experiment.epochs))
    others = [round(weight, 6) for weight in found[1:]]
    return (round(1 - sum(others), 6), *others)
