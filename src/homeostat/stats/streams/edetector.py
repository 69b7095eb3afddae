"""The default detector: a mixture of e-detectors with a guaranteed average run length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self, get_args

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.losses import checked_losses, one_stream
from homeostat.stats.streams.alarms import Recent, bounded_alarm
from homeostat.stats.streams.detector import Alarm, Direction, Floats, Positions
from homeostat.stats.streams.reference import Baseline, checked_baseline, reference_baseline

RUN_LENGTH = 50_000.0
SPANS = (1000.0, 250.0, 75.0, 20.0)
# No bet stakes more than this share of what could be lost, so that no single loss ruins it.
HIGHEST_STAKE = 0.9
# Alarms are rare on most streams, so a stretch is read whole; after an alarm it starts small and doubles.
SMALLEST_STRETCH, LARGEST_STRETCH = 128, 8192
# The level at which false alarms are simulated; higher ones would only take longer to be reached.
LOWERED = 1000.0


@dataclass(frozen=True, slots=True)
class RunLength:
    """How many losses lie between false alarms on average.

    Attributes:
        guaranteed: at least so many, whatever the losses in [0, 1] look like.
        estimate: so many for independent 0/1 losses exactly at the baseline, by simulation.
        interval: of the simulated value, at 95 %.
        longest: no more than so many for any losses whose mean given the past is exactly the baseline.
        simulated_alarms: what the estimate comes from.
    """

    guaranteed: float
    estimate: float
    interval: tuple[float, float]
    longest: float
    simulated_alarms: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Bets:
    """Component k multiplies its wealth by 1 + slopes[k] (loss − centres[k]); `log_weights` of the average."""

    slopes: Floats
    centres: Floats
    log_weights: Floats

    def logs(self, losses: Floats) -> Floats:
        """Log factors, one row a component."""
        return np.log1p(self.slopes[:, None] * (losses[None, :] - self.centres[:, None]))


class EDetector:
    """Find a mean loss that has risen above (or fallen below) its baseline, with a guaranteed run length.

    Each component follows Mₜ = (Mₜ₋₁ + 1) · Lₜ with the bet Lₜ = 1 + λ (lossₜ − μ) (Shiryaev 1963, Roberts 1966); the
    detector is their weighted average, and alarms at M ≥ A. As long as the mean of every loss given the past is at
    most μ, the average run length is at least A = `run_length` (Shin, Ramdas and Rinaldo 2023), whatever else the
    losses are. It is also hardly more: for means of exactly μ, M less the number of losses is a martingale, so the
    average run length is the mean of M at the alarm, that is A times what the last loss adds. `expected_run_length`
    tells it for 0/1 losses.

    The bets: a change that takes about D losses to be found multiplies the wealth by A within D losses. For losses of
    variance v the bet that grows fastest has λ = √(2 log A / (D v)); there is one for each D in `spans`, weighted
    alike. They decide how soon a change is found, never whether the run length holds.

    Args:
        baseline: the mean loss that is still in order, in [0, 1); below .001 it counts as .001.
        lowest: for `direction` "better" and "both": a mean loss below it is an improvement; the baseline itself
            unless given.
        run_length: at least so many losses between false alarms on average, above 1.
        direction: which changes count: "worse" (a higher loss), "better", or "both" at half the weight each.
        spans: numbers of losses within which changes should be found, small for large changes.
        variance: of a single loss; that of 0/1 losses, μ (1 − μ), unless given.

    Raises:
        InvalidInput: an argument outside its range.

    >>> rng = np.random.default_rng(0)
    >>> detector = EDetector(0.2)
    >>> detector.update(rng.random(5000) < 0.2)
    array([], dtype=int64)
    >>> detector.update(rng.random(1000) < 0.4)[:1]
    array([5103])
    >>> print(detector.alarms[0].sentence)
    The mean loss has risen from 0.2 to 0.328 since loss 4,915, 189 losses ago (95 % interval 0.197 to 0.48); while \
