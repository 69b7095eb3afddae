"""Anomalies of how often: rates that jump, volumes that spike, and bursts of positives within a window."""

from __future__ import annotations

import math

import numpy as np

from homeostat.errors import InvalidInput
from homeostat.stats.predictions.results import (
    DEFAULT,
    Array,
    Floats,
    PredictionAnomaly,
    PredictionThresholds,
    Preset,
    check_preset,
    judged,
    missing,
    numbers,
    share_change,
)

LEAST_HISTORY = 10
# Beyond it floats skip whole numbers.
MOST_COUNTS = 2**53
TABLE = 2_000_000


def positive_rate(
    reference_count: int,
    reference_time: float,
    count: int,
    time: float,
    *,
    dispersion: float = 1.0,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
) -> PredictionAnomaly:
    """Has the rate of positive predictions per unit of time jumped, as tenfold?

    Given the sum of both counts, the current one is binomial (Przyborowski and Wilenski 1940); the interval of the
    ratio follows from Clopper's and Pearson's. Classic: ten times the rate, or a tenth. Assumes Poisson counts; where
    they come in bursts, `dispersion` (variance over mean, at least 1) divides the evidence.

    Args:
        reference_count: positives in the reference.
        reference_time: how long the reference lasted, above 0, in any unit.
        count: positives in the window.
        time: how long the window lasted, in the same unit.
        dispersion: variance of counts over their mean.
        preset: "calibrated" or "classic".
        thresholds: what is too much.

    Raises:
        InvalidInput: for negative counts, times that are not above 0, or a dispersion below 1.

    >>> result = positive_rate(240, 24.0, 100, 1.0)
    >>> result.verdict, result.estimate, [round(x, 1) for x in result.interval]
    ('harmed', 10.0, [7.8, 12.7])
    """
    from scipy.special import betainc, betaincinv

    check_preset(preset)
    if not (0 <= reference_count <= MOST_COUNTS and 0 <= count <= MOST_COUNTS):
        found = f"got {reference_count} and {count}"
        raise InvalidInput(f"Counts can't be negative, missing or above {MOST_COUNTS:g}; {found}.")
    if not (0 < reference_time < math.inf and 0 < time < math.inf):
        raise InvalidInput(f"Both must have lasted for some time; got {reference_time} and {time}.")
    if not 1 <= dispersion < math.inf:
        raise InvalidInput(f"The dispersion must be at least 1; got {dispersion}.")
    if not count + reference_count:
        words = "No positive was predicted, neither now nor in the reference, so no rates can be compared."
        return missing("positive_rate", 0, 0, words, nothing=False)
    odds = reference_time / time
    expected = time / (time + reference_time)
    c, r = count / dispersion, reference_count / dispersion
    # The regularised beta function is the binomial tail, of counts that are not whole as well.
    above = float(betainc(c, r + 1, expected)) if c > 0 else 1.0
    below = float(betainc(r, c + 1, 1 - expected)) if r > 0 else 1.0
    p = min(1.0, 2 * min(above, below))
    low = float(betaincinv(c, r + 1, 0.025)) if c > 0 else 0.0
    high = float(betaincinv(c + 1, r, 0.975)) if r > 0 else 1.0
    ratio = count / reference_count * odds if reference_count else math.inf
    interval = (low / (1 - low) * odds, high / (1 - high) * odds if high < 1 else math.inf)
    # Half a count each keeps the effect finite.
    size = abs(math.log((count + 0.5) / (reference_count + 0.5) * odds))
    far = ratio >= thresholds.classic_rate_factor or ratio <= 1 / thresholds.classic_rate_factor
    return judged(
        "positive_rate",
        preset,
        estimate=ratio,
        interval=interval,
        statistic=float(count),
        p=p,
        effect=size / math.log(thresholds.rate_factor),
        classic=(far, "critical"),
        n=count,
        n_reference=reference_count,
        sentence=(
            f"{count} positives in a time of {time:.4g} are {ratio:.4g} times the rate of the reference, "
            f"{reference_count} in {reference_time:.4g} (95% interval {interval[0]:.4g} to {interval[1]:.4g}, "
            f"p = {p:.3g})."
        ),
        thresholds=thresholds,
    )


