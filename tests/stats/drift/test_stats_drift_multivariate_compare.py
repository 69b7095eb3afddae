"""The default test of samples: what it finds, what it says, and its edges."""

import warnings

import numpy as np
import pytest
from benchmarks.statistics.drift_power import NULLS, null_rows
from scipy.stats import binom

from homeostat.errors import InvalidInput
from homeostat.stats.drift.multivariate import compare_samples
from homeostat.stats.drift.multivariate.permutation import choices, p_values, permuted_sums, smallest_p, z_scale


def normal(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("a feature", lambda rows: rows + np.array([1.0, 0, 0, 0])),
        ("features together", lambda rows: rows + 0.5),
        ("rows as a whole", lambda rows: 1.7 * rows),
        ("correlations", lambda rows: np.column_stack((rows[:, 0], 0.8 * rows[:, 0] + 0.6 * rows[:, 1], rows[:, 2:]))),
    ],
)
def test_each_part_finds_its_kind_of_change(part, change):
    result = compare_samples(normal(300, 4), change(normal(150, 4, seed=1)), permutations=199)
    assert result.parts[part] <= 0.01
    assert result.p <= 0.02


def test_the_features_outputs_are_named_and_ranked():
    before, after = normal(300, 3), normal(100, 3, seed=1)
    after[:, 1] += 1
    result = compare_samples(
        before,
        after,
        reference_outputs=before[:, 1],
        current_outputs=after[:, 1],
        names=["a", "b", "c"],
        permutations=199,
    )
    assert {one.name for one in result.features[:2]} == {"b", "output 0"}
    assert result.features[0].p == 0.005
    assert result.features[-1].p > 0.05
    assert result.interval[0] <= result.estimate <= result.interval[1]
    assert (result.n_reference, result.n_current, result.drifted) == (300, 100, True)
    assert "percentage points" in result.sentence
    assert "p = 0.005" in result.sentence
    assert "an output" in result.parts


def test_a_broken_column_of_twenty_is_found():
    before, after = normal(500, 20), normal(200, 20, seed=1)
    after[:, 7] = 0.0
    result = compare_samples(before, after, permutations=199)
    assert result.drifted
    assert result.features[0].name == "feature 7"


def test_ninety_percent_missing_values_are_found():
    before, after = normal(500, 20), normal(200, 20, seed=1)
    after[:180, 3] = np.nan
    result = compare_samples(before, after, permutations=199)
    assert result.drifted
    assert result.features[0].name == "feature 3 is missing"
    assert result.estimate == pytest.approx(0.9, abs=0.01)


def test_the_largest_gap_is_that_of_the_distribution_functions():
    before, after = np.repeat([[0.0], [1.0]], [30, 70], axis=0), np.repeat([[0.0], [1.0]], [30, 20], axis=0)
    assert compare_samples(before, after, permutations=99).estimate == pytest.approx(0.3)


def test_the_interval_covers_the_largest_gap():
    runs, covered = 60, 0
    rng = np.random.default_rng(4)
    for _ in range(runs):
        # Shares of .3 and .6 in the first feature: its gap is .3, the largest.
        before, after = (rng.random((150, 3)) < [0.3, 0.5, 0.5]), (rng.random((100, 3)) < [0.6, 0.5, 0.5])
        low, high = compare_samples(before.astype(float), after.astype(float), permutations=99, rng=rng).interval
        covered += low <= 0.3 <= high
    assert covered >= binom.ppf(1e-4, runs, 0.95)


@pytest.mark.parametrize("kind", NULLS)
def test_the_level_holds(kind):
    runs, alarms = 120, 0
    rng = np.random.default_rng(2)
    for _ in range(runs):
        rows = null_rows(kind, 90, rng)
        alarms += compare_samples(rows[:70], rows[70:], permutations=39, rng=rng).p <= 0.05
    assert alarms <= binom.ppf(0.9999, runs, 0.05)


