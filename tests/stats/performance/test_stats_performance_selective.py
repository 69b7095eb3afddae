"""Metrics from selective labels: right where they are identified, silent where they are not."""

import math

import numpy as np
import pytest
from benchmarks.statistics import selective_labels
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.performance.selective import labelling_probability, selective_metrics, weighted_mean


def draw(seed, *, rows=8000, audit=0.05, alert_share=1.0):
    rng = np.random.default_rng(seed)
    truth = (rng.random(rows) < 0.06).astype(int)
    predicted = (rng.random(rows) < 0.03 + 0.6 * truth).astype(int)
    chance = labelling_probability(predicted == 1, audit_share=audit, alert_share=alert_share)
    return truth, predicted, rng.random(rows) < chance, chance


@pytest.mark.parametrize("audit", [0.01, 0.05])
def test_the_interval_of_recall_covers_and_the_naive_one_flatters(audit):
    runs = 150
    found = selective_labels.measure(audit, runs=runs, rng=1)["recall"]
    true = selective_labels.world().truth["recall"]
    assert found["naive"] > true + 0.25
    assert abs(found["estimate"] - true) < 0.08
    assert found["unidentified"] < 0.02
    assert stats.binom.ppf(1e-4, runs, 0.95) <= found["coverage"] * runs


def test_the_simulation_without_an_audit_identifies_precision_only():
    found = selective_labels.measure(0.0, runs=3, rng=0)
    assert found["recall"]["unidentified"] == found["accuracy"]["unidentified"] == 1
    assert found["precision"]["unidentified"] == 0


def test_all_methods_agree_with_the_truth_and_stabilising_helps():
    true, errors = 0.06, {}
    for method in ("horvitz_thompson", "hajek", "stabilised"):
        found = []
        for seed in range(60):
            truth, predicted, known, chance = draw(seed)
            options = {"strata": predicted} if method == "stabilised" else {}
            found.append(weighted_mean(truth, known, chance, method=method, **options))
        estimates = np.array([one.estimate for one in found])
        assert abs(estimates.mean() - true) < 4 * estimates.std() / math.sqrt(60)
        errors[method] = np.mean([one.standard_error for one in found])
        # The standard error is that of the estimates.
        assert 0.7 < errors[method] / estimates.std() < 1.4
        covered = sum(one.interval[0] <= true <= one.interval[1] for one in found)
        assert covered >= stats.binom.ppf(1e-4, 60, 0.9)
    assert errors["stabilised"] < errors["hajek"]


def test_the_window_needs_a_narrower_interval_than_the_process():
    truth, predicted, known, chance = draw(0, audit=0.5)
    process, window = (
        selective_metrics(truth, predicted, known, chance, target=t)["recall"] for t in ("process", "window")
    )
    assert process.estimate == window.estimate
    assert process.interval[0] < window.interval[0] < window.interval[1] < process.interval[1]


def test_clusters_widen_and_rows_of_their_own_do_not():
    truth, predicted, known, chance = draw(1, rows=3000, audit=0.2)
    plain = selective_metrics(truth, predicted, known, chance)["recall"].interval
    alone = selective_metrics(truth, predicted, known, chance, clusters=np.arange(3000))["recall"].interval
    assert alone == pytest.approx(plain, abs=0.01)
    repeated = [np.repeat(part, 4) for part in (truth, predicted, known, chance)]
    naive = selective_metrics(*repeated)["recall"].interval
    clustered = selective_metrics(*repeated, clusters=np.repeat(np.arange(3000), 4))["recall"].interval
    assert clustered == pytest.approx(plain, abs=0.01)
    assert naive[1] - naive[0] < 0.6 * (clustered[1] - clustered[0])


def test_an_audit_that_found_no_missed_row_says_so_with_a_wide_interval():
    truth, predicted = np.repeat([1, 0], [60, 5940]), np.repeat([1, 0], [100, 5900])
    chance = labelling_probability(predicted == 1, audit_share=0.02)
    known = predicted == 1
    known[100:218] = True
    recall = selective_metrics(truth, predicted, known, chance)["recall"]
    assert recall.estimate == 1
    assert recall.interval[0] < 0.4
    # A rule of thumb: none of 118 means up to 3.1 % of all, by Wilson's limit.
    miss = 1.96**2 / (118 + 1.96**2)
    assert recall.interval[0] == pytest.approx(60 / (60 + miss * 5900), abs=0.02)


def test_nothing_is_identified_without_a_chance_of_being_labelled():
    truth, predicted, _, _ = draw(2)
    known = predicted == 1
    result = selective_metrics(truth, predicted, known, known.astype(float))
    for name in ("recall", "fpr", "f1", "accuracy", "prevalence"):
        metric = result[name]
        assert metric.status == "not_identified"
        assert math.isnan(metric.estimate)
        assert "no chance of being labelled" in metric.reason
        assert metric.bounds[0] <= metric.naive <= metric.bounds[1] or name in {"prevalence", "accuracy", "fpr", "f1"}
    assert result["precision"].status == "identified"
    low, high = result["recall"].bounds
    assert low < 0.1
    assert high == 1
    assert result.positivity[1].without_chance == (predicted == 0).sum()
    assert result.mean_loss is None


