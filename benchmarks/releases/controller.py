"""The real rollout on a simulated clock: rules, service, registry and journal, over a store in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from benchmarks.releases.world import Counts, Evidence, Rows, Traffic

from homeostat.records import (
    Lineage,
    Manifest,
    Model,
    Policy,
    Rollout,
    ServingForm,
    Signature,
    Stage,
    StepKind,
    Task,
    Version,
)
from homeostat.registry.service import Registry
from homeostat.rollouts import rules
from homeostat.rollouts.evidence import Comparison, counted_log_evidence, failure_log_evidence
from homeostat.rollouts.rules import Facts
from homeostat.rollouts.service import Rollouts
from homeostat.stores.memory import MemoryControlStore, MemoryFileStore

BEGAN = datetime(2025, 1, 6, tzinfo=UTC)
MODEL = "spam"
BASELINE, CANDIDATE = 1, 2


@dataclass(frozen=True)
class Outcome:
    """How a run ended. Numbers count requests from the rollout's start; `None` is never."""

    state: str
    rule: str
    ended: int | None
    labelled: int
    promoted: int | None
    exposed: int
    looks: int

    @property
    def is_taken_back(self) -> bool:
        """Whether a guardrail ended it, before or after it took traffic; running into a limit of time is none."""
        return self.ended is not None and self.state in TAKEN_BACK and self.rule not in UNDECIDED

    def hours(self, at: int | None, traffic: Traffic) -> float:
        """The time of a request, in hours since the start."""
        return math.inf if at is None else at * traffic.seconds / 3600


# Below this no rule acts: the thresholds of both errors lie above it.
FLOOR = math.log(8.0)
TAKEN_BACK = ("rolling_back", "rolled_back", "rejected")
UNDECIDED = (rules.LIMIT, "")


def _beyond_margin(part: Counts, counts: npt.NDArray[np.int64], margin: float, kind: str) -> npt.NDArray[np.float64]:
    """The log evidence that a figure is worse by more than a margin, among so many first rows.

    It says where to look; the rules reckon for themselves.
    """
    wins, losses = part.wins[counts], part.losses[counts]
    same = part.pairs[counts] - wins - losses
    both = same - part.both[counts] if kind == "fpr" else part.both[counts] if kind == "tpr" else same
    scale = 1.0 if kind == "tpr" else 1 + margin
    gain = {"tpr": 1 - margin, "fpr": 1 / scale, "accuracy": (1 - margin) / scale}[kind]
    return counted_log_evidence((gain, -1.0, -margin / scale), (losses, wins, both))


def open_rollouts() -> tuple[MemoryControlStore, Rollouts]:
    """A store with a model, its first version in production and the second a draft."""
    store = MemoryControlStore()
    registry = Registry(store, MemoryFileStore(), None, code_version="")  # type: ignore[arg-type]
    signature = Signature(task=Task.BINARY, features=(), target="label", classes=("ham", "spam"), positive="spam")
    with store.begin() as transaction:
        transaction.insert(Model(name=MODEL, task=Task.BINARY, target="label", created_at=BEGAN))
        for number, stage in ((BASELINE, Stage.STAGING), (CANDIDATE, Stage.DRAFT)):
            transaction.insert(
                Version(
                    model=MODEL,
                    number=number,
                    stage=stage,
                    created_at=BEGAN,
                    signature=signature,
                    manifest=Manifest(files=()),
                    serving=ServingForm(format="skops", reason="", rows_checked=0, largest_difference=0.0),
                    lineage=Lineage(data_sha256="", rows=0),
                )
            )
    registry.install(MODEL, BASELINE, at=BEGAN, actor="simulation", reason="first")
    return store, Rollouts(store, registry, registry.rollback_target)


