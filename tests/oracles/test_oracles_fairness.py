"""Gaps and group metrics against fairlearn and statsmodels, on generated data and on data bundled with scikit-learn."""

import math

import numpy as np
import pytest
from fairlearn import metrics as fair
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, precision_score
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from homeostat.stats.fairness import (
    batch_counts,
    demographic_parity,
    equal_opportunity,
    equalized_odds,
    fairness_gaps,
    group_metrics,
    predictive_parity,
)


def generated(seed, groups, rows=4000):
    rng = np.random.default_rng(seed)
    group = rng.choice(groups, rows)
    truth = (rng.random(rows) < 0.3 + 0.05 * group).astype(int)
    predicted = (rng.random(rows) < 0.15 + 0.5 * truth + 0.04 * group).astype(int)
    return truth, predicted, group.astype(str)


def breast_cancer():
    data = load_breast_cancer()
    features = data.data[:, :1]
    model = LogisticRegression().fit(features, data.target)
    group = np.where(data.data[:, 1] > np.median(data.data[:, 1]), "rough", "smooth")
    return data.target, model.predict(features), group


def wine():
    data = load_wine()
    features = data.data[:, [1]]
    truth = (data.target == 1).astype(int)
    model = LogisticRegression().fit(features, truth)
    return truth, model.predict(features), np.digitize(data.data[:, 0], [12.6, 13.4]).astype(str)


TABLES = {
    "two groups": generated(0, 2),
    "three groups": generated(1, 3),
    "six groups": generated(2, 6),
    "breast cancer": breast_cancer(),
    "wine": wine(),
}


@pytest.mark.parametrize("name", TABLES)
def test_gaps_of_fairlearn(name):
    truth, predicted, groups = TABLES[name]
    # fairlearn has no least size of a group.
    options = {"min_size": 1}
    found = demographic_parity(predicted, groups, **options)
    expected = fair.demographic_parity_difference(truth, predicted, sensitive_features=groups)
    assert found.estimate == pytest.approx(expected, abs=1e-12)
    expected = fair.demographic_parity_ratio(truth, predicted, sensitive_features=groups)
    assert found.ratio == pytest.approx(expected, abs=1e-12)
    found = equalized_odds(truth, predicted, groups, **options)
    expected = fair.equalized_odds_difference(truth, predicted, sensitive_features=groups)
    assert found.estimate == pytest.approx(expected, abs=1e-12)
    expected = fair.equalized_odds_ratio(truth, predicted, sensitive_features=groups)
    assert found.ratio == pytest.approx(expected, abs=1e-12)
    found = equal_opportunity(truth, predicted, groups, **options)
    expected = fair.equal_opportunity_difference(truth, predicted, sensitive_features=groups)
    assert found.estimate == pytest.approx(expected, abs=1e-12)
    expected = fair.equal_opportunity_ratio(truth, predicted, sensitive_features=groups)
    assert found.ratio == pytest.approx(expected, abs=1e-12)
    frame = fair.MetricFrame(metrics=precision_score, y_true=truth, y_pred=predicted, sensitive_features=groups)
    found = predictive_parity(truth, predicted, groups, **options)
    assert found.estimate == pytest.approx(frame.difference(), abs=1e-12)
    assert (found.lowest, found.highest) == (frame.by_group.idxmin(), frame.by_group.idxmax())


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("metric", "function"),
    [
        ("selection_rate", fair.selection_rate),
        ("tpr", fair.true_positive_rate),
        ("fpr", fair.false_positive_rate),
        ("precision", precision_score),
        ("accuracy", accuracy_score),
    ],
)
def test_group_metrics_of_fairlearn(name, metric, function):
    truth, predicted, groups = TABLES[name]
    frame = fair.MetricFrame(metrics=function, y_true=truth, y_pred=predicted, sensitive_features=groups)
    found = {one.group: one.estimate for one in group_metrics(predicted, groups, truth, metric=metric)}
    assert found == pytest.approx(frame.by_group.to_dict(), abs=1e-12)


def test_group_intervals_of_statsmodels():
    truth, predicted, groups = TABLES["six groups"]
    for one in group_metrics(predicted, groups, truth, metric="tpr", confidence=0.9):
        assert one.interval == pytest.approx(proportion_confint(one.successes, one.n, alpha=0.1, method="wilson"))


def test_the_interval_of_two_groups_is_newcombes_of_statsmodels():
    truth, predicted, groups = TABLES["two groups"]
    found = equal_opportunity(truth, predicted, groups)
    high, low = sorted(found.groups, key=lambda one: -one.estimate)
    expected = confint_proportions_2indep(
        high.successes, high.n, low.successes, low.n, method="newcomb", compare="diff"
    )
    assert found.interval == pytest.approx(expected, abs=1e-9)


def test_the_quantile_of_several_groups_is_tukeys():
    # Published table of the studentised range: q(.05; 5, ∞) = 3.858, q(.05; 3, ∞) = 3.314.
    for k, q in ((5, 3.858), (3, 3.314)):
        predicted = np.tile([1, 0], 200 * k)
        found = demographic_parity(predicted, np.repeat(np.arange(k), 400))
        # Equal shares of a half: Wilson's half width is z / (2 √(n + z²)), and both sides add up as √2 of it.
        z = q / math.sqrt(2)
        assert found.interval[1] == pytest.approx(math.sqrt(2) * z / (2 * math.sqrt(400 + z * z)), abs=1e-4)
        assert stats.studentized_range.sf(q, k, np.inf) == pytest.approx(0.05, abs=5e-5)


def test_the_p_value_is_that_at_which_the_interval_reaches_the_tolerance():
    _, predicted, groups = TABLES["six groups"]
    for tolerance in (0.0, 0.05, 0.15):
        found = fairness_gaps(predicted, groups, metrics=["demographic_parity"], tolerance=tolerance)[0]
        if found.p < 1e-8:
            continue
        again = demographic_parity(predicted, groups, confidence=1 - found.p)
        assert again.interval[0] == pytest.approx(tolerance, abs=1e-4)


def test_counts_by_batch_add_up_to_fairlearns_rates():
    truth, predicted, groups = TABLES["three groups"]
    batches = np.arange(len(truth)) // 400
    done, rows, names = batch_counts(predicted, groups, batches, truth, metric="fpr")
    frame = fair.MetricFrame(
        metrics=fair.false_positive_rate, y_true=truth, y_pred=predicted, sensitive_features=groups
    )
    assert dict(zip(names, done.sum(axis=0) / rows.sum(axis=0), strict=True)) == pytest.approx(frame.by_group.to_dict())