def volume_spike(
    history: Array,
    counts: Array,
    *,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
) -> PredictionAnomaly:
    """Is some period of the window far busier than the periods of the history?

    Logarithms of the counts are centred at the history's median and scaled by its median absolute deviation, at least
    by what Poisson counts would show. The p-value is Student's t at the degrees of freedom that a median deviation is
    worth (.37 of them), times the number of periods looked at: so a quiet window alarms at most at the stated rate.
    Classic: ten times the history's median. Assumes that the history had no rhythm, or only periods of the same phase.

    Args:
        history: counts of at least ten earlier periods.
        counts: those of the window's periods, of the same length.
        preset: "calibrated" or "classic".
        thresholds: what is too much.

    Raises:
        InvalidInput: for counts that are negative or missing.

    >>> rng = np.random.default_rng(0)
    >>> result = volume_spike(rng.poisson(100, 72), np.append(rng.poisson(100, 23), 500))
    >>> result.verdict, round(result.estimate, 1)
    ('harmed', 4.9)
    """
    from scipy.special import stdtr

    check_preset(preset)
    old, new = _counts(history, "history"), _counts(counts, "counts")
    n, m = len(old), len(new)
    if n < LEAST_HISTORY or not m:
        words = f"There are {n} earlier periods and {m} in the window; it takes {LEAST_HISTORY} and 1 to tell a spike."
        return missing("volume_spike", m, n, words, nothing=not m)
    # Bursty volumes are skewed; their logarithms hardly are, and those of Poisson counts only towards quiet periods.
    before, after = np.log(old + 0.5), np.log(new + 0.5)
    centre = float(np.median(before))
    spread = max(math.exp(-centre / 2), 1.4826 * float(np.median(np.abs(before - centre))))
    # The median of the history is uncertain itself.
    z = (after - centre) / (spread * math.sqrt(1 + math.pi / (2 * n)))
    peak = int(z.argmax())
    df = max(1.0, 0.37 * (n - 1))
    p = min(1.0, m * float(stdtr(df, -z[peak])))
    usual = float(np.median(old))
    factor = math.exp(float(after[peak]) - centre)
    low, high = (math.exp(min(700.0, float(after[peak]) - centre + side * 1.96 * spread)) for side in (-1, 1))
    return judged(
        "volume_spike",
        preset,
        estimate=factor,
        interval=(low, high),
        statistic=float(z[peak]),
        p=p,
        effect=max(0.0, math.log(factor)) / math.log(thresholds.rate_factor),
        classic=(factor >= thresholds.classic_rate_factor, "high"),
        n=m,
        n_reference=n,
        sentence=(
            f"The busiest of {m} periods, number {peak + 1}, has {new[peak]:.0f} rows against a median of {usual:.4g} "
            f"over {n} earlier periods: {factor:.3g} times as many (95% range {low:.3g} to {high:.3g}, p = {p:.3g} for "
            "any of the periods)."
        ),
        thresholds=thresholds,
    )


