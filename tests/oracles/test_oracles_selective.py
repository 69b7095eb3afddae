"""Estimates from selective labels against statsmodels' weighted statistics, scikit-learn's weighted metrics and hand
calculations."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk
from statsmodels.regression.linear_model import WLS
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from homeostat.stats.performance.selective import labelling_probability, selective_metrics, weighted_mean


def sampled(seed, rows=5000):
    rng = np.random.default_rng(seed)
    truth = (rng.random(rows) < 0.1).astype(int)
    predicted = (rng.random(rows) < 0.05 + 0.6 * truth).astype(int)
    chance = np.where(predicted == 1, 0.8, 0.1) * rng.uniform(0.5, 1, rows)
    return truth, predicted, rng.random(rows) < chance, chance


@pytest.mark.parametrize("seed", range(3))
def test_hajek_of_statsmodels(seed):
    truth, _, known, chance = sampled(seed)
    loss = np.random.default_rng(seed).gamma(2, 1 + truth)
    found = weighted_mean(loss, known, chance)
    weighted = DescrStatsW(loss[known], 1 / chance[known])
    assert found.estimate == pytest.approx(weighted.mean)
    # The sandwich of a weighted regression on a constant.
    fit = WLS(loss[known], np.ones(known.sum()), 1 / chance[known]).fit(cov_type="HC1")
    assert found.standard_error == pytest.approx(float(fit.bse[0]))
    reference = weighted_mean(loss, known, chance, reference=2.0)
    assert reference.statistic == pytest.approx(float(fit.t_test("const = 2").tvalue.item()))


@pytest.mark.parametrize("seed", range(2))
def test_clustered_sandwich_of_statsmodels(seed):
    truth, _, known, chance = sampled(seed)
    clusters = np.arange(len(truth)) // 10
    found = weighted_mean(truth, known, chance, clusters=clusters)
    fit = WLS(truth[known], np.ones(known.sum()), 1 / chance[known]).fit(
        cov_type="cluster", cov_kwds={"groups": clusters[known], "use_correction": False}
    )
    units = len(np.unique(clusters[known]))
    assert found.standard_error == pytest.approx(float(fit.bse[0]) * math.sqrt(units / (units - 1)))


def test_horvitz_thompson_by_hand():
    # Four rows with chances .5, .5, .25 and 1; the first, third and fourth are labelled 1, 2 and 4.
    known, chance = np.array([True, False, True, True]), np.array([0.5, 0.5, 0.25, 1.0])
    values = np.array([1.0, 99.0, 2.0, 4.0])
    found = weighted_mean(values, known, chance, method="horvitz_thompson", target="window")
    assert found.estimate == pytest.approx((1 / 0.5 + 2 / 0.25 + 4) / 4)
    # Var = Σ (1 − π) (y/π)² / N² over the labelled rows.
    assert found.standard_error == pytest.approx(math.sqrt(0.5 * 2**2 + 0.75 * 8**2) / 4)
    hajek = weighted_mean(values, known, chance)
    assert hajek.estimate == pytest.approx((2 + 8 + 4) / (2 + 4 + 1))
    assert hajek.n_effective == pytest.approx(7**2 / (4 + 16 + 1))


def test_stratified_mean_by_hand():
    # Strata of 60 and 40 rows with means 1 and 5 of what is labelled.
    strata = np.repeat([0, 1], [60, 40])
    known = np.zeros(100, dtype=bool)
    known[[0, 1, 2, 60, 61]] = True
    values = np.zeros(100)
    values[[0, 1, 2, 60, 61]] = [0, 1, 2, 4, 6]
    found = weighted_mean(values, known, np.full(100, 0.05), method="stabilised", strata=strata)
    assert found.estimate == pytest.approx(0.6 * 1 + 0.4 * 5)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_scikit_learn_with_calibrated_weights(seed):
    truth, predicted, known, chance = sampled(seed)
    # Weights that add up to the true number of rows with each decision.
    weights = np.where(known, 1 / chance, 0.0)
    for side in (0, 1):
        weights[predicted == side] *= (predicted == side).sum() / weights[predicted == side].sum()
    arguments = truth[known], predicted[known]
    result = selective_metrics(truth, predicted, known, chance)
    expected = {
        "accuracy": sk.accuracy_score(*arguments, sample_weight=weights[known]),
        "precision": sk.precision_score(*arguments, sample_weight=weights[known]),
        "recall": sk.recall_score(*arguments, sample_weight=weights[known]),
        "f1": sk.f1_score(*arguments, sample_weight=weights[known]),
        "fpr": 1 - sk.recall_score(*arguments, sample_weight=weights[known], pos_label=0),
        "prevalence": float(np.average(truth[known], weights=weights[known])),
    }
    assert {name: result[name].estimate for name in expected} == pytest.approx(expected)
    assert result["recall"].naive == pytest.approx(sk.recall_score(*arguments))


def test_where_all_is_labelled_the_window_is_known_exactly():
    truth, predicted, _, _ = sampled(4)
    everything = np.ones(len(truth), dtype=bool)
    result = selective_metrics(truth, predicted, everything, np.ones(len(truth)), target="window")
    for name, expected in (
        ("recall", sk.recall_score(truth, predicted)),
        ("precision", sk.precision_score(truth, predicted)),
        ("f1", sk.f1_score(truth, predicted)),
        ("accuracy", sk.accuracy_score(truth, predicted)),
    ):
        assert result[name].interval == pytest.approx((expected, expected))


def test_precision_of_equal_chances_has_wilsons_interval():
    truth, predicted, _, _ = sampled(5)
    chance = labelling_probability(predicted == 1, audit_share=0.2, alert_share=0.5)
    known = np.random.default_rng(55).random(len(truth)) < chance
    found = selective_metrics(truth, predicted, known, chance)["precision"]
    rows = known & (predicted == 1)
    expected = proportion_confint(truth[rows].sum(), rows.sum(), method="wilson")
    # The sandwich counts one row less.
    assert found.interval == pytest.approx(expected, abs=1e-3)


def test_manski_bounds_by_hand():
    # 100 alerts, all labelled, 80 of them positive; 900 others, none labelled: recall is 80/(80 + 0 … 900).
    truth, predicted = np.repeat([1, 0, 0], [80, 20, 900]), np.repeat([1, 0], [100, 900])
    known = predicted == 1
    found = selective_metrics(truth, predicted, known, known.astype(float), target="window")
    assert found["recall"].status == "not_identified"
    assert found["recall"].bounds == pytest.approx((80 / 980, 1.0))
    assert found["prevalence"].bounds == pytest.approx((0.08, 0.98))
    assert found["accuracy"].status == "not_identified"
    assert found["precision"].estimate == pytest.approx(0.8)
