"""Looking at every row: how often the sequential methods decide falsely, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from benchmarks.statistics.section import Plot, Section, Table
from scipy.signal import lfilter

from homeostat.stats.sequential import (
    asymptotic_difference,
    asymptotic_mean,
    bounded_log_evidence,
    noninferiority_log_evidence,
    normal_mixture_log_evidence,
    normal_mixture_rho,
    paired_difference_log_evidence,
    paired_log_evidence,
    quantile_log_evidence,
    sample_ratio_log_evidence,
    share_log_evidence,
    two_bernoulli_log_evidence,
)

ALPHA = 0.05
LOOKS = 10_000
THRESHOLD = math.log(1 / ALPHA)
# Runs at a time, so that the arrays stay within the processor's cache or near it.
CHUNK = 50
# A z-test is looked at from here on: no one reads one of fewer rows.
FIRST_Z = 30

Rng = np.random.Generator
Array = np.ndarray[Any, np.dtype[Any]]


def chunks(runs: int) -> list[int]:
    """The runs, in parts small enough to be kept in memory."""
    return [min(CHUNK, runs - start) for start in range(0, runs, CHUNK)]


def firsts(decided: Array) -> Array:
    """The look, counted from 1, at which each run first decided; one past the last where it never did."""
    return np.where(decided.any(axis=1), decided.argmax(axis=1) + 1, decided.shape[1] + 1)


def z_difference(values: Array, second: Array) -> Array:
    """Whether a two-sided z-test of two arms' means rejects, after each row."""
    n2 = np.cumsum(second, axis=1)
    n1 = np.arange(1, values.shape[1] + 1) - n2
    total, square = np.cumsum(values, axis=1), np.cumsum(values**2, axis=1)
    total2, square2 = np.cumsum(values * second, axis=1), np.cumsum(values**2 * second, axis=1)
    safe1, safe2 = np.maximum(n1, 1), np.maximum(n2, 1)
    mean1, mean2 = (total - total2) / safe1, total2 / safe2
    error = ((square - square2) / safe1 - mean1**2) / safe1 + (square2 / safe2 - mean2**2) / safe2
    rejected = (mean2 - mean1) ** 2 > NormalDist().inv_cdf(1 - ALPHA / 2) ** 2 * np.maximum(error, 1e-300)
    return rejected & (n1 >= FIRST_Z / 2) & (n2 >= FIRST_Z / 2) & (error > 1e-12)


def z_mean(values: Array, null: float) -> Array:
    """Whether a two-sided z-test of a mean rejects, after each row."""
    n = np.arange(1, values.shape[1] + 1)
    mean = np.cumsum(values, axis=1) / n
    variance = np.cumsum(values**2, axis=1) / n - mean**2
    rejected = (mean - null) ** 2 * n > NormalDist().inv_cdf(1 - ALPHA / 2) ** 2 * np.maximum(variance, 1e-300)
    return rejected & (n >= FIRST_Z) & (variance > 1e-12)


def ones(rng: Rng, runs: int, looks: int, share: float) -> Array:
    return (rng.random((runs, looks)) < share).astype(np.float64)


def signs(rng: Rng, runs: int, looks: int, wins: float, losses: float) -> Array:
    """1 where only the new version is right, −1 where only the old one is."""
    u = rng.random((runs, looks))
    return (u < wins).astype(np.float64) - (u > 1 - losses)


DRAWS: dict[str, Callable[[Rng, int, int], Array]] = {
    "normal": lambda rng, runs, looks: rng.normal(size=(runs, looks)),
    "heavy tails (t, 3 degrees)": lambda rng, runs, looks: rng.standard_t(3, size=(runs, looks)),
    "skewed (lognormal)": lambda rng, runs, looks: rng.lognormal(size=(runs, looks)),
    "rare events (1 %)": lambda rng, runs, looks: ones(rng, runs, looks, 0.01),
}
MEANS = {
    "normal": 0.0,
    "heavy tails (t, 3 degrees)": 0.0,
    "skewed (lognormal)": math.exp(0.5),
    "rare events (1 %)": 0.01,
}


def arms(rng: Rng, runs: int, looks: int, share: float = 0.5) -> Array:
    return rng.random((runs, looks)) < share


