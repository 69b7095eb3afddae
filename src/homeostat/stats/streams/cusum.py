"""Page's CUSUM for a change to a known mean loss, with its exact average run length."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.sequential.losses import checked_losses, one_stream
from homeostat.stats.streams.alarms import Recent, bounded_alarm
from homeostat.stats.streams.detector import Alarm, Positions
from homeostat.stats.streams.edetector import LARGEST_STRETCH, RUN_LENGTH, SMALLEST_STRETCH
from homeostat.stats.streams.reference import Baseline, checked_baseline, reference_baseline

STATES = 1000
# Steps of 0/1 losses are rounded to multiples of a common unit, the larger of them at most about so many units.
FINEST = 300


class Cusum:
    """Find a change of the mean loss to a value that is known beforehand; nothing finds it sooner on average.

    W ← max(W, 0) + log(1 + λ (loss − μ)), λ = (μ₁ − μ) / (μ (1 − μ)): for 0/1 losses Page's CUSUM (1954) of their log
    likelihood ratio, whose worst mean delay is the shortest possible at its run length (Moustakides 1986). It alarms
    at W ≥ h, where h is the lowest level at which the average run length of independent 0/1 losses, computed exactly
    (`cusum_run_length`), is at least what was asked for. For any losses in [0, 1] whose mean given the past is in
    order the run length is at least exp(h), since exp(W) never exceeds the e-detector of the same bet. A change to a
    mean less far away than μ₁ is found late or never: use `EDetector` unless the size is known.

    Args:
        baseline: the mean loss that is still in order, in [0, 1); below .001 it counts as .001.
        changed: the mean loss to be found, in (0, 1); below the baseline it is an improvement.
        expected_run_length: least average number of losses between false alarms of independent 0/1 losses, above 1;
            the attribute of this name holds what it is in truth, since sums of 0/1 losses move in jumps.

    Raises:
        InvalidInput: an argument outside its range.

    >>> detector = Cusum(0.2, 0.4)
    >>> round(detector.threshold, 2), round(detector.run_length)
    (8.04, 3089)
    """

    def __init__(self, baseline: float, changed: float, *, expected_run_length: float = RUN_LENGTH) -> None:
        self.baseline = checked_baseline(baseline)
        if not 0 < changed < 1 or changed == self.baseline:
            raise InvalidInput(f"The changed mean loss must lie in (0, 1) and differ from the baseline; got {changed}.")
        if not (expected_run_length > 1 and math.isfinite(expected_run_length)):
            raise InvalidInput(f"An average run length must be a number above 1; got {expected_run_length}.")
        self.changed = float(changed)
        self.reference: Baseline | None = None
        self._slope = (self.changed - self.baseline) / (self.baseline * (1 - self.baseline))
        self.threshold, self.expected_run_length = _calibrated(self.baseline, self.changed, float(expected_run_length))
        self.reset()

    @classmethod
    def fit(
        cls,
        reference_losses: npt.ArrayLike,
        changed: float,
        *,
        confidence: float = 0.9,
        expected_run_length: float = RUN_LENGTH,
    ) -> Self:
        """A detector whose baseline is the confidence bound, on the side of the change, of the mean reference loss.

        Args:
            reference_losses: independent losses within [0, 1] from a time when all was in order.
            changed: the mean loss to be found; it must lie beyond the bound.
            confidence: of the bound, in [.5, 1).
            expected_run_length: as for the constructor, were the true mean at the bound.

        Raises:
            InvalidInput: no losses, losses that are no numbers in [0, 1], or a changed mean that the reference can't
                be told from.
        """
        reference = reference_baseline(reference_losses, confidence=confidence)
        baseline = reference.high if changed > reference.estimate else reference.low
        if reference.low <= changed <= reference.high:
            raise InvalidInput(
                f"A mean loss of {changed} can't be told from that of the reference, which lies between "
                f"{reference.low:.3g} and {reference.high:.3g}; take more reference rows or a larger change."
            )
        detector = cls(baseline, changed, expected_run_length=expected_run_length)
        detector.reference = reference
        return detector

    @property
    def name(self) -> str:
        """The detector's name."""
        return f"CUSUM for {self.changed:g}"

    @property
    def run_length(self) -> float:
        """At least so many losses lie between alarms on average, whatever the losses in [0, 1] look like."""
        return math.exp(self.threshold)

    @property
    def direction(self) -> Literal["worse", "better"]:
        """Whether it looks for a higher or a lower loss."""
        return "worse" if self.changed > self.baseline else "better"

    @property
    def rows(self) -> int:
        """How many losses were read since the construction or the last `reset`."""
        return self._rows

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Every alarm since the construction or the last `reset`, in order."""
        return tuple(self._alarms)

    def reset(self) -> None:
        """Forget the stream: rows, alarms and evidence. The baseline stays."""
        self._rows = 0
        self._alarms: list[Alarm] = []
        self._recent = Recent()
        self._sum = 0.0

    def update(self, values: npt.ArrayLike) -> Positions:
        """Read further losses; the positions in the whole stream, from 0, of those that raised an alarm.

        Raises:
            InvalidInput: losses outside 0 to 1, missing, or not one stream; nothing is read then.
        """
        losses = one_stream(checked_losses(values))
        positions: list[int] = []
        start, stretch = 0, LARGEST_STRETCH
        while start < len(losses):
            part = losses[start : start + stretch]
            steps = np.log1p(self._slope * (part - self.baseline))
            # max(W, 0) + step, without a loop: the walk less its lowest point before each loss.
            walk = self._sum + np.cumsum(steps)
            path = walk - np.minimum(np.minimum.accumulate(np.concatenate([[self._sum], walk[:-1]])), 0.0)
            hits = np.flatnonzero(path >= self.threshold)
            read = int(hits[0]) + 1 if len(hits) else len(part)
            self._recent.add(part[:read])
            self._rows += read
            self._sum = float(path[read - 1])
            if len(hits):
                positions.append(self._rows - 1)
                self._alarms.append(self._alarm())
                self._recent = Recent()
                self._sum = 0.0
            stretch = SMALLEST_STRETCH if len(hits) else min(2 * stretch, LARGEST_STRETCH)
            start += read
        return np.array(positions, dtype=np.int64)

    def _alarm(self) -> Alarm:
        return bounded_alarm(
            self.name,
            self._recent,
            worse=self.direction == "worse",
            baseline=self.baseline,
            position=self._rows - 1,
            statistic=self._sum,
            threshold=self.threshold,
            log_e=self._sum,
            run_length=self.run_length,
        )


def cusum_run_length(
    steps: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float, *, states: int = STATES
) -> float:
    """The average run length of a CUSUM, W ← max(W, 0) + step until W ≥ h, for independent steps of a known law.

    The linear equations of Brook and Evans (1972) on `states` levels between 0 and h; between two levels the run
    length is interpolated. Exact where every step is a multiple of h/states.

    Args:
        steps: the values that a step can take; a continuous law is given by a fine grid of values.
        probabilities: of each of them, summing to 1.
        threshold: h, above 0.
        states: levels of the chain, at least 10.

    Returns:
        The mean number of steps until the alarm, from W = 0; infinite where no step leads upwards.

    Raises:
        InvalidInput: steps and probabilities that do not fit, or a threshold that is not above 0.

    >>> round(cusum_run_length([1.0, -1.0], [0.5, 0.5], 3.0, states=30), 6)
    12.0
    """
    from scipy.sparse import csc_matrix, identity
    from scipy.sparse.linalg import spsolve

    values, shares = np.asarray(steps, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 1 or values.shape != shares.shape or not values.size or not np.isfinite(values).all():
        raise InvalidInput("Steps and probabilities must be two lists of finite numbers of one length, not empty.")
    if not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-9:
        raise InvalidInput("The probabilities of the steps must be at least 0 and sum to 1.")
    if not (threshold > 0 and math.isfinite(threshold)) or states < 10:
        raise InvalidInput(f"A CUSUM needs a threshold above 0 and at least 10 states; got {threshold} and {states}.")
    if not (values[shares > 0] > 0).any():
        return math.inf
    levels = np.arange(states) * (threshold / states)
    rows, columns, entries = [], [], []
    for value, share in zip(values[shares > 0], shares[shares > 0], strict=True):
        ends = np.maximum(levels + value, 0.0) * (states / threshold)
        # Sums that differ from a level by rounding alone lie on it.
        ends = np.where(np.abs(ends - np.rint(ends)) < 1e-9 * states, np.rint(ends), ends)
        (stays,) = np.nonzero(ends < states)
        # Beyond the last level the line through the last two goes on, so that no step alarms before it has reached h.
        below = np.minimum(np.floor(ends[stays]).astype(np.int64), states - 2)
        upper = ends[stays] - below
        for end, part in ((below, 1 - upper), (below + 1, upper)):
            rows.append(stays)
            columns.append(end)
            entries.append(share * part)
    index = (np.concatenate(rows), np.concatenate(columns))
    chain = csc_matrix((np.concatenate(entries), index), shape=(states, states))
    return float(spsolve(identity(states, format="csc") - chain, np.ones(states))[0])


def _lattice(up: float, down: float) -> tuple[float, int, int]:
    """A unit of which both steps are whole multiples, as nearly as a denominator of some hundreds allows."""
    total = up + down
    parts = np.arange(2, max(FINEST, math.ceil(4 * total / min(up, down))) + 1)
    ups = np.clip(np.rint(up / total * parts), 1, parts - 1)
    best = int(np.argmin(np.abs(up / total - ups / parts)))
    return total / float(parts[best]), int(ups[best]), int(parts[best] - ups[best])


@lru_cache(maxsize=256)
def _calibrated(baseline: float, changed: float, run_length: float) -> tuple[float, float]:
    """The lowest threshold at which 0/1 losses at the baseline have the run length at least, and what it then is."""
    lost, kept = math.log(changed / baseline), math.log((1 - changed) / (1 - baseline))
    unit, up, down = _lattice(max(lost, kept), -min(lost, kept))
    steps, shares = ([up, -down] if lost > 0 else [-down, up]), [baseline, 1 - baseline]

    def length(level: int) -> float:
        return cusum_run_length(steps, shares, float(level), states=level)

    # exp(h) is a lower bound of the run length, so the threshold lies below its logarithm; 10 states are the fewest.
    low, high = 9, max(10, math.ceil(math.log(run_length) / unit) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if length(middle) < run_length else (low, middle)
    return (high - 0.5) * unit, length(high)
