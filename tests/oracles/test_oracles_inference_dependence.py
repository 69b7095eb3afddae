"""Dependent rows, covariates and areas under the curve against statsmodels, published tables and definitions."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import OLS
from statsmodels.tsa.stattools import acf

from homeostat.stats.inference import (
    autocorrelation,
    clustered_difference,
    cuped,
    delong,
    design_effect,
    intraclass_correlation,
    newey_west_error,
)


def test_cluster_robust_error_of_ols():
    rng = np.random.default_rng(8)
    owner = rng.integers(0, 40, 600)
    arm = (owner % 2).astype(float)
    y = rng.normal(size=40)[owner] + rng.normal(size=600) + 0.3 * arm
    design = np.column_stack([np.ones(600), arm])
    fit = OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": owner}, use_t=True)
    chosen = arm == 1
    result = clustered_difference(y[~chosen], owner[~chosen], y[chosen], owner[chosen], correction="cr1")
    assert (result.estimate, result.error) == (pytest.approx(fit.params[1]), pytest.approx(fit.bse[1]))
    assert (result.df, result.p) == (len(np.unique(owner)) - 1, pytest.approx(fit.pvalues[1]))
    crossed = rng.random(600) < 0.5
    design = np.column_stack([np.ones(600), crossed.astype(float)])
    fit = OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": owner}, use_t=True)
    result = clustered_difference(y[~crossed], owner[~crossed], y[crossed], owner[crossed], correction="cr1")
    assert (result.error, result.p) == (pytest.approx(fit.bse[1]), pytest.approx(fit.pvalues[1]))


def test_one_row_an_entity_is_welch():
    rng = np.random.default_rng(12)
    one, two = rng.normal(1.0, 1.0, 31), rng.normal(1.5, 2.0, 44)
    expected = stats.ttest_ind(two, one, equal_var=False)
    result = clustered_difference(one, np.arange(31), two, np.arange(31, 75))
    assert (result.statistic, result.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert result.design_effect == pytest.approx(1.0)


def test_intraclass_correlation_of_shrout_and_fleiss():
    # Shrout and Fleiss 1979, table 2: six targets, four judges, ICC(1,1) = .17; mean squares 11.24 and 6.26.
    ratings = [9, 2, 5, 8, 6, 1, 3, 2, 8, 4, 6, 8, 7, 1, 2, 6, 10, 5, 6, 9, 6, 2, 4, 7]
    assert intraclass_correlation(ratings, np.repeat(np.arange(6), 4)) == pytest.approx(0.17, abs=5e-3)
    # Kish 1965: 1 + (m − 1)ρ.
    assert design_effect([20] * 5, 0.05) == pytest.approx(1.95)


def test_newey_west_and_autocorrelation_of_statsmodels():
    walk = np.cumsum(np.random.default_rng(2).normal(size=300)) * 0.1
    fit = OLS(walk, np.ones(300)).fit(cov_type="HAC", cov_kwds={"maxlags": 7})
    assert newey_west_error(walk, 7) == pytest.approx(fit.bse[0])
    assert autocorrelation(walk, 5) == pytest.approx(acf(walk, nlags=5)[1:])


def test_cuped_is_regression_on_the_covariate():
    rng = np.random.default_rng(6)
    before = rng.normal(size=800)
    arm = np.repeat([0.0, 1.0], 400)
    y = 2 * before + 0.2 * arm + rng.normal(size=800)
    result = cuped(y[:400], before[:400], y[400:], before[400:])
    fit = OLS(y, np.column_stack([np.ones(800), arm, before])).fit(cov_type="HC1")
    assert result.theta == pytest.approx(fit.params[2], rel=1e-3)
    assert (result.estimate, result.error) == pytest.approx((fit.params[1], fit.bse[1]), rel=1e-2)
    # Deng et al. 2013: the variance that is left is 1 − ρ².
    assert result.variance_reduction == pytest.approx(np.corrcoef(y, before)[0, 1] ** 2, abs=0.01)


def test_delong_by_its_definition():
    """The covariance of the structural components, written out pair by pair."""
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1], [35, 25])
    scores = [np.round(rng.normal(size=60) + shift * truth, 1) for shift in (0.7, 1.3)]
    v10, v01, areas = [], [], []
    for score in scores:
        high, low = score[truth == 1][:, None], score[truth == 0]
        kernel = (high > low) + 0.5 * (high == low)
        v10.append(kernel.mean(axis=1))
        v01.append(kernel.mean(axis=0))
        areas.append(kernel.mean())
    covariance = np.cov(v10) / 25 + np.cov(v01) / 35
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    result = delong(truth, *scores)
    assert (result.estimate, result.error) == (pytest.approx(areas[1] - areas[0]), pytest.approx(error))
    assert result.p == pytest.approx(2 * stats.norm.sf(abs(areas[1] - areas[0]) / error))