def test_edges_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = compare_samples(np.ones((20, 2)), np.ones((10, 2)), permutations=99)
        assert (same.p, same.estimate, same.drifted) == (1.0, 0.0, False)
        assert "Nothing varies" in same.sentence
        missing = compare_samples(np.full((20, 2), np.nan), np.full((10, 2), np.nan), permutations=99)
        assert missing.p == 1.0
        single = compare_samples(normal(20, 2), normal(1, 2, seed=1), permutations=99)
        assert 0 < single.p <= 1
        least = compare_samples([[1.0]], [[2.0]], permutations=99)
        assert least.p == 1.0
        huge = compare_samples(1e300 * normal(30, 2), 1e300 * normal(20, 2, seed=1), permutations=99)
        assert 0 < huge.p <= 1


def test_gaps_of_outputs_count_as_a_change_of_the_outputs():
    outputs, gone = normal(200, 1), normal(100, 1, seed=1)
    gone[:50] = np.nan
    result = compare_samples(
        normal(200, 2), normal(100, 2, seed=3), reference_outputs=outputs, current_outputs=gone, permutations=99
    )
    assert result.features[0].name == "output 0 is missing"


@pytest.mark.parametrize(
    "options",
    [
        {"permutations": 5},
        {"level": 0.0},
        {"confidence": 1.0},
        {"most_rows": 1},
        {"names": ["a"]},
        {"reference_outputs": np.ones(20)},
        {"reference_outputs": np.ones(3), "current_outputs": np.ones(10)},
    ],
)
def test_settings_that_mean_nothing(options):
    with pytest.raises(InvalidInput):
        compare_samples(normal(20, 2), normal(10, 2), **options)


def test_results_repeat_and_large_samples_are_thinned():
    before, after = normal(400, 2), normal(300, 2, seed=1)
    first = compare_samples(before, after, permutations=99, most_rows=100)
    assert first == compare_samples(before, after, permutations=99, most_rows=100)
    assert (first.n_reference, first.n_current) == (100, 100)


@pytest.mark.parametrize("chosen", [2, 40])
def test_permuted_z_values_have_mean_0_and_variance_1(chosen):
    rng = np.random.default_rng(0)
    rows = rng.exponential(size=(80, 2))
    rows = ((rows - rows.mean(axis=0)) / rows.std(axis=0)).astype(np.float32)
    sums = np.concatenate([block["rows"] for block in permuted_sums({"rows": rows}, chosen, 4_000, rng)])
    np.testing.assert_allclose(sums[0], rows[-chosen:].sum(axis=0), rtol=1e-4)
    z = sums * z_scale(80, chosen)
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(4_000)
    assert np.abs(z.std(axis=0) - 1).max() < 0.08


def test_choices_take_the_last_rows_first_and_then_as_many_of_any():
    blocks = np.concatenate(list(choices(10, 3, 50, np.random.default_rng(0))))
    assert blocks.shape == (51, 10)
    assert blocks[0].tolist() == [False] * 7 + [True] * 3
    assert (blocks.sum(axis=1) == 3).all()
    # Every row is chosen about three times of ten.
    counts = blocks[1:].sum(axis=0)
    assert counts.min() >= binom.ppf(1e-5, 50, 0.3)
    assert counts.max() <= binom.ppf(1 - 1e-5, 50, 0.3)


def test_p_values_are_never_0_and_count_ties():
    assert p_values([5.0, 1, 2, 5, 4]).tolist() == [0.4, 1.0, 0.8, 0.4, 0.6]
    assert p_values([9.0, 1, 2, 3])[0] == 0.25


def test_the_smallest_p_costs_less_than_bonferroni():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(1_000, 1))
    statistics = base + 0.1 * rng.normal(size=(1_000, 6))
    statistics[0] = 2.5
    p, each = smallest_p(statistics)
    assert each.min() <= p < 6 * each.min()


def test_the_joint_p_is_uniform_where_nothing_changed():
    # With few choices many tie in their smallest p; the tie-break must leave the joint p exact, not merely valid.
    rng, runs = np.random.default_rng(0), 2_000
    alarms = sum(smallest_p(rng.normal(size=(40, 6)))[0] <= 0.05 for _ in range(runs))
    assert binom.ppf(1e-4, runs, 0.05) <= alarms <= binom.ppf(0.9999, runs, 0.05)
