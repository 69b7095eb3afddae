"""From a detector's statistic to what can be said about the change."""

from __future__ import annotations

import math

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.streams.detector import Alarm, Floats

MEMORY = 10_000
CONFIDENCE = 0.95


class Recent:
    """The latest losses since the start or the last alarm; older ones are forgotten, but counted."""

    def __init__(self) -> None:
        self.rows = 0
        self._parts: list[Floats] = []
        self._kept = 0

    def add(self, losses: Floats) -> None:
        """Remember further losses."""
        self.rows += len(losses)
        self._parts.append(losses[-MEMORY:].copy())
        self._kept += len(self._parts[-1])
        if self._kept >= 2 * MEMORY:
            self._parts = [self.losses]
            self._kept = MEMORY

    @property
    def losses(self) -> Floats:
        """The latest losses, at most `MEMORY`."""
        return np.concatenate(self._parts)[-MEMORY:]


def last_change(losses: Floats, baseline: float, *, worse: bool) -> int:
    """The most likely index from which losses lie on the wrong side of a known baseline, to the end.

    It maximises over starts the likelihood ratio of 0/1 losses (also used for others) of the mean since the start
    against the baseline (Lorden 1971).

    >>> last_change(np.repeat([0.0, 1.0], [40, 8]), 0.1, worse=True)
    40
    """
    from scipy.special import xlogy

    if not 0 <= baseline <= 1 or not len(losses) or not np.isfinite(losses).all():
        raise InvalidInput(f"A change needs finite losses, and a baseline between 0 and 1; got {baseline}.")
    # At a baseline of 0 or 1 every start that shows otherwise would be infinitely likely.
    level = min(max(baseline, 1e-15), 1 - 1e-15)
    counts = np.arange(1, len(losses) + 1)
    means = np.clip(np.cumsum(losses[::-1]) / counts, 0.0, 1.0)
    kept = xlogy(means, means) + xlogy(1 - means, 1 - means)
    gain = counts * (kept - means * np.log(level) - (1 - means) * np.log1p(-level))
    beyond = means > baseline if worse else means < baseline
    return len(losses) - 1 - int(np.argmax(np.where(beyond, gain, -1.0)))


def chosen_window_interval(mean: float, rows: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Limits for the mean of the latest rows, where their number was chosen by looking at them.

    The Chernoff bound for independent values in [0, 1] (Hoeffding 1963): rows · kl(mean, true mean) exceeds c on
    either side with probability at most exp(−c). With c = log(2 · rows / α) this holds at once for every window of up
    to so many rows that ends at the same place.

    >>> low, high = chosen_window_interval(0.3, 200)
    >>> round(low, 3), round(high, 3)
    (0.177, 0.446)
    """
    most = math.log(2 * rows / (1 - confidence)) / rows

    def limit(inside: float, outside: float) -> float:
        for _ in range(50):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if _divergence(mean, middle) <= most else (inside, middle)
        return inside

    return limit(mean, 0.0), limit(mean, 1.0)


def _divergence(mean: float, other: float) -> float:
    """Kullback–Leibler divergence between 0/1 variables."""
    if not 0 < other < 1:
        return 0.0 if mean == other else math.inf
    hit = mean * math.log(mean / other) if mean > 0 else 0.0
    missed = (1 - mean) * math.log((1 - mean) / (1 - other)) if mean < 1 else 0.0
    return hit + missed


def bounded_alarm(
    name: str,
    recent: Recent,
    *,
    worse: bool,
    baseline: float,
    position: int,
    statistic: float,
    threshold: float,
    log_e: float,
    run_length: float,
) -> Alarm:
    """The alarm of a detector of losses in [0, 1], with where the change lies and how large it is."""
    losses = recent.losses
    start = last_change(losses, baseline, worse=worse)
    changed = losses[start:]
    estimate = float(changed.mean())
    interval = chosen_window_interval(estimate, len(changed))
    since = position - len(changed) + 1
    sentence = (
        f"The mean loss has {'risen' if worse else 'fallen'} from {baseline:.3g} to {estimate:.3g} since loss "
        f"{since:,}, {len(changed):,} loss{'es' * (len(changed) > 1)} ago ({100 * CONFIDENCE:.0f} % interval "
        f"{interval[0]:.3g} to {interval[1]:.3g}); while nothing changes, an alarm comes at most once in "
        f"{run_length:,.0f} losses on average."
    )
    return Alarm(
        detector=name,
        position=position,
        direction="worse" if worse else "better",
        since=since,
        rows=recent.rows,
        baseline=baseline,
        estimate=estimate,
        interval=interval,
        confidence=CONFIDENCE,
        statistic=statistic,
        threshold=threshold,
        log_e=log_e,
        run_length=run_length,
        sentence=sentence,
    )