@dataclass(frozen=True)
class Case:
    """A method on data of one kind where its null hypothesis holds: whether it decides, after each row."""

    method: str
    data: str
    kind: str
    decides: Callable[[Rng, int, int], Array]

    def firsts(self, runs: int, *, looks: int = LOOKS, rng: int = 0) -> Array:
        """Each run's first false decision."""
        generator = np.random.default_rng(rng)
        return np.concatenate([firsts(self.decides(generator, size, looks)) for size in chunks(runs)])


def difference_case(data: str, share: float, *, z: bool) -> Case:
    def decides(rng: Rng, runs: int, looks: int) -> Array:
        values, second = DRAWS[data](rng, runs, looks), arms(rng, runs, looks, share)
        return z_difference(values, second) if z else asymptotic_difference(values, second).log_e >= THRESHOLD

    label = data if share == 0.5 else f"{data}, {share:.0%} in one arm"
    return Case("z-test of two means" if z else "asymptotic, two means", label, "z" if z else "asymptotic", decides)


def mean_case(data: str, *, z: bool) -> Case:
    def decides(rng: Rng, runs: int, looks: int) -> Array:
        values, null = DRAWS[data](rng, runs, looks), MEANS[data]
        return z_mean(values, null) if z else asymptotic_mean(values, null).log_e >= THRESHOLD

    return Case("z-test of a mean" if z else "asymptotic, one mean", data, "z" if z else "asymptotic", decides)


def exact_case(method: str, data: str, log_e: Callable[[Rng, int, int], Array]) -> Case:
    return Case(method, data, "exact", lambda rng, runs, looks: log_e(rng, runs, looks) >= THRESHOLD)


def two_shares(share: float, block: tuple[int, int] = (1, 1)) -> Callable[[Rng, int, int], Array]:
    def log_e(rng: Rng, runs: int, looks: int) -> Array:
        blocks = looks // sum(block)
        first, second = (rng.binomial(size, share, (runs, blocks)) for size in block)
        # Between the ends of blocks nothing changes, so every look sees the last full block.
        return np.repeat(two_bernoulli_log_evidence(first, second, block), sum(block), axis=1)

    return log_e


def paired(wins: float, *, both: bool) -> Callable[[Rng, int, int], Array]:
    def log_e(rng: Rng, runs: int, looks: int) -> Array:
        given = signs(rng, runs, looks, wins, wins)
        s, f = np.cumsum(given > 0, axis=1), np.cumsum(given < 0, axis=1)
        return paired_difference_log_evidence(s, f) if both else paired_log_evidence(s, f)

    return log_e


def ratio(weights: Sequence[float]) -> Callable[[Rng, int, int], Array]:
    def log_e(rng: Rng, runs: int, looks: int) -> Array:
        reached = rng.choice(len(weights), p=weights, size=(runs, looks))
        counts = np.stack([np.cumsum(reached == arm, axis=1) for arm in range(len(weights))], axis=-1)
        return sample_ratio_log_evidence(counts, weights)

    return log_e


def quantile(q: float) -> Callable[[Rng, int, int], Array]:
    def log_e(rng: Rng, runs: int, looks: int) -> Array:
        return quantile_log_evidence(np.cumsum(ones(rng, runs, looks, q), axis=1), np.arange(1, looks + 1), q)

    return log_e