class Simulation:
    """One rollout over given rows. Request `t` is served at its time; then the label of row `t − late` comes."""

    def __init__(
        self,
        rows: Rows,
        traffic: Traffic,
        policy: Policy,
        *,
        evidence: Evidence | None = None,
        by_hand: bool = False,
    ) -> None:
        self.rows, self.traffic, self.policy = rows, traffic, policy
        self.evidence = evidence or Evidence()
        self.store, self.rollouts = open_rollouts()
        self.rollout = self.rollouts.start(
            MODEL, CANDIDATE, policy, at=BEGAN, reason="simulated", actor="simulation", by_hand=by_hand
        )
        self.late = traffic.late
        self.looks = 0
        self.exposed = 0
        self._entered = 0
        self._promoted: int | None = 0 if self.rollout.promoted_at is not None else None
        self._answered = self._slow = self._counted = 0
        self._failed = np.concatenate([[0], np.cumsum(rows.failed)])
        self._overall = self._counts()
        self._since_promotion: Counts | None = None
        self._by_class: tuple[Counts, Counts] | None = None
        self._prepare()

    def _counts(self, keep: object = None, start: int = 0) -> Counts:
        return Counts(self.rows, self.evidence, keep, start)  # type: ignore[arg-type]

    def _prepare(self) -> None:
        """Counts of what guardrails judge: since the promotion, where there was one."""
        start = self._promoted or 0
        if self._promoted is not None:
            self._since_promotion = self._counts(start=start)
        positive = self.rows.positive
        self._by_class = (self._counts(positive, start), self._counts(~positive, start))

    def time(self, t: int) -> datetime:
        return BEGAN + timedelta(seconds=t * self.traffic.seconds)

    def run(self, *, every: bool = False) -> Outcome:
        """Look until the end: after every request, or (the same, faster) only where the rules can act."""
        moving, position, t = self._moving(), 0, 0
        while t < self.rows.count and self.rollout.state.is_under_way:
            changed = self._look(t)
            following = t + 1
            if changed:
                moving, position = self._moving(), 0
            elif not every:
                while position < len(moving) and moving[position] <= t:
                    position += 1
                events = moving[position : position + 1]
                following = min([*events, *self._boundaries(t)], default=self.rows.count)
            t = following
        last = min(t, self.rows.count) - 1
        self._serve(last)
        return self._outcome(last)

    def _moving(self) -> list[int]:
        """Requests after which a count changed that evidence is drawn from, and some evidence is above `FLOOR`.

        Between labels that tell the two versions apart, failures and slow answers, evidence stays or falls, and each
        estimate that a guardrail reads beside it only moves towards no breach: looking there can change nothing. Nor
        can it where no evidence is near a threshold, whatever else there is to read.
        """
        limits, told = self.policy.guardrails, np.flatnonzero(self.rows.wins | self.rows.losses)
        assert self._by_class is not None
        judged, (positives, negatives) = self._since_promotion or self._overall, self._by_class
        # Without a margin the rules read this evidence, with one the evidence of a fall beyond it.
        highest = np.full(len(told), -np.inf) if limits.accuracy_drop else judged.worse_at(told + 1)
        if self.rollout.current.until_decided:
            highest = np.maximum(highest, self._overall.better_at(told + 1))
        for part, margin, kind in (
            (judged, limits.accuracy_drop, "accuracy"),
            (positives, limits.tpr_drop, "tpr"),
            (negatives, limits.fpr_rise, "fpr"),
        ):
            highest = np.maximum(highest, _beyond_margin(part, told + 1, margin, kind))
        served = np.flatnonzero(self.rows.failed)
        failed = self._failed[served + 1]
        served = served[failure_log_evidence(served + 1 - failed, failed, limits.error_rate) >= FLOOR]
        if self._answered or self._weight:
            served = np.concatenate([served, np.flatnonzero(self.rows.slow)])
        return np.unique(np.concatenate([told[highest >= FLOOR] + self.late, served])).tolist()

    def _boundaries(self, t: int) -> list[int]:
        """The next requests at which a step's own conditions can become true."""
        step, entered = self.rollout.current, self._entered
        marks = [entered + math.ceil(seconds / self.traffic.seconds - 1e-9) for seconds in self._times()]
        marks += [entered + step.rows - 1] if step.rows else []
        marks += [entered + step.max_rows - 1 + self.late] if step.max_rows else []
        if step.labels:
            marks.append(entered + step.labels - 1 + self.late)
        if step.pairs:
            pairs = self._overall.pairs
            enough = int(np.searchsorted(pairs, pairs[min(entered, self.rows.count)] + step.pairs))
            marks.append(enough - 1 + self.late)
        marks += [self.policy.guardrails.minimum_rows - 1, self.late]
        # One that falls between two requests is seen at the later; rounding may put it one off.
        return [mark + more for mark in marks for more in (0, 1) if mark + more > t]

    def _times(self) -> list[float]:
        step = self.rollout.current
        return [seconds for seconds in (step.seconds, step.max_seconds) if seconds]

    def _look(self, t: int) -> bool:
        self.looks += 1
        self._serve(t)
        following = self.rollouts.advance(self.rollout, self.facts(t), self.policy)
        changed = following.revision != self.rollout.revision
        if changed:
            self._follow(following, t)
        return changed

    def _follow(self, following: Rollout, t: int) -> None:
        if following.step != self.rollout.step:
            self._entered = t
        promoted = following.promoted_at is not None and self.rollout.promoted_at is None
        self.rollout = following
        if promoted:
            self._promoted = t
            self._prepare()

    @property
    def _weight(self) -> float:
        """The share of the requests that the candidate answers now."""
        step = self.rollout.current
        return {StepKind.SHADOW: 0.0, StepKind.FULL: 1.0, StepKind.BAKE: 1.0}.get(step.kind, step.weight)

    def _serve(self, t: int) -> None:
        """Count what the candidate answered since the last look; its share of the traffic was the same all along."""
        weight = self._weight
        if weight:
            mine = self.rows.chance[self._counted : t + 1] < weight
            self.exposed += int(mine.sum())
            failed, slow = self.rows.failed[self._counted : t + 1], self.rows.slow[self._counted : t + 1]
            self._answered += int((mine & ~failed).sum())
            self._slow += int((mine & slow).sum())
        self._counted = t + 1

    def facts(self, t: int) -> Facts:
        """What `controllers.views.rollout_facts` would read from the log after request `t`."""
        labelled = max(0, t + 1 - self.late)
        pairs = self._overall.pairs
        assert self._by_class is not None
        positives, negatives = (self.compare(part, labelled) for part in self._by_class)
        failures = int(self._failed[t + 1])
        return Facts(
            now=self.time(t),
            rows_in_step=t + 1 - self._entered - int(self._failed[t + 1] - self._failed[self._entered]),
            pairs_in_step=int(pairs[labelled] - pairs[self._entered]) if labelled > self._entered else 0,
            overall=self.compare(self._overall, labelled),
            promoted=None if self._since_promotion is None else self.compare(self._since_promotion, labelled),
            positives=positives if positives.pairs else None,
            negatives=negatives if negatives.pairs else None,
            candidate_rows=t + 1 - failures,
            candidate_failures=failures,
            candidate_p95_ms=None,
            candidate_answered=self._answered,
            candidate_slow=self._slow,
            labels_in_step=max(0, labelled - self._entered),
            due_in_step=max(0, labelled - self._entered),
        )

    @staticmethod
    def compare(counts: Counts, labelled: int) -> Comparison:
        """What `rollouts.evidence.compare` says of the first labelled rows."""
        pairs, wins, losses, both, better, worse = counts.upto(labelled)
        return Comparison(
            pairs=pairs,
            wins=wins,
            losses=losses,
            log_better=better,
            log_worse=worse,
            candidate=(both + wins) / pairs if pairs else 0.0,
            baseline=(both + losses) / pairs if pairs else 0.0,
        )

    def _outcome(self, t: int) -> Outcome:
        from homeostat.records import Decision  # noqa: PLC0415

        with self.store.read() as transaction:
            last = transaction.list(Decision, model=MODEL, newest_first=True, limit=1)
        final = not self.rollout.state.is_under_way
        return Outcome(
            state=self.rollout.state.value,
            rule=last[0].rule if final else "",
            ended=t if final else None,
            labelled=max(0, t + 1 - self.late),
            promoted=self._promoted,
            exposed=self.exposed,
            looks=self.looks,
        )
