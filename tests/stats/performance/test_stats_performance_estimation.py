"""Performance without labels: coverage, what each method sees, and when an estimate must not be acted on."""

import math

import numpy as np
import pytest
from benchmarks.statistics.label_free import audits, coverage, draw, refused
from scipy.stats import binom

from homeostat.errors import InvalidInput
from homeostat.stats.performance import classification_metrics, estimate_performance, fit_estimator
from homeostat.stats.performance.estimation.chances import fit_chances
from homeostat.stats.performance.estimation.shift import density_ratio


def regression(rng, n, *, hard=0.5):
    """A predictor whose error is five times as large on hard rows."""
    difficult = (rng.random(n) < hard).astype(float)
    truth = rng.normal(0, 3, n)
    return difficult[:, None], truth, truth + rng.normal(0, 1, n) * (1 + 4 * difficult)


def test_intervals_hold_what_the_labels_show_later():
    runs = 60
    for name, (bias, _, inside) in coverage("none", runs=runs, reference=2_000).items():
        assert inside * runs >= binom.ppf(0.0001, runs, 0.95), name
        assert abs(bias) < 0.01, name


def test_features_mend_what_the_score_does_not_tell_of():
    blind = coverage("covariate", runs=3, reference=2_000)["accuracy"]
    seeing = coverage("covariate", runs=3, reference=2_000, method="importance_weighted")["accuracy"]
    assert abs(seeing[0]) < 0.5 * abs(blind[0])
    assert blind[2] <= 0.5 < seeing[2]


def test_concept_drift_is_invisible_and_every_sentence_says_so():
    assert coverage("concept", runs=10)["accuracy"][0] > 0.03
    rng = np.random.default_rng(0)
    _, scores, predicted, truth = draw("none", 500, rng)
    result = estimate_performance(truth, predicted, predicted, task="binary", reference_scores=scores, scores=scores)
    assert all("concept drift" in metric.sentence for metric in result.metrics.values())
    assert "concept drift" in result.sentence
    by_loss = estimate_performance(truth + 0.1 * scores, predicted, predicted, task="regression")
    assert all("concept drift" in metric.sentence for metric in by_loss.metrics.values())


def test_on_the_reference_itself_the_estimate_is_the_realised_metric():
    rng = np.random.default_rng(1)
    _, scores, predicted, truth = draw("none", 1_000, rng)
    metrics = fit_estimator(truth, predicted, task="binary", scores=scores).estimate(predicted, scores=scores).metrics
    shown = classification_metrics(truth.astype(int), predicted.astype(int), classes=2, positive=1, scores=scores)
    for name in ("accuracy", "roc_auc", "f1", "precision", "recall", "tp", "fp", "fn", "tn"):
        assert metrics[name].estimate == pytest.approx(shown[name]), name
    assert metrics["specificity"].estimate == pytest.approx(1 - shown["fpr"])
    counts = [metrics[name].estimate for name in ("tp", "fp", "fn", "tn")]
    assert sum(counts) == pytest.approx(1_000)


def test_a_small_reference_by_hand():
    # Isotonic blocks: 0.1 → 0; 0.4, 0.6 → ½; 0.9 → 1. A score of 0.25 lies halfway between 0 and ½.
    fitted = fit_chances(np.array([[0.1], [0.4], [0.6], [0.9]]), np.array([[0.0], [1.0], [0.0], [1.0]]))
    assert fitted.chances(np.array([[0.25], [0.5], [0.75], [2.0]])).ravel() == pytest.approx([0.25, 0.5, 0.75, 1.0])
    # The middle block has residuals ±½; a metric with slope 1 at score 0.5 has variance 2 · (½ · ½)² = ⅛.
    middle = fitted.reference_variance(np.array([[0.5]]), np.array([[1.0]]))
    assert middle == pytest.approx(1 / 8)
    # Blocks of one row and one class: half a row stands in, ¼ · ¾.
    assert fitted.reference_variance(np.array([[0.1]]), np.array([[1.0]])) == pytest.approx(3 / 16)


