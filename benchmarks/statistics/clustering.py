"""What dependence between rows does to tests of fixed samples, and what the remedies are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from benchmarks.statistics.section import Plot, Section, Table
from scipy.signal import lfilter
from scipy.special import erfinv

from homeostat.stats.inference import (
    Moments,
    clustered_difference,
    cuped,
    delong,
    entity_means,
    hedges_g,
    lift,
    mann_whitney,
    mcnemar,
    newcombe_interval,
    newey_west_error,
    paired_interval,
    paired_t,
    sample_size_mann_whitney,
    sample_size_mcnemar,
    sample_size_means,
    sample_size_proportions,
    score_interval,
    series_mean,
    two_proportions,
    welch,
    welch_from_moments,
)

ALPHA = 0.05
NORMAL = 1.959964
ROWS = "rows as independent (Welch)"
MEANS = "one mean an entity (Welch)"
ROBUST = "cluster-robust, Satterthwaite"
CR1 = "cluster-robust, CR1"
CUPED = "CUPED on entities"
SERIES = ("values as independent", "Newey-West, normal limits", "newey-west", "blocks", "cosine")


def cluster_rates(
    *, runs: int, rng: int | np.random.Generator, correlation: float, size: int, entities: int, uneven: bool = False
) -> dict[str, float]:
    """Share of runs in which each test calls two equal arms different.

    Entities have `size` rows, or a geometric number of that mean; `correlation` is the intraclass correlation. CUPED
    knows a covariate that correlates with the entity's own level.
    """
    generator = np.random.default_rng(rng)
    alarms = dict.fromkeys((ROWS, MEANS, ROBUST, CR1, CUPED), 0)
    for _ in range(runs):
        arms = []
        for _ in range(2):
            counts = generator.geometric(1 / size, entities) if uneven else np.full(entities, size)
            owner = np.repeat(np.arange(entities), counts)
            level = generator.normal(size=entities)
            noise = generator.normal(size=len(owner))
            values = math.sqrt(correlation) * level[owner] + math.sqrt(1 - correlation) * noise
            arms.append((values, owner, level + generator.normal(size=entities)))
        (one, owner_1, before_1), (two, owner_2, before_2) = arms
        means_1, means_2 = entity_means(one, owner_1)[0], entity_means(two, owner_2)[0]
        moved = owner_2 + entities
        found = {
            ROWS: welch(one, two),
            MEANS: welch(means_1, means_2),
            ROBUST: clustered_difference(one, owner_1, two, moved),
            CR1: clustered_difference(one, owner_1, two, moved, correction="cr1"),
            CUPED: cuped(means_1, before_1, means_2, before_2),
        }
        for name, result in found.items():
            alarms[name] += result.p < ALPHA
    return {name: count / runs for name, count in alarms.items()}


def autoregressive(generator: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """A stationary first-order autoregression with unit variance."""
    shocks = generator.normal(size=n) * math.sqrt(1 - memory**2)
    shocks[0] /= math.sqrt(1 - memory**2)
    return np.asarray(lfilter([1.0], [1.0, -memory], shocks))


def series_rates(
    *,
    runs: int,
    rng: int | np.random.Generator,
    memory: float,
    n: int,
    cycle: float = 0.0,
    period: int | None = None,
) -> dict[str, float]:
    """Share of runs in which each test calls a mean of 0 different from 0.

    The values are an autoregression plus a cycle of 24 values with this amplitude, which starts at a random hour.
    """
    generator = np.random.default_rng(rng)
    alarms = dict.fromkeys(SERIES, 0)
    for _ in range(runs):
        hours = np.arange(n) + generator.integers(24)
        values = autoregressive(generator, n, memory) + cycle * np.sin(2 * math.pi * hours / 24)
        alarms[SERIES[0]] += paired_t(np.zeros(n), values).p < ALPHA
        lags = math.ceil(4 * (n / 100) ** (2 / 9))
        alarms[SERIES[1]] += abs(float(values.mean())) > NORMAL * newey_west_error(values, lags)
        for method in SERIES[2:]:
            alarms[method] += series_mean(values, method=method, period=period).p < ALPHA
    return {name: count / runs for name, count in alarms.items()}


def coverage(*, runs: int, rng: int | np.random.Generator) -> dict[str, float]:
    """Share of runs in which each 95 % interval covers the truth."""
    generator = np.random.default_rng(rng)
    worlds: Mapping[str, Callable[[np.random.Generator], tuple[tuple[float, float], float]]] = {
        "Newcombe, shares .02 and .02, 100 rows each": lambda g: _newcombe(g, 0.02, 0.02, 100),
        "Newcombe, shares .1 and .3, 40 rows each": lambda g: _newcombe(g, 0.1, 0.3, 40),
        "score, shares .1 and .3, 40 rows each": lambda g: _score(g, 0.1, 0.3, 40),
        "paired shares .9 and .92, 200 rows": _paired,
        "Welch, normal, variances 1 and 16, 10 and 40 rows": _welch,
        "Welch, lognormal, 500 rows each": _skewed,
        "lift, Fieller, 50 rows each, mean 2 sd from 0": lambda g: _lift(g, "fieller", 2.0),
        "lift, Fieller, 50 rows each, mean .3 sd from 0": lambda g: _lift(g, "fieller", 0.3),
        "lift, delta method, 50 rows each, mean .3 sd from 0": lambda g: _lift(g, "delta", 0.3),
        "Hedges' g, 15 rows each, d = .8": _hedges,
        "common-language effect, .76, 20 rows each": lambda g: _common(g, 1.0, 20, 20),
        "common-language effect, .98, 15 and 30 rows": lambda g: _common(g, 3.0, 15, 30),
        "difference of AUC (DeLong), 100 and 100 rows": _areas,
    }
    return {
        name: sum(low <= truth <= high for (low, high), truth in (world(generator) for _ in range(runs))) / runs
        for name, world in worlds.items()
    }


def _newcombe(g: np.random.Generator, a: float, b: float, n: int) -> tuple[tuple[float, float], float]:
    return newcombe_interval(int(g.binomial(n, a)), n, int(g.binomial(n, b)), n), b - a


def _score(g: np.random.Generator, a: float, b: float, n: int) -> tuple[tuple[float, float], float]:
    return score_interval(int(g.binomial(n, a)), n, int(g.binomial(n, b)), n), b - a


def _paired(g: np.random.Generator) -> tuple[tuple[float, float], float]:
    both, only_1, only_2, neither = (int(count) for count in g.multinomial(200, [0.87, 0.03, 0.05, 0.05]))
    return paired_interval(both, only_1, only_2, neither), 0.02


def _welch(g: np.random.Generator) -> tuple[tuple[float, float], float]:
    return welch(g.normal(0, 4, 10), g.normal(1, 1, 40)).interval, 1.0


def _skewed(g: np.random.Generator) -> tuple[tuple[float, float], float]:
    return welch(g.lognormal(size=500), g.lognormal(size=500)).interval, 0.0


def _lift(g: np.random.Generator, method: str, mean: float) -> tuple[tuple[float, float], float]:
    return lift(g.normal(mean, 1, 50), g.normal(1.1 * mean, 1, 50), method=method).interval, 0.1


def _hedges(g: np.random.Generator) -> tuple[tuple[float, float], float]:
    return hedges_g(g.normal(size=15), g.normal(0.8, 1, 15)).interval, 0.8


def _common(g: np.random.Generator, shift: float, n_1: int, n_2: int) -> tuple[tuple[float, float], float]:
    truth = 0.5 * math.erfc(-shift / 2)
    return mann_whitney(g.normal(size=n_1), g.normal(shift, 1, n_2)).interval, truth


def _areas(g: np.random.Generator) -> tuple[tuple[float, float], float]:
    truth = np.repeat([0, 1], 100)
    shared = g.normal(size=200) + truth
    first, second = shared + g.normal(size=200), shared + g.normal(size=200) + 0.5 * truth
    exact = [0.5 * math.erfc(-gap / math.sqrt(4) / math.sqrt(2)) for gap in (1.0, 1.5)]
    return delong(truth, first, second).interval, exact[1] - exact[0]


def power_reached(*, runs: int, rng: int | np.random.Generator) -> dict[str, tuple[int, float]]:
    """Rows planned for a power of .8, and the share of runs in which that many rows find the effect."""
    generator = np.random.default_rng(rng)
    shares, means = sample_size_proportions(0.1, 0.15), sample_size_means(0.4)
    same, ranks = sample_size_mcnemar(0.05, 0.09), sample_size_mann_whitney(0.65)
    shift = 2 * float(erfinv(2 * 0.65 - 1))
    names = ("two proportions, .1 and .15", "means, d = .4", "McNemar, .05 and .09", "Mann-Whitney, .65")
    found = dict.fromkeys(names, 0)
    for _ in range(runs):
        n = shares.n_1
        counts = generator.binomial(n, 0.1), generator.binomial(n, 0.15)
        found[names[0]] += two_proportions(int(counts[0]), n, int(counts[1]), n).p < ALPHA
        one, two = generator.normal(size=means.n_1), generator.normal(0.4, 1, means.n_2)
        found[names[1]] += welch_from_moments(Moments.of(one), Moments.of(two)).p < ALPHA
        only_1, only_2, _ = generator.multinomial(same.n, [0.05, 0.09, 0.86])
        found[names[2]] += mcnemar(int(only_1), int(only_2)).p_uncorrected < ALPHA
        one, two = generator.normal(size=ranks.n_1), generator.normal(shift, 1, ranks.n_2)
        found[names[3]] += mann_whitney(one, two).p < ALPHA
    rows = (shares.n, means.n, same.n, ranks.n)
    return {name: (n, count / runs) for (name, count), n in zip(found.items(), rows, strict=True)}


def run(*, quick: bool) -> Section:
    """Level, coverage and power of the tests for one look."""
    runs = 200 if quick else 1000
    worlds = [
        ("independent rows", {"correlation": 0.0, "size": 1, "entities": 200}),
        ("5 rows an entity, ICC 0", {"correlation": 0.0, "size": 5, "entities": 100}),
        ("5 rows an entity, ICC .05", {"correlation": 0.05, "size": 5, "entities": 100}),
        ("5 rows an entity, ICC .5", {"correlation": 0.5, "size": 5, "entities": 100}),
        ("20 rows an entity, ICC .05", {"correlation": 0.05, "size": 20, "entities": 100}),
        ("20 rows an entity, ICC .2", {"correlation": 0.2, "size": 20, "entities": 100}),
        ("about 10 rows, very uneven, ICC .2", {"correlation": 0.2, "size": 10, "entities": 100, "uneven": True}),
        ("the same, 8 entities an arm", {"correlation": 0.2, "size": 10, "entities": 8, "uneven": True}),
    ]
    rates = [cluster_rates(runs=runs, rng=number, **world) for number, (_, world) in enumerate(worlds)]  # type: ignore[arg-type]
    names = tuple(rates[0])
    tables = [
        Table(
            ("two equal arms", *names),
            [(name, *(found[test] for test in names)) for (name, _), found in zip(worlds, rates, strict=True)],
            "Share of runs in which two equal arms are called different at a nominal 5 %.",
        )
    ]
    memories = (0.0, 0.5, 0.9) if quick else (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
    by_memory = [series_rates(runs=runs, rng=20 + n, memory=memory, n=500) for n, memory in enumerate(memories)]
    longer = [
        ("memory .9, 500 values", by_memory[memories.index(0.9)]),
        ("memory .9, 200 values", series_rates(runs=runs, rng=30, memory=0.9, n=200)),
        ("memory .9, 2,000 values", series_rates(runs=runs, rng=31, memory=0.9, n=2000)),
        ("daily cycle, 21 days, period given", series_rates(runs=runs, rng=32, memory=0.3, n=504, cycle=2, period=24)),
        ("daily cycle, 21 days, period not given", series_rates(runs=runs, rng=33, memory=0.3, n=504, cycle=2)),
        (
            "strong daily cycle, 4½ days",
            series_rates(runs=runs, rng=34, memory=0.3, n=108, cycle=4, period=24),
        ),
    ]
    tables.append(
        Table(
            ("mean of values in time order", *SERIES),
            [(name, *(found[test] for test in SERIES)) for name, found in longer],
            "Share of runs in which a mean of 0 is called different from 0 at a nominal 5 %.",
        )
    )
    covered = coverage(runs=runs, rng=40)
    tables.append(Table(("95 % interval", "covers"), list(covered.items()), "How often intervals cover the truth."))
    planned = power_reached(runs=runs, rng=41)
    tables.append(
        Table(
            ("planned for a power of .8", "rows in all", "found"),
            [(name, n, share) for name, (n, share) in planned.items()],
            "Whether the planned number of rows finds the effect as often as asked.",
        )
    )
    plot = Plot(
        "dependence_in_time",
        "False alarms where neighbours in time resemble each other, 500 values",
        "correlation of neighbours",
        "share of false alarms",
        {name: (memories, [found[name] for found in by_memory]) for name in SERIES},
        {"5 %": ALPHA},
    )
    words = (
        "Tests that take rows as independent are too sure where entities bring several rows or time has a memory. "
        "Tests that count entities hold their level from some dozens of entities on; with 8 very uneven ones an arm "
        "the cluster-robust ones are too sure, and one mean an entity is not. Of the tests of series the cosine one is "
        "nearest to its level where the memory is long. Over whole days a cycle can make tests blind that are not told "
        "of it; where half a day is missing the hour looks like an effect, whatever the method. "
        f"Simulated with {runs:,} runs a figure."
    )
    return Section("Rows that depend on each other", words, tables, [plot])