def quantile_difference(q: float) -> Callable[[Rng, int, int], Array]:
    # The test takes the least product over all shared values, so the product at the true one bounds it from above.
    one = quantile(q)
    return lambda rng, runs, looks: np.repeat(one(rng, runs, looks // 2) + one(rng, runs, looks // 2), 2, axis=1)


def known_variance(rng: Rng, runs: int, looks: int) -> Array:
    sums = np.cumsum(rng.normal(size=(runs, looks)), axis=1)
    return normal_mixture_log_evidence(sums, np.arange(1, looks + 1), rho=normal_mixture_rho(1000))


def cases() -> tuple[Case, ...]:
    """Every method on data of every kind that it is meant for."""
    return (
        *(mean_case(data, z=z) for data in DRAWS for z in (True, False)),
        *(difference_case(data, 0.5, z=z) for data in DRAWS for z in (True, False)),
        *(difference_case(data, 0.1, z=z) for data in ("normal", "rare events (1 %)") for z in (True, False)),
        exact_case("normal mixture", "normal, known variance", known_variance),
        exact_case("bets, bounded mean", "share of 50 %", lambda *a: bounded_log_evidence(ones(*a, 0.5), 0.5)),
        exact_case("bets, bounded mean", "rare events (1 %)", lambda *a: bounded_log_evidence(ones(*a, 0.01), 0.01)),
        exact_case(
            "bets, bounded mean",
            "heavy tails (beta .05, .2)",
            lambda rng, runs, looks: bounded_log_evidence(rng.beta(0.05, 0.2, (runs, looks)), 0.2),
        ),
        exact_case(
            "share",
            "share of 10 %",
            lambda *a: share_log_evidence(np.cumsum(ones(*a, 0.1), 1), np.arange(1, a[2] + 1), 0.1),
        ),
        exact_case("two Bernoulli", "shares of 50 %", two_shares(0.5)),
        exact_case("two Bernoulli", "rare events (1 %)", two_shares(0.01)),
        exact_case("two Bernoulli", "shares of 10 %, 10 % in one arm", two_shares(0.1, (9, 1))),
        exact_case("paired, one direction", "20 % discordant", paired(0.1, both=False)),
        exact_case("paired, two-sided", "1 % discordant", paired(0.005, both=True)),
        exact_case(
            "non-inferiority at its margin",
            "paired, 10 % discordant, truth 2 % worse",
            lambda *a: noninferiority_log_evidence(signs(*a, 0.04, 0.06), 0.02)[0],
        ),
        exact_case("sample ratio", "50 : 50", ratio((0.5, 0.5))),
        exact_case("sample ratio", "90 : 5 : 5", ratio((0.9, 0.05, 0.05))),
        exact_case("quantile", "median", quantile(0.5)),
        exact_case("quantile", "99 %", quantile(0.99)),
        exact_case("quantile difference", "95 %", quantile_difference(0.95)),
    )


def daily_peeks(runs: int, *, days: int = 30, rows: int = 100, rng: int = 0) -> tuple[float, float]:
    """Shares of runs without a difference in which a z-test, and the anytime-valid one, ever reject at a day's end."""
    generator = np.random.default_rng(rng)
    found = np.zeros(2)
    second = np.tile(np.arange(2 * rows) % 2 == 1, days)
    ends = np.arange(1, days + 1) * 2 * rows - 1
    for size in chunks(runs):
        values = generator.normal(size=(size, 2 * rows * days))
        found[0] += z_difference(values, second[None, :])[:, ends].any(axis=1).sum()
        found[1] += (asymptotic_difference(values, second).log_e[:, ends] >= THRESHOLD).any(axis=1).sum()
    return float(found[0] / runs), float(found[1] / runs)


def clustered(rng: Rng, runs: int, entities: int, rows: int) -> tuple[Array, Array]:
    """Rows of one entity after the other, half of their variance between entities; and each row's entity."""
    between = rng.normal(size=(runs, entities))
    values = np.repeat(between, rows, axis=1) + rng.normal(size=(runs, entities * rows))
    return values, np.repeat(np.arange(entities), rows)


def autoregressive(rng: Rng, runs: int, looks: int, phi: float = 0.8) -> Array:
    noise = rng.normal(size=(runs, looks)) * math.sqrt(1 - phi**2)
    noise[:, 0] /= math.sqrt(1 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=1))


def daily(rng: Rng, runs: int, looks: int, rows_a_day: int = 500) -> Array:
    hours = np.sin(2 * np.pi * np.arange(looks) / rows_a_day)
    return hours + rng.normal(size=(runs, looks))


def dependent_rows(runs: int, *, looks: int = LOOKS, rng: int = 0) -> list[tuple[str, str, str, float, float]]:
    """Data, what is fed, whether it holds, and the false decisions of the z-test and of the asymptotic sequence."""
    generator, total = np.random.default_rng(rng), {}
    for size in chunks(runs):
        for *named, z, sequence in dependent_chunk(generator, size, looks):
            before = total.get(tuple(named), (0, 0))
            total[tuple(named)] = (before[0] + z, before[1] + sequence)
    return [(*named, z / runs, sequence / runs) for named, (z, sequence) in total.items()]


def dependent_chunk(generator: Rng, runs: int, looks: int) -> list[tuple[str, str, str, int, int]]:
    """The same as counts of runs."""
    rows = 10
    settings = {"burn_in": 50, "tight_at": 200}

    def count(decided: Array) -> int:
        return int(decided.any(axis=1).sum())

    found = []

    def add(data: str, fed: str, truth: str, z: Array, sequence: Array) -> None:
        found.append((data, fed, truth, count(z), count(sequence >= THRESHOLD)))

    values, entity = clustered(generator, runs, looks // rows, rows)
    by_entity = arms(generator, runs, looks // rows)
    second = by_entity[:, entity]
    means = values.reshape(runs, -1, rows).mean(axis=2)
    data = f"{rows} rows an entity, half of the variance between entities"
    add(data, "rows", "does not hold", z_difference(values, second), asymptotic_difference(values, second).log_e)
    add(
        data,
        "one mean an entity",
        "holds",
        z_difference(means, by_entity),
        asymptotic_difference(means, by_entity).log_e,
    )

    values, second = autoregressive(generator, runs, looks), arms(generator, runs, looks)
    data = "AR(1), coefficient 0.8"
    add(data, "rows against a fixed mean", "does not hold", z_mean(values, 0.0), asymptotic_mean(values).log_e)
    means = values.reshape(runs, -1, 50).mean(axis=2)
    fed = "means of 50 rows against a fixed mean"
    add(data, fed, "nearly holds", z_mean(means, 0.0), asymptotic_mean(means, **settings).log_e)
    fed = "rows, assigned at random to two arms"
    add(data, fed, "holds", z_difference(values, second), asymptotic_difference(values, second).log_e)

    values, second = daily(generator, runs, looks), arms(generator, runs, looks)
    data = "daily cycle, 500 rows a day"
    add(data, "rows against the daily mean", "does not hold", z_mean(values, 0.0), asymptotic_mean(values).log_e)
    add(data, fed, "holds", z_difference(values, second), asymptotic_difference(values, second).log_e)
    return found


def fixed_split(old: float, new: float) -> float:
    """Requests, half to each arm, that a fixed z-test needs at level α/2 one-sided and power .8."""
    z_alpha, z_power = NormalDist().inv_cdf(1 - ALPHA / 2), NormalDist().inv_cdf(0.8)
    pooled = (old + new) / 2
    under_null, under_truth = 2 * pooled * (1 - pooled), old * (1 - old) + new * (1 - new)
    return 2 * (z_alpha * math.sqrt(under_null) + z_power * math.sqrt(under_truth)) ** 2 / (new - old) ** 2


def fixed_same(wins: float, losses: float) -> float:
    """Rows that both versions score, that a fixed McNemar test needs at level α/2 one-sided and power .8."""
    z_alpha, z_power = NormalDist().inv_cdf(1 - ALPHA / 2), NormalDist().inv_cdf(0.8)
    gap, discordant = wins - losses, wins + losses
    return (z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - gap**2)) ** 2 / gap**2


def sequential_sizes(wins: float, losses: float, runs: int, *, limit: int = 12_000, rng: int = 0) -> Array:
    """Rows that both versions scored until the paired evidence, at α/2 one-sided, says that the new one is better."""
    generator, taken = np.random.default_rng(rng), []
    for size in chunks(runs):
        given = signs(generator, size, limit, wins, losses)
        log_e = paired_log_evidence(np.cumsum(given > 0, axis=1), np.cumsum(given < 0, axis=1))
        taken.append(firsts(log_e >= math.log(2 / ALPHA)))
    return np.concatenate(taken)


def split_sizes(old: float, new: float, runs: int, *, limit: int = 24_000, rng: int = 0) -> Array:
    """Requests, half to each arm, until the two-Bernoulli e-process, at α/2 one-sided, says that the new is better."""
    generator, taken = np.random.default_rng(rng), []
    for size in chunks(runs):
        first, second = (ones(generator, size, limit // 2, share) for share in (old, new))
        log_e = two_bernoulli_log_evidence(first, second, alternative="greater")
        taken.append(2 * firsts(log_e >= math.log(2 / ALPHA)))
    return np.concatenate(taken)


def sizes_table(runs: int) -> Table:
    old, new = 0.90, 0.92
    rows: list[list[object]] = []
    taken = split_sizes(old, new, runs)
    rows.append(["split between arms", f"{fixed_split(old, new):,.0f}", *_needed(taken)])
    for label, losses in (
        ("same rows, the new one errs where the old does", 0.005),
        ("same rows, errors overlap by half", 0.04),
        ("same rows, errors independent", old * (1 - new)),
    ):
        taken = sequential_sizes(losses + new - old, losses, runs)
        rows.append([label, f"{fixed_same(losses + new - old, losses):,.0f}", *_needed(taken)])
    return Table(
        [
            "requests",
            "fixed test, power .8",
            "anytime-valid: 80 % decided by",
            "half decided by",
            "mean at the decision",
        ],
        rows,
        "Requests to find an accuracy of 92 % against 90 %, at 2.5 % one-sided. The mean counts runs up to where 80 % "
        "have decided, and those that have not with that number.",
    )


def _needed(taken: Array) -> list[str]:
    most = np.quantile(taken, 0.8)
    return [f"{most:,.0f}", f"{np.median(taken):,.0f}", f"{np.minimum(taken, most).mean():,.0f}"]


def curve(found: Array, marks: Sequence[int]) -> list[float]:
    """The share of runs that have decided falsely by each look."""
    return [float((found <= mark).mean()) for mark in marks]


def run(*, quick: bool) -> Section:
    exact, others = (100, 50) if quick else (800, 400)
    found = {
        case: case.firsts(exact if case.kind == "exact" else others, rng=number) for number, case in enumerate(cases())
    }
    # The z-test stands beside the sequence on the same kind of data.
    z = {case.data + case.method[-4:]: found[case] for case in found if case.kind == "z"}
    rows = []
    for case, looks in found.items():
        if case.kind == "z":
            continue
        beside = z.get(case.data + case.method[-4:]) if case.kind == "asymptotic" else None
        shown = "" if beside is None else f"{(beside <= LOOKS).mean():.1%}"
        rows.append([case.method, case.data, case.kind, f"{(looks <= LOOKS).mean():.1%}", shown])
    marks = [30, 50, 100, 200, 300, 500, 1000, 2000, 3000, 5000, 10_000]
    wanted = {
        "z-test": ("z-test of two means", "normal"),
        "asymptotic": ("asymptotic, two means", "normal"),
        "two Bernoulli": ("two Bernoulli", "shares of 50 %"),
        "paired": ("paired, one direction", "20 % discordant"),
        "bets": ("bets, bounded mean", "share of 50 %"),
    }
    by_name = {(case.method, case.data): looks for case, looks in found.items()}
    series = {name: (marks, curve(by_name[key], marks)) for name, key in wanted.items()}
    days = daily_peeks(200 if quick else 1500)
    dependent = dependent_rows(50 if quick else 200)
    return Section(
        "Looking at every row",
        f"Nothing differs, and someone looks after each of {LOOKS:,} rows and acts the first time a method at level "
        f"{ALPHA:.0%} says so: the share of {exact:,} runs (exact methods) or {others:,} (others) that end in a false "
        "decision. Exact methods hold the level by proof, asymptotic ones after their burn-in (100 values an arm, and "
        "a kurtosis of at most 4 % of their number). All of them assume that rows are independent, or at least that "
        "their mean does not follow what came before. Rows of one entity break that: the table of dependent rows shows "
        "by how much, and what to feed instead.",
        [
            Table(["method", "data", "validity", "false decisions", "z-test on such data"], rows),
            Table(
                ["looked at", "z-test", "anytime-valid"],
                [["at the end of each of 30 days", f"{days[0]:.1%}", f"{days[1]:.1%}"]],
                "Two arms without a difference, 100 rows a day each.",
            ),
            Table(
                ["rows", "what is fed", "assumption", "z-test", "asymptotic"],
                [[a, b, c, f"{d:.1%}", f"{e:.1%}"] for a, b, c, d, e in dependent],
                "Dependent rows, nothing differs, looked at after each value that is fed.",
            ),
            sizes_table(100 if quick else 300),
        ],
        [
            Plot(
                "peeking",
                "False decisions by the number of looks",
                "looks",
                "share of runs",
                series,
                {"level": ALPHA},
                log_x=True,
            )
        ],
    )