def test_several_classes():
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(30):
        sets = []
        for n in (2_000, 500):
            scores = rng.dirichlet(np.ones(3), n)
            heated = scores**1.5 / (scores**1.5).sum(axis=1, keepdims=True)
            truth = (heated.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)
            sets.append((truth, scores.argmax(axis=1), scores))
        (truth, chosen, scores), (later, picked, shown) = sets
        result = fit_estimator(truth, chosen, task="multiclass", scores=scores).estimate(picked, scores=shown)
        low, high = result.metrics["accuracy"].interval
        inside.append(low <= (later == picked).mean() <= high)
        assert set(result.metrics) == {"accuracy", "f1_macro", "roc_auc_macro"}
        assert result.actionable
    assert sum(inside) >= binom.ppf(0.0001, 30, 0.95)


def test_direct_loss_estimation_follows_the_mix_of_rows():
    rng = np.random.default_rng(3)
    features, truth, predicted = regression(rng, 1_500)
    estimator = fit_estimator(truth, predicted, task="regression", features=features)
    assert estimator.check.holds
    runs, held = 25, 0
    for _ in range(runs):
        later, real, guess = regression(rng, 400, hard=0.9)
        result = estimator.estimate(guess, features=later)
        low, high = result.metrics["mae"].interval
        shown = np.abs(guess - real).mean()
        held += low <= shown <= high
        assert result.metrics["mae"].estimate > 3
    assert held >= binom.ppf(0.0001, runs, 0.93)
    assert result.metrics["rmse"].estimate == pytest.approx(math.sqrt(result.metrics["mse"].estimate))


def test_weights_find_a_shift_and_none_where_there_is_none():
    rng = np.random.default_rng(4)
    same = density_ratio(rng.normal(size=(2_000, 2)), rng.normal(size=(1_000, 2)))
    assert not same.shifted
    moved = density_ratio(rng.normal(size=(2_000, 2)), rng.normal(size=(1_000, 2)) + 0.7)
    assert moved.shifted
    assert moved.effective_rows < same.effective_rows
    assert moved.weights.mean() == pytest.approx(1.0)


def test_auto_weighs_only_where_the_window_shifted_and_overlaps():
    rng = np.random.default_rng(5)
    features, scores, predicted, truth = draw("none", 3_000, rng)
    estimator = fit_estimator(truth, predicted, task="binary", scores=scores, features=features)
    methods = {}
    for shift in ("none", "covariate"):
        window, shown, guess, _ = draw(shift, 1_000, rng)
        methods[shift] = estimator.estimate(guess, scores=shown, features=window).method
    assert methods == {"none": "cbpe", "covariate": "importance_weighted"}
    far = estimator.estimate(guess, scores=shown, features=window + 6)
    assert (far.method, far.covered, far.actionable) == ("cbpe", False, False)
    assert "rows' worth like this window" in far.sentence


def test_a_reference_that_changes_within_itself_is_not_calibrated():
    calm, changed = refused(runs=20)
    assert calm <= 0.1
    assert changed >= 0.25
    rng = np.random.default_rng(6)
    parts = [draw("none", 1_500, rng), draw("concept", 1_500, rng)]
    _, scores, predicted, truth = (np.concatenate(both) for both in zip(*parts, strict=True))
    truth[2_400:] = 1 - truth[2_400:]
    result = fit_estimator(truth, predicted, task="binary", scores=scores).estimate(predicted, scores=scores)
    assert (result.calibrated, result.actionable) == (False, False)
    assert "does not hold on the reference" in result.check.sentence
    assert "must not be acted on" in result.sentence


def test_a_failed_audit_forbids_acting():
    rng = np.random.default_rng(7)
    _, scores, predicted, truth = draw("none", 1_000, rng)
    estimator = fit_estimator(truth, predicted, task="binary", scores=scores)
    statuses = ("trusted", "not_audited", "failing")
    found = [estimator.estimate(predicted, scores=scores, audit=status).actionable for status in statuses]
    assert found == [True, True, False]


def test_audits_of_right_estimates_rarely_fail_and_of_wrong_ones_soon():
    runs = 20
    calm = audits("none", runs=runs, windows=15, reference=1_000, rows=300)
    assert sum(at is not None for at in calm) <= binom.ppf(0.9999, runs, 0.05)
    drifted = audits("concept", runs=10, windows=12, rows=800)
    assert np.median([at if at is not None else math.inf for at in drifted]) <= 6