def share_spike(
    positives: Array,
    totals: Array,
    *,
    draws: int = 1999,
    rng: int | np.random.Generator = 0,
    preset: Preset = "calibrated",
    thresholds: PredictionThresholds = DEFAULT,
) -> PredictionAnomaly:
    """Is there a stretch of time within the window in which the share of positives is far above the rest?

    Kulldorff's scan statistic (1997): the largest likelihood ratio over all stretches of up to half of the periods.
    Its p-value comes from `draws` random arrangements of the same positives, (k + 1) / (draws + 1), so it allows for
    having looked everywhere. The interval is Newcombe's at the level divided by the number of stretches. Classic: the
    stretch has four times the share of the rest, or 15 points more. Assumes independent rows.

    Args:
        positives: positive predictions by period, in the order of time.
        totals: rows by period.
        draws: random arrangements.
        rng: a seed or a generator.
        preset: "calibrated" or "classic".
        thresholds: what is too much.

    Raises:
        InvalidInput: for counts that do not fit each other, or fewer than 99 draws.

    >>> result = share_spike(np.array([5, 4, 6, 5, 40, 6, 5, 4]), np.full(8, 100))
    >>> result.verdict, round(result.estimate, 2), result.p
    ('harmed', 0.35, 0.0005)
    """
    check_preset(preset)
    done, rows = _counts(positives, "positives"), _counts(totals, "totals")
    if len(done) != len(rows) or (done > rows).any():
        raise InvalidInput("Every period needs its positives and its rows, and can't have more positives than rows.")
    if draws < 99:
        raise InvalidInput(f"At least 99 draws are needed for a p-value; got {draws}.")
    kept = rows > 0
    done, rows = done[kept], rows[kept]
    n, periods = int(rows.sum()), len(rows)
    if n < thresholds.min_rows or periods < 4:
        words = (
            f"{n} rows in {periods} periods are too few for a spike; it takes {thresholds.min_rows} rows and 4 periods."
        )
        return missing("share_spike", n, 0, words, nothing=not n)
    found, start, length = _scan(done[None], rows)
    generator = np.random.default_rng(rng)
    drawn = generator.multivariate_hypergeometric(
        rows.astype(np.int64), int(done.sum()), size=draws, method="marginals"
    )
    highest = _scan(drawn, rows)[0]
    # Rounding must not make an equal arrangement look smaller.
    p = (1 + int(np.count_nonzero(highest >= found[0] - 1e-9))) / (draws + 1)
    first, last = int(start[0]), int(start[0] + length[0])
    inside, size = int(done[first:last].sum()), int(rows[first:last].sum())
    outside, rest = int(done.sum()) - inside, n - size
    longest = max(1, periods // 2)
    stretches = sum(periods - width + 1 for width in range(1, longest + 1))
    change = share_change(outside, rest, inside, size, confidence=1 - 0.05 / stretches)
    now, usual = inside / size, outside / rest
    far = (usual > 0 and now >= thresholds.classic_share_factor * usual) or (
        now - usual >= thresholds.classic_share_shift
    )
    return judged(
        "share_spike",
        preset,
        estimate=change.difference,
        interval=change.interval,
        statistic=float(found[0]),
        p=p,
        effect=max(0.0, change.h) / thresholds.effect,
        classic=(bool(far and found[0] > 0), "high"),
        n=n,
        n_reference=0,
        sentence=(
            f"From period {first + 1} to {last} of {periods} the share of positives is {now:.4g} of {size} rows, "
            f"against {usual:.4g} in the rest: {change.difference:+.4g} (95% interval {change.interval[0]:+.4g} to "
            f"{change.interval[1]:+.4g}, p = {p:.3g} for any stretch)."
        ),
        thresholds=thresholds,
    )


def _scan(done: Array, rows: Array) -> tuple[Floats, Array, Array]:
    """The largest log likelihood ratio of each arrangement, and where its stretch begins and how long it is."""
    from scipy.special import xlogy

    done, rows = done.astype(np.int64), rows.astype(np.int64)
    periods, runs = len(rows), len(done)
    total, n = done.sum(axis=1), int(rows.sum())
    sums = np.concatenate([np.zeros((runs, 1), dtype=np.int64), done.cumsum(axis=1)], axis=1)
    sizes = np.concatenate([[0], rows.cumsum()])
    # Every likelihood is a sum of x·log(x) of whole numbers: looked up, as long as the table stays small.
    table = xlogy(np.arange(n + 1), np.arange(n + 1)) if n <= TABLE else None

    def f(x: Array) -> Floats:
        return np.asarray(xlogy(x, x) if table is None else table[x])

    flat = f(total) + f(n - total) - f(np.array(n))
    best = np.zeros(runs)
    start, length = np.zeros(runs, dtype=np.intp), np.ones(runs, dtype=np.intp)
    for width in range(1, max(1, periods // 2) + 1):
        inside = sums[:, width:] - sums[:, :-width]
        size = (sizes[width:] - sizes[:-width])[None, :]
        outside, rest = total[:, None] - inside, n - size
        ratio = f(inside) + f(size - inside) + f(outside) + f(rest - outside) - f(size) - f(rest) - flat[:, None]
        ratio = np.where(inside * n > total[:, None] * size, ratio, 0.0)
        place = ratio.argmax(axis=1)
        value = ratio[np.arange(runs), place]
        better = value > best
        best = np.where(better, value, best)
        start, length = np.where(better, place, start), np.where(better, width, length)
    return best, start, length


def _counts(values: Array, name: str) -> Floats:
    found = numbers(values, name)
    if len(found) and not (np.isfinite(found).all() and found.min() >= 0 and (found == np.floor(found)).all()):
        raise InvalidInput(f"The {name} must be whole counts that are not negative, and none may be missing.")
    return found