def test_bounds_hold_the_truth_when_a_part_is_hidden():
    held = 0
    for seed in range(40):
        truth, predicted, known, chance = draw(seed, audit=0.2)
        hidden = np.random.default_rng(seed + 1000).random(len(truth)) < 0.1
        chance, known = np.where(hidden & (predicted == 0), 0.0, chance), known & ~(hidden & (predicted == 0))
        metric = selective_metrics(truth, predicted, known, chance, target="window")["prevalence"]
        assert metric.status == "not_identified"
        held += metric.bounds[0] <= truth.mean() <= metric.bounds[1]
    assert held >= stats.binom.ppf(1e-4, 40, 0.95)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda known, chance: (known & (chance > 0.5), chance), "none of the"),
        (lambda known, chance: (known & (np.arange(len(known)) % 3 == 0), chance), "logged probabilities"),
        (
            lambda known, chance: (
                known & ((chance > 0.5) | (np.arange(len(known)) < 400)),
                np.where(chance > 0.5, chance, chance / 20),
            ),
            "tell only as",
        ),
        (lambda known, chance: (np.zeros(len(known), dtype=bool), chance), "none of the"),
    ],
)
def test_too_few_or_unplanned_labels_identify_nothing(change, reason):
    truth, predicted, known, chance = draw(3, alert_share=0.8)
    known, chance = change(known, np.array(chance))
    recall = selective_metrics(truth, predicted, known, chance)["recall"]
    assert recall.status == "not_identified"
    assert reason in recall.reason


def test_labels_without_a_plan_are_counted_but_not_weighed():
    truth, predicted, known, chance = draw(4)
    chance = np.where(np.arange(len(truth)) < 50, 0.0, chance)
    known[:10] = True
    found = selective_metrics(truth, predicted, known, chance).positivity
    assert sum(side.unplanned for side in found) >= 10


def test_windows_with_nothing_to_tell():
    nothing = np.zeros(0)
    empty = selective_metrics(nothing, nothing, nothing.astype(bool), nothing)
    assert empty["recall"].reason == "the window has no rows"
    negative = np.zeros(500, dtype=int)
    everything = np.ones(500, dtype=bool)
    result = selective_metrics(negative, negative, everything, np.ones(500))
    assert result["precision"].status == result["recall"].status == "not_identified"
    assert result["accuracy"].estimate == 1
    assert result["fpr"].estimate == 0
    alone = weighted_mean(np.array([1.0]), np.array([True]), np.array([1.0]))
    assert math.isnan(alone.estimate)
    one_cluster = weighted_mean(np.arange(5.0), np.ones(5, dtype=bool), np.ones(5), clusters=np.zeros(5))
    assert math.isnan(one_cluster.estimate)


def test_a_reference_is_tested():
    truth, predicted, known, chance = draw(5)
    recall = selective_metrics(truth, predicted, known, chance)["recall"]
    edge = selective_metrics(truth, predicted, known, chance, reference={"recall": recall.interval[0]})["recall"]
    assert edge.p == pytest.approx(0.05, abs=1e-6)
    far = selective_metrics(truth, predicted, known, chance, reference={"recall": 0.99})["recall"]
    assert far.p < 0.001
    assert far.statistic < 0
    assert "p = " in far.sentence


def test_mean_loss_comes_with_the_metrics():
    truth, predicted, known, chance = draw(6)
    loss = np.where(known, (truth != predicted).astype(float), np.nan)
    result = selective_metrics(truth, predicted, known, chance, losses=loss)
    assert result.mean_loss.estimate == pytest.approx(1 - result["accuracy"].estimate)


def test_input_that_means_nothing_is_refused():
    truth, predicted, known, chance = draw(7, rows=200)
    for wrong, words in (
        ((truth[:5], predicted, known, chance), "truth must have one entry"),
        ((truth, predicted[:5], known, chance), "predictions must have one entry"),
        ((truth, predicted, known.astype(int), chance), "booleans"),
        ((truth, predicted, known, chance[:5]), "probability"),
        ((truth, predicted, known, chance * 9), "between 0 and 1"),
        ((truth, predicted, known, np.where(known, np.nan, chance)), "none may be missing"),
        ((np.full(200, np.nan), predicted, known, chance), "class code"),
        ((truth, np.array(["a"] * 200), known, chance), "class code"),
    ):
        with pytest.raises(InvalidInput, match=words):
            selective_metrics(*wrong)
    good = (truth, predicted, known, chance)
    for options, words in (
        ({"confidence": 1.0}, "confidence"),
        ({"target": "year"}, "target"),
        ({"clusters": np.zeros(3)}, "clusters must have"),
        ({"clusters": np.zeros(200), "target": "window"}, "drop either"),
        ({"min_effective": 1}, "At least 2"),
    ):
        with pytest.raises(InvalidInput, match=words):
            selective_metrics(*good, **options)
    with pytest.raises(InvalidInput, match="not identified"):
        weighted_mean(truth, known, np.where(known, chance, 0.0))
    with pytest.raises(InvalidInput, match="Unknown method"):
        weighted_mean(truth, known, chance, method="best")
    with pytest.raises(InvalidInput, match="no labelled row"):
        weighted_mean(truth, known, chance, method="stabilised", strata=known)
    with pytest.raises(InvalidInput, match="finite"):
        weighted_mean(np.full(200, np.inf), known, chance)
    with pytest.raises(InvalidInput, match="audit share"):
        labelling_probability(known, audit_share=2)
    with pytest.raises(InvalidInput, match="booleans"):
        labelling_probability(chance, audit_share=0.1)