def test_a_window_without_positives_says_what_it_cannot_tell():
    labels = np.tile([0.0, 1.0], 100)
    scores = np.where(labels == 1, 0.9, 0.1)
    result = fit_estimator(labels, labels, task="binary", scores=scores).estimate([0, 0], scores=[0.1, 0.1])
    assert math.isnan(result.metrics["precision"].estimate)
    assert math.isnan(result.metrics["roc_auc"].estimate)
    assert "can't be estimated" in result.metrics["roc_auc"].sentence
    assert result.metrics["accuracy"].estimate == 1.0
    low, high = result.metrics["accuracy"].interval
    assert low < 1.0 == high
    several = fit_estimator(np.tile([0, 1], 60), np.tile([0, 1], 60), task="multiclass", scores=np.eye(3)[[0, 1] * 60])
    assert several.estimate([2], scores=[[0.0, 0.0, 1.0]]).metrics["accuracy"].n == 1


def test_what_no_label_can_move_is_exact():
    rng = np.random.default_rng(8)
    _, scores, predicted, truth = draw("none", 500, rng)
    estimator = fit_estimator(truth, predicted, task="binary", scores=scores)
    found = estimator.estimate(np.ones(20), scores=np.full(20, 0.6)).metrics
    assert (found["recall"].estimate, found["specificity"].estimate) == (1.0, 0.0)
    assert found["roc_auc"].estimate == pytest.approx(0.5)


ROWS = np.tile([0.0, 1.0], 60)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit_estimator([0, 1], [0, 1], task="binary", scores=[0.1, 0.9]), "at least 100"),
        (lambda: fit_estimator(ROWS, ROWS, task="ranking", scores=ROWS), "no task"),
        (lambda: fit_estimator(ROWS, ROWS, task="binary", scores=ROWS, method="dle"), "not one for binary"),
        (lambda: fit_estimator(ROWS, ROWS, task="binary"), "Scores of the reference"),
        (lambda: fit_estimator(ROWS * 0, ROWS, task="binary", scores=ROWS), "one class"),
        (lambda: fit_estimator(ROWS, ROWS[1:], task="binary", scores=ROWS), "120 rows"),
        (
            lambda: fit_estimator(ROWS, ROWS, task="binary", scores=ROWS, method="importance_weighted"),
            "needs the features",
        ),
        (lambda: fit_estimator(ROWS, ROWS, task="binary", scores=ROWS, features=[["a"]] * 120), "encode categories"),
        (lambda: fit_estimator(ROWS, ROWS, task="multiclass", scores=ROWS), "one column a class"),
        (lambda: fit_estimator(ROWS, ROWS, task="regression", features=np.full((120, 1), np.inf)), "infinite"),
    ],
)
def test_bad_references_are_refused_in_words(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"predictions": [1], "scores": None}, "Scores of the window"),
        ({"predictions": [1, 0], "scores": [0.5]}, "1 rows"),
        ({"predictions": [], "scores": []}, "no scores"),
        ({"predictions": [0.5], "scores": [0.5]}, "0 or 1"),
        ({"predictions": [1], "scores": [math.nan]}, "missing"),
        ({"predictions": [1], "scores": [0.5], "features": [[1.0]]}, "no features"),
        ({"predictions": [1], "scores": [0.5], "audit": "fine"}, "no audit status"),
        ({"predictions": [1], "scores": [0.5], "confidence": 95}, "between 0 and 1"),
    ],
)
def test_bad_windows_are_refused_in_words(arguments, words):
    estimator = fit_estimator(ROWS, ROWS, task="binary", scores=ROWS)
    with pytest.raises(InvalidInput, match=words):
        estimator.estimate(arguments.pop("predictions"), **arguments)


def test_features_must_be_the_references():
    with_features = fit_estimator(ROWS, ROWS, task="binary", scores=ROWS, features=np.column_stack([ROWS, ROWS]))
    with pytest.raises(InvalidInput, match="give the window's too"):
        with_features.estimate([1], scores=[0.5])
    with pytest.raises(InvalidInput, match="3 columns where the reference has 2"):
        with_features.estimate([1], scores=[0.5], features=[[1.0, 2.0, 3.0]])