nothing changes, an alarm comes at most once in 50,000 losses on average.
    """

    def __init__(
        self,
        baseline: float,
        *,
        lowest: float | None = None,
        run_length: float = RUN_LENGTH,
        direction: Direction = "worse",
        spans: Sequence[float] = SPANS,
        variance: float | None = None,
    ) -> None:
        self.baseline = checked_baseline(baseline)
        self.lowest = self.baseline if lowest is None else checked_baseline(lowest, name="lowest mean")
        if self.lowest > self.baseline:
            raise InvalidInput(f"The lowest mean loss in order, {lowest}, lies above the baseline, {baseline}.")
        if not (run_length > 1 and math.isfinite(run_length)):
            raise InvalidInput(f"An average run length must be a number above 1; got {run_length}.")
        if direction not in get_args(Direction):
            raise InvalidInput(f"A direction is one of {', '.join(get_args(Direction))}; got {direction!r}.")
        if not len(spans) or not all(span > 0 and math.isfinite(span) for span in spans):
            raise InvalidInput(f"Spans must be numbers of losses above 0; got {tuple(spans)}.")
        if variance is not None and not 0 < variance <= 1:
            raise InvalidInput(f"The variance of losses must lie in (0, 1]; got {variance}.")
        self.direction: Direction = direction
        self.reference: Baseline | None = None
        self._run_length = float(run_length)
        sides = {"worse": (1,), "better": (-1,), "both": (1, -1)}[direction]
        self._bets = _bets(self.baseline, self.lowest, sides, tuple(spans), self._run_length, variance)
        self.reset()

    @classmethod
    def fit(
        cls,
        reference_losses: npt.ArrayLike,
        *,
        confidence: float = 0.9,
        run_length: float = RUN_LENGTH,
        direction: Direction = "worse",
        spans: Sequence[float] = SPANS,
    ) -> Self:
        """A detector whose baseline comes from reference losses and allows for their being a sample.

        The baseline is the upper confidence bound of their mean (the lower one for improvements), so the run length
        is guaranteed for at least `confidence` of all references. With few rows the bound lies high and small changes
        stay unseen. Spread over all references the rate of false alarms was below 1/run_length from 300 rows on.

        Args:
            reference_losses: independent losses within [0, 1] from a time when all was in order, not the rows that the
                model was fitted on.
            confidence: of the bound, in [.5, 1).
            run_length: as for the constructor.
            direction: as for the constructor.
            spans: as for the constructor.

        Raises:
            InvalidInput: no losses, losses that are no numbers in [0, 1], or a bound of 1, above which nothing lies.

        >>> reference = np.repeat([0.0, 1.0], [1600, 400])
        >>> round(EDetector.fit(reference).baseline, 4)
        0.2119
        """
        reference = reference_baseline(reference_losses, confidence=confidence)
        if direction != "better" and reference.high >= 1:
            raise InvalidInput("The reference losses can't be told from 1, and nothing is worse; take other rows.")
        if direction == "better" and reference.low <= 0:
            raise InvalidInput("The reference losses can't be told from 0, and nothing is better; take other rows.")
        variance = None if reference.binary or reference.variance == 0 else reference.variance
        highest = reference.low if direction == "better" else reference.high
        lowest = reference.high if direction == "worse" else reference.low
        detector = cls(
            highest, lowest=lowest, run_length=run_length, direction=direction, spans=spans, variance=variance
        )
        detector.reference = reference
        return detector

    @property
    def name(self) -> str:
        """The detector's name."""
        return "e-detector"

    @property
    def run_length(self) -> float:
        """At least so many losses lie between alarms on average while the mean loss stays in order."""
        return self._run_length

    @property
    def rows(self) -> int:
        """How many losses were read since the construction or the last `reset`."""
        return self._rows

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Every alarm since the construction or the last `reset`, in order."""
        return tuple(self._alarms)

    @property
    def log_statistic(self) -> float:
        """Log M after the losses since the last alarm; minus infinity before the first."""
        return float(np.logaddexp.reduce(self._logs + self._bets.log_weights))

    def reset(self) -> None:
        """Forget the stream: rows, alarms and evidence. The baseline stays."""
        self._rows = 0
        self._alarms: list[Alarm] = []
        self._recent = Recent()
        self._logs = np.full(len(self._bets.slopes), -np.inf)

    def update(self, values: npt.ArrayLike) -> Positions:
        """Read further losses; the positions in the whole stream, from 0, of those that raised an alarm.

        After an alarm the evidence starts anew with the next loss; the baseline stays what it was.

        Raises:
            InvalidInput: losses outside 0 to 1, missing, or not one stream; nothing is read then.
        """
        losses = one_stream(checked_losses(values))
        threshold = math.log(self._run_length)
        positions: list[int] = []
        start, stretch = 0, LARGEST_STRETCH
        while start < len(losses):
            part = losses[start : start + stretch]
            path = self._path(part)
            statistic = np.logaddexp.reduce(path + self._bets.log_weights[:, None], axis=0)
            hits = np.flatnonzero(statistic >= threshold)
            read = int(hits[0]) + 1 if len(hits) else len(part)
            self._recent.add(part[:read])
            self._rows += read
            self._logs = path[:, read - 1].copy()
            if len(hits):
                positions.append(self._rows - 1)
                self._alarms.append(self._alarm(float(statistic[read - 1]), threshold))
                self._recent = Recent()
                self._logs[:] = -np.inf
            stretch = SMALLEST_STRETCH if len(hits) else min(2 * stretch, LARGEST_STRETCH)
            start += read
        return np.array(positions, dtype=np.int64)

    def expected_run_length(self, *, alarms: int = 1000, rng: int = 0) -> RunLength:
        """The true average run length for independent 0/1 losses at the baseline, beside the guaranteed one.

        It is A · E[M/A at the alarm]. How far the last loss carries M past A hardly depends on A, so it is simulated
        at 1,000, where alarms are frequent. Where `lowest` lies below the baseline the truth is longer.

        Args:
            alarms: how many to simulate, at least 10.
            rng: the seed.

        >>> length = EDetector(0.2).expected_run_length(alarms=300)
        >>> bool(55_000 < length.estimate < 70_000 < length.longest)
        True
        """
        if alarms < 10:
            raise InvalidInput(f"A run length needs at least 10 simulated alarms; got {alarms}.")
        bets = self._bets
        key = tuple(tuple(part.tolist()) for part in (bets.slopes, bets.centres, bets.log_weights))
        mean, error = _overshoot(key, self.baseline, self._run_length, alarms, rng)
        highest = float(np.exp(np.maximum(bets.logs(np.array([0.0])), bets.logs(np.array([1.0])))).max())
        length = self._run_length
        estimate, reach = length * mean, 1.96 * length * error
        sentence = (
            f"While nothing changes, alarms lie at least {length:,.0f} losses apart on average; for independent 0/1 "
            f"losses of mean {self.baseline:.3g} about {estimate:,.0f}."
        )
        longest = (length + 1) * highest
        return RunLength(length, estimate, (estimate - reach, estimate + reach), longest, alarms, sentence)

    def _path(self, losses: Floats) -> Floats:
        """Log M of every component after each loss."""
        logs = self._bets.logs(losses)
        wealth = np.cumsum(logs, axis=1)
        # M_t = W_t (M_0 + Σ 1/W_{j−1}): what was there before, and one unit staked before every loss.
        terms = logs - wealth
        terms[:, 0] = np.logaddexp(terms[:, 0], self._logs)
        return np.asarray(wealth + np.logaddexp.accumulate(terms, axis=1))

    def _alarm(self, statistic: float, threshold: float) -> Alarm:
        sides = [self._bets.slopes > 0, self._bets.slopes < 0]
        up, down = (np.logaddexp.reduce((self._logs + self._bets.log_weights)[side], initial=-np.inf) for side in sides)
        worse = bool(up >= down)
        return bounded_alarm(
            self.name,
            self._recent,
            worse=worse,
            baseline=self.baseline if worse else self.lowest,
            position=self._rows - 1,
            statistic=statistic,
            threshold=threshold,
            log_e=statistic,
            run_length=self._run_length,
        )


def _bets(
    baseline: float,
    lowest: float,
    sides: tuple[int, ...],
    spans: tuple[float, ...],
    run_length: float,
    variance: float | None,
) -> Bets:
    slopes: list[float] = []
    centres: list[float] = []
    weights: list[float] = []
    for side in sides:
        centre = baseline if side > 0 else lowest
        room = centre if side > 0 else 1 - centre
        spread = centre * (1 - centre) if variance is None else min(variance, centre * (1 - centre))
        fastest = np.sqrt(2 * math.log(run_length) / (np.array(spans) * spread))
        distinct, counts = np.unique(np.minimum(fastest, HIGHEST_STAKE / room), return_counts=True)
        slopes += (side * distinct).tolist()
        centres += [centre] * len(distinct)
        weights += (counts / (len(spans) * len(sides))).tolist()
    return Bets(np.array(slopes), np.array(centres), np.log(weights))


@lru_cache(maxsize=256)
def _overshoot(
    key: tuple[tuple[float, ...], ...], baseline: float, run_length: float, alarms: int, seed: int
) -> tuple[float, float]:
    """The mean of M/A at false alarms of 0/1 losses, and its standard error."""
    bets = Bets(*(np.array(part) for part in key))
    lowered = min(run_length, LOWERED)
    rng = np.random.default_rng(seed)
    # One row a stream: all advance together, and start anew on their own.
    streams = alarms
    up, down = (np.exp(bets.logs(np.array([loss])))[:, 0] for loss in (1.0, 0.0))
    weights = np.exp(bets.log_weights)
    state = np.zeros((streams, len(up)))
    factors: list[Floats] = []
    found = 0
    while found < 2 * alarms:
        lost = rng.random(streams) < baseline
        state = (state + 1) * np.where(lost[:, None], up, down)
        statistic = state @ weights
        hit = statistic >= lowered
        if hit.any():
            factors.append(statistic[hit] / lowered)
            found += int(hit.sum())
            state[hit] = 0.0
    # Early alarms of streams that all began at once are the quick ones; the first half is left out.
    kept = np.concatenate(factors)[alarms:][:alarms]
    return float(kept.mean()), float(kept.std(ddof=1) / math.sqrt(len(kept)))
