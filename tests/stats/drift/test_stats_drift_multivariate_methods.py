"""The domain classifier, MMD and reconstruction error: effects, intervals, levels and edges."""

import warnings

import numpy as np
import pytest
from benchmarks.statistics.drift_power import NULLS, null_rows
from scipy.stats import binom

from homeostat.errors import InvalidInput
from homeostat.stats.drift.multivariate import domain_classifier, mmd, pca_reconstruction

METHODS = {
    "classifier": lambda *rows, **options: domain_classifier(*rows, **{"permutations": 19, **options}),
    "mmd": lambda *rows, **options: mmd(*rows, **{"permutations": 39, **options}),
    "reconstruction": lambda *rows, **options: pca_reconstruction(*rows, **{"permutations": 39, **options}),
}


def normal(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


@pytest.mark.parametrize("kind", NULLS)
@pytest.mark.parametrize("name", METHODS)
def test_the_level_holds(name, kind):
    runs, alarms = 25, 0
    rng = np.random.default_rng(1)
    for _ in range(runs):
        rows = null_rows(kind, 90, rng)
        alarms += METHODS[name](rows[:60], rows[60:], rng=rng).p <= 0.05
    assert alarms <= binom.ppf(0.9999, runs, 0.05)


@pytest.mark.parametrize("name", METHODS)
def test_constant_and_missing_rows_tell_nothing_and_warn_of_nothing(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rows in (np.ones((30, 3)), np.full((30, 3), np.nan)):
            result = METHODS[name](rows, rows[:15])
            assert result.p == 1.0
            assert result.sentence
        assert 0 < METHODS[name](1e300 * normal(30, 2), 1e300 * normal(20, 2, seed=1)).p <= 1


@pytest.mark.parametrize("name", METHODS)
def test_bad_input_is_refused(name):
    method = METHODS[name]
    for rows in (np.ones((0, 2)), np.full((30, 2), np.inf), normal(30, 3)):
        with pytest.raises(InvalidInput):
            method(rows, normal(30, 2))
    with pytest.raises(InvalidInput):
        method(normal(30, 2), normal(1, 2))
    for options in ({"permutations": 3}, {"confidence": 0.0}, {"most_rows": 1}):
        with pytest.raises(InvalidInput):
            method(normal(30, 2), normal(30, 2), **options)


@pytest.mark.parametrize("name", METHODS)
def test_large_samples_are_thinned(name):
    result = METHODS[name](normal(300, 2), normal(300, 2, seed=1), most_rows=40)
    assert result.n_current == 40


def test_the_classifier_names_what_changed():
    before, after = normal(300, 12), normal(300, 12, seed=1)
    after[:, 4] += 1
    result = domain_classifier(before, after, names=[f"x{k}" for k in range(12)], permutations=39)
    assert result.culprits[0].name == "x4"
    assert result.culprits[0].importance > 5 * max(abs(one.importance) for one in result.culprits[1:])
    assert "'x4'" in result.sentence
    # The best possible AUC of a shift by one standard deviation is Φ(1/√2) = .76.
    assert 0.70 < result.estimate < 0.80
    assert result.interval[0] < 0.76 < result.interval[1]


def test_the_classifier_sees_scale_and_correlation():
    wide, narrow = 2 * normal(200, 3), normal(200, 3, seed=1)
    assert domain_classifier(wide, narrow, permutations=39).p == 0.025
    turned = normal(200, 2, seed=2)
    turned[:, 1] = 0.9 * turned[:, 0] + np.sqrt(1 - 0.81) * turned[:, 1]
    assert domain_classifier(normal(200, 2), turned, permutations=39).p == 0.025


def test_a_gappy_features_columns_count_as_one_culprit():
    before, after = normal(200, 2), normal(200, 2, seed=1)
    after[:100, 1] = np.nan
    result = domain_classifier(before, after, permutations=19)
    assert [one.name for one in result.culprits] == ["feature 1", "feature 0"]


def test_full_separation_still_has_an_interval():
    low, high = domain_classifier(normal(30, 1), normal(30, 1) + 100, permutations=19).interval
    assert 0.7 < low < high == 1


def test_the_classifiers_folds_are_checked():
    with pytest.raises(InvalidInput, match="folds"):
        domain_classifier(normal(30, 2), normal(30, 2), folds=1)
    with pytest.raises(InvalidInput, match="at least 10 rows"):
        domain_classifier(normal(30, 2), normal(9, 2))


def test_mmd_sees_what_margins_hide():
    before = normal(150, 2)
    after = normal(150, 1, seed=1) * np.ones(2)
    result = mmd(before, after, permutations=99)
    assert result.p == 0.01
    assert result.interval[0] <= result.estimate <= result.interval[1]
    assert result.deciding_width in result.widths
    assert "99" not in result.sentence
    assert "p = 0.01" in result.sentence


def test_several_widths_see_what_one_misses():
    rng = np.random.default_rng(0)
    # Many narrow peaks against one broad hill of the same shape at large.
    before = rng.normal(size=(250, 1)) * 10
    after = np.round(rng.normal(size=(250, 1)) * 5) * 2 + 0.05 * rng.normal(size=(250, 1))
    one = mmd(before, after, widths=(1.0,), permutations=199)
    many = mmd(before, after, widths=(0.01, 0.1, 1.0), permutations=199)
    assert many.p <= 0.01 < one.p


def test_mmd_of_one_distribution_is_near_0_and_its_interval_covers_it():
    runs, covered, total = 50, 0, 0.0
    rng = np.random.default_rng(3)
    for _ in range(runs):
        result = mmd(rng.normal(size=(60, 2)), rng.normal(size=(40, 2)), permutations=39, rng=rng)
        covered += result.interval[0] <= 0 <= result.interval[1]
        total += result.estimate
    assert covered >= binom.ppf(1e-4, runs, 0.95)
    assert abs(total / runs) < 0.005


def test_mmds_widths_are_checked():
    for widths in ((), (0.0,), (float("nan"),)):
        with pytest.raises(InvalidInput, match="Widths"):
            mmd(normal(10, 2), normal(10, 2), widths=widths)


def test_reconstruction_sees_a_broken_relation_and_not_a_shift_along_it():
    rng = np.random.default_rng(0)
    line = rng.normal(size=(400, 1)) @ np.ones((1, 3)) + 0.2 * rng.normal(size=(400, 3))
    along = (rng.normal(size=(150, 1)) + 3) @ np.ones((1, 3)) + 0.2 * rng.normal(size=(150, 3))
    apart = rng.normal(size=(150, 3))
    broken = pca_reconstruction(line, apart, permutations=99)
    assert (broken.p, broken.components, broken.n_reference) == (0.01, 1, 200)
    assert broken.interval[0] > 1
    kept = pca_reconstruction(line, along, permutations=99)
    assert kept.p > 0.01
    assert kept.interval[0] < 0.5


def test_reconstruction_of_the_rows_that_fitted_it_would_alarm():
    # With more features than rows of the fitting half the errors in sample are 0 and those of new rows are not.
    runs, alarms = 40, 0
    rng = np.random.default_rng(5)
    for _ in range(runs):
        rows = rng.normal(size=(60, 30))
        alarms += pca_reconstruction(rows[:40], rows[40:], permutations=39, rng=rng).p <= 0.05
    assert alarms <= binom.ppf(0.9999, runs, 0.05)


def test_reconstructions_share_is_checked():
    with pytest.raises(InvalidInput, match="share"):
        pca_reconstruction(normal(30, 2), normal(30, 2), explained=1.0)
